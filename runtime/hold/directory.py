"""The directory queue: below the hold's root, `queue/<lane>/` has the objects that a lane holds.

Objects are written whole or not at all, never overwritten with other bytes, and removed when what
they hold was delivered or buried. A missing object is a delivered one, so writing one twice can
double events but never lose any.
"""

import contextlib
import logging
import threading
from collections.abc import Iterable, Sequence

import msgspec

from runtime.hold.objects import (
    ForeignObject,
    HeldBatch,
    HeldFile,
    HeldName,
    decode,
    digest_of,
    encode,
    gather,
)
from runtime.storage import (
    StorageError,
    join,
    list_files,
    list_names,
    read_file,
    remove_file,
    write_whole,
)
from schemas.lane import file_name_of, lane_of_file

_logger = logging.getLogger(__name__)


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
        """The lanes that have something held or once had; folders that are not ours are left out."""
        lanes = {name: lane_of_file(name) for name in list_names(join(self.root, "queue"))}
        return [lane for name, lane in lanes.items() if file_name_of(lane) == name]

    def objects(self, lane: str) -> list[str]:
        """The names of a lane's objects, oldest first."""
        return list_names(self._folder(lane))

    def files(self, lane: str) -> list[HeldFile]:
        """A lane's objects with their sizes, oldest first.

        Raises:
            StorageError: the queue cannot be listed.
        """
        return [HeldFile(file.name, file.size) for file in list_files(self._folder(lane))]

    def put_all(self, lane: str, batches: Iterable[HeldBatch]) -> None:
        """Write batches as objects of a good size.

        Raises:
            StorageError: one could not be written; the events of all are still the caller's.
        """
        with contextlib.ExitStack() as undo:
            for group in gather(batches):
                undo.callback(self._disown, lane, self.put(lane, group))
            undo.pop_all()  # all are there

    def put(self, lane: str, batches: Sequence[HeldBatch]) -> str:
        """Write an object and return its name.

        Raises:
            StorageError: it could not be written; the events are still the caller's.
        """
        content = encode(batches)
        name = str(
            HeldName(
                min(batch.oldest_ms for batch in batches),
                max(batch.newest_ms for batch in batches),
                sum(len(batch.events) for batch in batches),
                digest_of(content),
            )
        )
        with self._lock:  # before anybody can see the object
            self._own.add((lane, name))
        try:
            write_whole(join(self._folder(lane), name), content)
        except StorageError:  # it is not counted as held, and may be there nevertheless
            self._disown(lane, name)
            raise
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
        if known is None or known.digest != digest_of(content):
            raise ForeignObject(f"the object {name} of lane {lane} is not whole, or not ours")
        try:
            batches = list(decode(content))
        except ForeignObject as error:
            raise ForeignObject(f"the object {name} of lane {lane} is cut: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ForeignObject(f"the object {name} of lane {lane} is of no known form") from error
        if sum(len(batch.events) for batch in batches) != known.events:
            raise ForeignObject(f"the object {name} of lane {lane} has not the events of its name")
        return batches

    def remove(self, lane: str, name: str) -> None:
        """Say that all that an object holds was delivered, buried or put again."""
        remove_file(join(self._folder(lane), name))
        self._disown(lane, name)

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

    def _disown(self, lane: str, name: str) -> None:
        with self._lock:
            self._own.discard((lane, name))

    def _folder(self, lane: str) -> str:
        return join(self.root, "queue", file_name_of(lane))
