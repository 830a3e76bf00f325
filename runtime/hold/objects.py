"""The objects of the hold: batches of events that could not be delivered, and what a listing says of them.

An object is named `<oldest>-<newest>-<count>-<hash>`: the publish times of its events (ms), their
number, and the hash of its content, so that a listing tells order, depth and deadline. It is text:
for each batch one line of JSON about it, then its events.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from schemas.limits import MAX_TIME_SECONDS

MAX_OBJECT_BYTES = 8_000_000
MAX_OBJECT_SPAN_MS = 300_000
"""An object goes by its newest event, so its oldest must not be much older."""

Blame = Literal["lane", "try", "events", "none"]
"""What an undelivered batch says: of the lane (the key is refused), of one try (a network fails), of
its events (nothing of them was accepted), or nothing, for it was not tried."""


_Ms = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_SECONDS * 1_000)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
"""What a dead letter can hold of it."""


class _About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a held batch; times in ms since the epoch."""

    part: str
    oldest_ms: _Ms
    newest_ms: _Ms
    first_failed_ms: _Ms
    reason: str
    attempts: _Count = 0
    status: _Count | None = None
    answer: str = ""
    blame: Blame = "none"
    retry_at_ms: _Ms = 0
    """When the partner asked to be tried again."""
    replays: _Count = 0


class HeldBatch(_About, frozen=True, kw_only=True):
    """Events of one part of a lane that share one reason for being held."""

    events: Sequence[bytes] = ()

    @property
    def size(self) -> int:
        return sum(map(len, self.events)) + len(self.events)


class _Header(_About, frozen=True, kw_only=True):
    """The line of JSON before a batch's events."""

    count: _Count
    format: Literal[1] = 1


class ForeignObject(Exception):
    """An object in the queue that is not whole, or not ours."""


class HeldName(NamedTuple):
    """What an object's name says of it; times in ms since the epoch."""

    oldest_ms: int
    newest_ms: int
    events: int
    digest: str

    def __str__(self) -> str:
        return f"{self.oldest_ms:013d}-{self.newest_ms:013d}-{self.events}-{self.digest}"

    @classmethod
    def parse(cls, name: str) -> "HeldName | None":
        """None for a name that is not one of ours."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        oldest, newest, count, digest = found.groups()
        return cls(int(oldest), int(newest), int(count), digest)


class HeldFile(NamedTuple):
    """An object as the listing of its queue shows it."""

    name: str
    size: int

    @property
    def known(self) -> HeldName | None:
        """None where the name is not one of ours."""
        return HeldName.parse(self.name)


class Depth(NamedTuple):
    """What a listing says of a queue; times in ms since the epoch, None where it has no event."""

    events: int
    objects: int
    bytes: int
    oldest_ms: int | None
    newest_ms: int | None
    """Of the object that is buried first."""

    @classmethod
    def of(cls, files: Sequence[HeldFile]) -> "Depth":
        known = [name for file in files if (name := file.known) is not None]
        return cls(
            sum(name.events for name in known),
            len(files),
            sum(file.size for file in files),
            min((name.oldest_ms for name in known), default=None),
            min((name.newest_ms for name in known), default=None),
        )


_NAME = re.compile(r"(\d{13,})-(\d{13,})-(\d+)-([0-9a-f]{32})")


def gather(batches: Iterable[HeldBatch]) -> Iterator[list[HeldBatch]]:
    """Group batches into objects of at most `MAX_OBJECT_BYTES`, or of one batch that is larger.

    Oldest first, and batches that were published far apart apart.
    """
    group: list[HeldBatch] = []
    size = 0
    for batch in sorted(batches, key=lambda batch: batch.oldest_ms):
        is_far = bool(group) and batch.newest_ms - group[0].oldest_ms > MAX_OBJECT_SPAN_MS
        if group and (is_far or size + batch.size > MAX_OBJECT_BYTES):
            yield group
            group, size = [], 0
        group.append(batch)
        size += batch.size
    if group:
        yield group


def digest_of(content: bytes) -> str:
    """The hash in an object's name."""
    return hashlib.sha256(content).hexdigest()[:32]


def encode(batches: Sequence[HeldBatch]) -> bytes:
    """The content of an object."""
    lines: list[bytes] = []
    for batch in batches:
        header = _Header(count=len(batch.events), **_about(batch))
        lines.append(msgspec.json.encode(header))
        lines.extend(batch.events)
    return b"\n".join(lines) + b"\n"


def decode(content: bytes) -> Iterator[HeldBatch]:
    """The batches of an object's content.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: it is of another form.
        ForeignObject: it has fewer events than it says.
    """
    lines = content.split(b"\n")[:-1]
    at = 0
    while at < len(lines):
        header = msgspec.json.decode(lines[at], type=_Header)
        events = lines[at + 1 : at + 1 + header.count]
        if len(events) < header.count:
            raise ForeignObject(f"it has {len(events)} of the {header.count} events that it names")
        at += 1 + header.count
        yield HeldBatch(events=events, **_about(header))


def _about(known: _About) -> dict[str, Any]:
    return {name: getattr(known, name) for name in _About.__struct_fields__}
