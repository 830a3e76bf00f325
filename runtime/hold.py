"""The hold: events that could not be delivered, kept in files until they can. The directory is the queue.

Below the hold's root lies `queue/<lane>/<oldest publish time, ms>-<hash of content>`: objects that
are written whole or not at all, never overwritten with other bytes, and removed when what they hold
was delivered or buried. A missing object is a delivered one, so writing one twice can double events
but never lose any. An object is text: for each batch one line of JSON about it, then its events.
"""

import hashlib
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from runtime.storage import join, list_names, read_file, remove_file, write_whole

MAX_OBJECT_BYTES = 8_000_000


class _About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a held batch; times in ms since the epoch."""

    part: str
    oldest_ms: int
    newest_ms: int
    first_failed_ms: int
    reason: str
    attempts: int = 0
    status: int | None = None
    answer: str = ""
    replays: int = 0


class HeldBatch(_About, frozen=True, kw_only=True):
    """Events of one part of a lane that share one reason for being held."""

    events: Sequence[bytes] = ()

    @property
    def size(self) -> int:
        return sum(map(len, self.events)) + len(self.events)


class _Header(_About, frozen=True, kw_only=True):
    """The line of JSON before a batch's events."""

    count: int
    format: Literal[1] = 1


class ForeignObject(Exception):
    """An object in the queue that is not whole, or not ours."""


@dataclass(frozen=True)
class HoldQueue:
    """The queues of all lanes below one storage URI."""

    root: str

    def lanes(self) -> list[str]:
        """The lanes that have something held or once had."""
        return [urllib.parse.unquote(name) for name in list_names(join(self.root, "queue"))]

    def objects(self, lane: str) -> list[str]:
        """The names of a lane's objects, oldest first."""
        return list_names(self._folder(lane))

    def put(self, lane: str, batches: Sequence[HeldBatch]) -> str:
        """Write an object and return its name.

        Raises:
            StorageError: it could not be written; the events are still the caller's.
        """
        content = _encode(batches)
        name = _name(min(batch.oldest_ms for batch in batches), content)
        write_whole(join(self._folder(lane), name), content)
        return name

    def read(self, lane: str, name: str) -> list[HeldBatch]:
        """What an object holds.

        Raises:
            ForeignObject: its content is not what its name says, or of a form not known.
            StorageError: it could not be read.
        """
        content = read_file(join(self._folder(lane), name))
        if not name.endswith(_digest(content)):
            raise ForeignObject(f"the object {name} of lane {lane} is not whole, or not ours")
        try:
            return list(_decode(content))
        except msgspec.DecodeError as error:
            raise ForeignObject(f"the object {name} of lane {lane} is of no known form") from error

    def remove(self, lane: str, name: str) -> None:
        """Say that all that an object holds was delivered, buried or put again."""
        remove_file(join(self._folder(lane), name))

    def _folder(self, lane: str) -> str:
        return join(self.root, "queue", urllib.parse.quote(lane, safe="+"))


def gather(batches: Iterable[HeldBatch]) -> Iterator[list[HeldBatch]]:
    """Group batches into objects of at most `MAX_OBJECT_BYTES`, or of one batch that is larger."""
    group: list[HeldBatch] = []
    size = 0
    for batch in batches:
        if group and size + batch.size > MAX_OBJECT_BYTES:
            yield group
            group, size = [], 0
        group.append(batch)
        size += batch.size
    if group:
        yield group


def _name(oldest_ms: int, content: bytes) -> str:
    return f"{oldest_ms:013d}-{_digest(content)}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _encode(batches: Sequence[HeldBatch]) -> bytes:
    lines: list[bytes] = []
    for batch in batches:
        header = _Header(count=len(batch.events), **_about(batch))
        lines.append(msgspec.json.encode(header))
        lines.extend(batch.events)
    return b"\n".join(lines) + b"\n"


def _decode(content: bytes) -> Iterator[HeldBatch]:
    lines = content.split(b"\n")[:-1]
    at = 0
    while at < len(lines):
        header = msgspec.json.decode(lines[at], type=_Header)
        events = lines[at + 1 : at + 1 + header.count]
        at += 1 + header.count
        yield HeldBatch(events=events, **_about(header))


def _about(known: _About) -> dict[str, Any]:
    return {name: getattr(known, name) for name in _About.__struct_fields__}
