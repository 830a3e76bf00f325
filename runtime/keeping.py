"""What is done with the rest of an outcome: undelivered events are held, given-up ones buried."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from runtime.delivery import GivenUp, Undelivered
from runtime.hold.objects import HeldBatch
from schemas.batch import Token
from schemas.dead_letter import DeadLetter


class Holding(msgspec.Struct, array_like=True, frozen=True):
    """Events of one hold lane on their way to the hold; `tokens` are settled when they are there."""

    version: int
    tokens: list[Token]
    batches: list[HeldBatch]


class Letters(msgspec.Struct, array_like=True, frozen=True):
    """Dead letters on their way to their file; `tokens` are settled when they are there."""

    version: int
    tokens: list[Token]
    letters: list[DeadLetter]


VERSION = 1

encode_holding = msgspec.msgpack.Encoder().encode
decode_holding = msgspec.msgpack.Decoder(Holding).decode
encode_letters = msgspec.msgpack.Encoder().encode
decode_letters = msgspec.msgpack.Decoder(Letters).decode


@dataclass(frozen=True)
class Life:
    """What is known of a batch whose events are kept or buried; times in ms since the epoch."""

    lane: str
    connector: str
    part: str
    oldest_ms: int
    newest_ms: int
    now_ms: int
    config_version: str
    first_failed_ms: int | None = None
    attempts: int = 0
    """Those that were made before this one."""
    replays: int = 0


def held_batches(life: Life, undelivered: Sequence[Undelivered]) -> list[HeldBatch]:
    """Undelivered events as the hold keeps them."""
    return [
        HeldBatch(
            part=life.part,
            oldest_ms=life.oldest_ms,
            newest_ms=life.newest_ms,
            first_failed_ms=life.first_failed_ms or life.now_ms,
            reason=part.reason,
            attempts=life.attempts + part.attempts,
            status=part.status,
            answer=part.answer,
            blame=part.blame,
            retry_at_ms=part.retry_at_ms,
            replays=life.replays,
            events=part.events,
        )
        for part in undelivered
    ]


def letters_of(life: Life, given_up: Sequence[GivenUp]) -> list[DeadLetter]:
    """The dead letters of events that are given up."""
    return [
        DeadLetter(
            event=event.event,
            stage=event.stage,
            reason=event.reason,
            detail=event.detail,
            connector=life.connector,
            lane=life.lane,
            status=event.status,
            answer=event.answer,
            attempts=life.attempts + event.attempts,
            published_ms=life.newest_ms,
            first_failed_ms=life.first_failed_ms or life.now_ms,
            buried_ms=life.now_ms,
            config_version=life.config_version,
            replays=life.replays,
        )
        for event in given_up
    ]
