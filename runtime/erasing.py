"""Erasing what is about some persons: from the queues of a hold, and from files of dead letters.

Files are never changed. What is left of one is written as another, and then the file is removed: so
whatever ends us in between can double events, as everywhere, but neither lose one nor leave a file
half written; and erasing again ends what was begun.
"""

import hashlib
import io
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import fastavro
import msgspec

from runtime.avro_blocks import open_blocks, records_of
from runtime.clock import now_ms, rfc3339
from runtime.dead_letters import LETTER_DAMAGE, letter_files
from runtime.hold.directory import HoldQueue
from runtime.hold.lane_statuses import other_attendant, read_status, remove_status, write_status
from runtime.hold.objects import Depth, ForeignObject, HeldBatch
from runtime.persons import Persons
from runtime.storage import StorageError, join, list_names, read_file, remove_file, write_whole
from schemas.lane import connector_of, lane_of_file
from schemas.lane_status import LaneStatus

SAY_SECONDS = 10.0
"""How often it is said that a lane is attended, while it is worked on."""


@dataclass
class Erased:
    """What was found of the persons in one place, and what became of it."""

    place: str
    """A lane of the hold, or a file of dead letters."""
    before: int = 0
    """Events that were there."""
    erased: int = 0
    """Those about the persons; in a dry run they are still there."""
    doubled: int = 0
    """Events of others that were there twice, for an erasing was stopped before; now they are once."""
    attended_by: str = ""
    """The live job that attends the lane, for which it was left alone."""


@dataclass
class Erasure:
    """What was found in all."""

    lanes: list[Erased] = field(default_factory=list)
    files: list[Erased] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """What could not be looked through or not be written, in words: somebody may be in it."""

    @property
    def left_alone(self) -> list[Erased]:
        return [lane for lane in self.lanes if lane.attended_by]


class Eraser:
    """Erases, or with `is_dry` only counts."""

    def __init__(self, persons: Persons, job: str, is_dry: bool) -> None:
        self._persons = persons
        self._job = job
        self._is_dry = is_dry
        self.found = Erasure()

    # The hold

    def erase_held(self, root: str) -> None:
        """Look through all lanes of a hold; one that a live job attends is left alone.

        That job has counted what is held there, and may be sending it.

        Raises:
            StorageError: the hold cannot be listed.
        """
        queue = HoldQueue(root)
        for lane in queue.lanes():
            try:
                self._erase_lane(queue, lane)
            except StorageError as error:
                self.found.unread.append(f"lane {lane}: {error}")
        folder = join(root, "set-aside")
        for name in list_names(folder):
            count = len(list_names(join(folder, name)))
            self.found.unread.append(
                f"lane {lane_of_file(name)}: {count} damaged or foreign objects in "
                f"{join(folder, name)}: look at them, and remove them"
            )

    def _erase_lane(self, queue: HoldQueue, lane: str) -> None:
        files = queue.files(lane)
        if not files:
            return
        erased = Erased(lane, Depth.of(files).events)
        erased.attended_by = other_attendant(queue.root, lane, self._job, now_ms()) or ""
        leave = self._is_dry or bool(erased.attended_by)
        names = {file.name for file in files}
        with_them = _Attending(queue.root, lane, self._job)
        try:
            for file in files:
                if not leave:
                    with_them.say()
                self._erase_object(queue, erased, file.name, names, leave)
        finally:  # what was done is told, also where the rest could not be
            if erased.erased:
                self.found.lanes.append(erased)
            with_them.end(is_empty=not leave and not queue.objects(lane))
        if not leave:
            self._check(erased, Depth.of(queue.files(lane)).events)

    def _erase_object(
        self, queue: HoldQueue, erased: Erased, name: str, names: Set[str], leave: bool
    ) -> None:
        lane = erased.place
        try:
            batches = queue.read(lane, name)
        except ForeignObject as error:
            self.found.unread.append(str(error))
            return
        except StorageError as error:
            if error.fault == "missing":  # it was delivered or buried since it was listed
                return
            raise
        left = [batch for batch in map(self._without_them, batches) if batch.events]
        count = _count(batches) - _count(left)
        if count and not leave:
            if left and queue.put(lane, left) in names:
                erased.doubled += _count(left)
            queue.remove(lane, name)
        erased.erased += count

    def _without_them(self, batch: HeldBatch) -> HeldBatch:
        events = [event for event in batch.events if not self._persons.concern(event)]
        return msgspec.structs.replace(batch, events=events)

    def _check(self, erased: Erased, after: int) -> None:
        if erased.before != erased.erased + erased.doubled + after:
            self.found.unread.append(
                f"lane {erased.place}: {erased.before} events were held, {erased.erased} are erased "
                f"and {after} held: somebody else was at work there, so erase again"
            )

    # Dead letters

    def erase_letters(self, root: str) -> None:
        """Look through all files of dead letters.

        Raises:
            StorageError: they cannot be listed.
        """
        for uri in list(letter_files(root)):
            try:
                self._erase_file(uri)
            except StorageError as error:
                self.found.unread.append(f"{uri}: {error}")
            except LETTER_DAMAGE as error:
                said = str(error) or type(error).__name__
                self.found.unread.append(f"{uri} cannot be read to its end: {said}")

    def _erase_file(self, uri: str) -> None:
        blocks = open_blocks(io.BytesIO(read_file(uri)))
        schema = blocks.writer_schema
        letters = [letter for block in blocks for letter in records_of(block, schema)]
        left = [letter for letter in letters if not self._persons.concern(letter["event"])]
        erased = Erased(uri, len(letters), len(letters) - len(left))
        if not erased.erased:
            return
        if not self._is_dry:
            if left:
                _write_left(uri, schema, left)
            remove_file(uri)
        self.found.files.append(erased)


def _write_left(uri: str, schema: Any, letters: Sequence[Any]) -> None:
    """Write what is left of a file beside it: with the same name each time, whoever does it."""
    folder, _, name = uri.rpartition("/")
    known = "\0".join([name, *(letter["letter_id"] for letter in letters)])
    digest = hashlib.sha256(known.encode()).hexdigest()[:32]
    content = io.BytesIO()
    marker = bytes.fromhex(digest)
    fastavro.writer(content, schema, letters, codec="deflate", sync_marker=marker)
    write_whole(join(folder, f"{digest}.avro"), content.getvalue())


class _Attending:
    """Says that this process attends a lane, so that a job that starts meanwhile leaves it alone."""

    def __init__(self, root: str, lane: str, job: str) -> None:
        self._root = root
        self._job = job
        self._lane = lane
        self._before: LaneStatus | None = None
        self._said_ms: int | None = None

    def say(self) -> None:
        now = now_ms()
        if self._said_ms is None:
            self._before = read_status(self._root, self._lane)
        elif now - self._said_ms < SAY_SECONDS * 1_000:
            return
        self._said_ms = now
        moment = rfc3339(now)
        status = self._before or _unknown(self._lane)
        write_status(
            self._root,
            msgspec.structs.replace(
                status, attended_by=self._job, attended_since=moment, attended_at=moment
            ),
        )

    def end(self, is_empty: bool) -> None:
        """Leave the status as it was, for whoever attends the lane next."""
        if self._said_ms is None:
            return
        if self._before is None or is_empty:
            remove_status(self._root, self._lane)
        else:
            write_status(self._root, msgspec.structs.replace(self._before, attended_by=""))


def _unknown(lane: str) -> LaneStatus:
    return LaneStatus(
        lane=lane, connector=connector_of(lane), state="holding", reason="unknown", since=""
    )


def _count(batches: Sequence[HeldBatch]) -> int:
    return sum(len(batch.events) for batch in batches)
