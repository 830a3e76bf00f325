"""The hold: events that could not be delivered, kept in files until they can. The directory is the queue.

Below the hold's root lies `queue/<lane>/<oldest>-<newest>-<count>-<hash>`: objects named by the
publish times of their events (ms), their number, and the hash of their content, so that a listing
tells order, depth and deadline. They are written whole or not at all, never overwritten with other
bytes, and removed when what they hold was delivered or buried. A missing object is a delivered one,
so writing one twice can double events but never lose any. An object is text: for each batch one line
of JSON about it, then its events.
"""

import hashlib
import logging
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from runtime.storage import join, list_files, list_names, read_file, remove_file, write_whole
from schemas.lane import file_name_of, lane_of_file

MAX_OBJECT_BYTES = 8_000_000
MAX_OBJECT_SPAN_MS = 300_000
"""An object goes by its newest event, so its oldest must not be much older."""

Blame = Literal["lane", "try", "events", "none"]
"""What an undelivered batch says: of the lane (the key is refused), of one try (a network fails), of
its events (nothing of them was accepted), or nothing, for it was not tried."""

_logger = logging.getLogger(__name__)


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
    blame: Blame = "none"
    retry_at_ms: int = 0
    """When the partner asked to be tried again."""
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


class HoldQueue:
    """The queues of all lanes below one storage URI; one a process.

    It remembers which objects this process wrote, for those were counted as held, and others are
    counted as adopted when they are dealt with.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._own: set[tuple[str, str]] = set()

    def lanes(self) -> list[str]:
        """The lanes that have something held or once had."""
        return [lane_of_file(name) for name in list_names(join(self.root, "queue"))]

    def objects(self, lane: str) -> list[str]:
        """The names of a lane's objects, oldest first."""
        return list_names(self._folder(lane))

    def files(self, lane: str) -> list[HeldFile]:
        """A lane's objects with their sizes, oldest first.

        Raises:
            StorageError: the queue cannot be listed.
        """
        return [HeldFile(file.name, file.size) for file in list_files(self._folder(lane))]

    def put(self, lane: str, batches: Sequence[HeldBatch]) -> str:
        """Write an object and return its name.

        Raises:
            StorageError: it could not be written; the events are still the caller's.
        """
        content = _encode(batches)
        name = str(
            HeldName(
                min(batch.oldest_ms for batch in batches),
                max(batch.newest_ms for batch in batches),
                sum(len(batch.events) for batch in batches),
                _digest(content),
            )
        )
        with self._lock:  # before anybody can see the object
            self._own.add((lane, name))
        write_whole(join(self._folder(lane), name), content)
        return name

    def owned(self, lane: str, name: str) -> bool:
        """Whether this process wrote the object."""
        return (lane, name) in self._own

    def read(self, lane: str, name: str) -> list[HeldBatch]:
        """What an object holds.

        Raises:
            ForeignObject: its content is not what its name says, or of a form not known.
            StorageError: it could not be read.
        """
        content = read_file(join(self._folder(lane), name))
        known = HeldName.parse(name)
        if known is None or known.digest != _digest(content):
            raise ForeignObject(f"the object {name} of lane {lane} is not whole, or not ours")
        try:
            return list(_decode(content))
        except msgspec.DecodeError as error:
            raise ForeignObject(f"the object {name} of lane {lane} is of no known form") from error

    def remove(self, lane: str, name: str) -> None:
        """Say that all that an object holds was delivered, buried or put again."""
        remove_file(join(self._folder(lane), name))
        with self._lock:
            self._own.discard((lane, name))

    def set_aside(self, lane: str, name: str, why: str) -> None:
        """Move an object that cannot be read out of the queue, to `set-aside/<lane>/`.

        Raises:
            StorageError: it could not be moved; it stays in the queue.
        """
        uri = join(self._folder(lane), name)
        aside = join(self.root, "set-aside", file_name_of(lane), name)
        write_whole(aside, read_file(uri))
        remove_file(uri)
        _logger.error("set aside as %s: %s", aside, why)

    def _folder(self, lane: str) -> str:
        return join(self.root, "queue", file_name_of(lane))


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
