"""A dead letter: an event that was given up on, with its life."""

import hashlib
from typing import Any, Literal

import msgspec

from schemas.limits import MAX_DETAIL_CHARS

Stage = Literal["decode", "pack", "deliver", "hold"]


class DeadLetter(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """Enough of an event's life to replay it, to count it and to explain it; times in ms."""

    event: bytes
    stage: Stage
    reason: str
    detail: str = ""
    connector: str = ""
    lane: str = ""
    status: int | None = None
    answer: str | None = None
    attempts: int = 0
    published_ms: int | None = None
    first_failed_ms: int | None = None
    buried_ms: int = 0
    config_version: str = ""
    replays: int = 0

    @property
    def letter_id(self) -> str:
        """The same for the same failure, however often its bundle is retried."""
        life = f"{self.connector}\0{self.stage}\0{self.replays}\0".encode()
        return hashlib.sha256(life + self.event).hexdigest()[:32]


_TIME = [{"type": "long", "logicalType": "timestamp-millis"}]
AVRO_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "DeadLetter",
    "namespace": "currents",
    "doc": "An event that could not be delivered, as it came, and its life.",
    "fields": [
        {"name": "letter_id", "type": "string"},
        {"name": "event", "type": "bytes", "doc": "the original message or event"},
        {"name": "connector", "type": "string", "doc": "empty at stage decode"},
        {"name": "lane", "type": "string"},
        {"name": "stage", "type": "string"},
        {"name": "reason", "type": "string"},
        {"name": "detail", "type": "string"},
        {"name": "status", "type": ["null", "int"], "default": None},
        {"name": "answer", "type": ["null", "string"], "default": None},
        {"name": "attempts", "type": "int"},
        {"name": "published_at", "type": ["null", *_TIME], "default": None},
        {"name": "first_failed_at", "type": ["null", *_TIME], "default": None},
        {"name": "buried_at", "type": ["null", *_TIME], "default": None},
        {"name": "config_version", "type": "string"},
        {"name": "replays", "type": "int"},
    ],
}


def to_avro(letter: DeadLetter) -> dict[str, Any]:
    """The letter as a record of `AVRO_SCHEMA`."""
    return {
        "letter_id": letter.letter_id,
        "event": letter.event,
        "connector": letter.connector,
        "lane": letter.lane,
        "stage": letter.stage,
        "reason": letter.reason,
        "detail": letter.detail[:MAX_DETAIL_CHARS],
        "status": letter.status,
        "answer": letter.answer and letter.answer[:MAX_DETAIL_CHARS],
        "attempts": letter.attempts,
        "published_at": letter.published_ms,
        "first_failed_at": letter.first_failed_ms,
        "buried_at": letter.buried_ms,
        "config_version": letter.config_version,
        "replays": letter.replays,
    }
