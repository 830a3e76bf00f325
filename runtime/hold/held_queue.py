"""The queue of one lane of the hold as one process sees it: listed now and then, read oldest first."""

from collections.abc import Sequence

from runtime.clock import is_recent
from runtime.hold.held_object import HeldObject
from runtime.hold.objects import ForeignObject, HeldFile
from runtime.ledger import Tally
from runtime.storage import StorageError
from runtime.worker import Worker

LIST_MS = 30_000
"""So often a queue is listed for what others have written to it."""
UNREADABLE_MS = 600_000
"""So long an object that could not be read is passed over: it must not stop those behind it."""


class HeldQueue:
    """What lies in a lane's queue, and the object that is being sent."""

    def __init__(self, worker: Worker, lane: str) -> None:
        self.files: list[HeldFile] = []
        """Oldest first, as of the last listing."""
        self.set_aside = 0
        """Objects that could not be read."""
        self._tally = Tally()
        """What became of events since it was last taken."""
        self._worker = worker
        self._lane = lane
        self._listed_at_ms: int | None = None
        self._passed_over: set[str] = set()
        self._open: HeldObject | None = None
        self._tried: set[str] = set()
        """Objects of which everything was rejected since something was accepted."""
        self._ended: dict[str, HeldObject] = {}
        """Objects by name, of which it is not written yet what became of them."""
        self._unreadable_at_ms: dict[str, int] = {}

    @property
    def empty(self) -> bool:
        return not self.files

    @property
    def sendable(self) -> bool:
        """Whether something is left that the connector may take."""
        return self._open is not None or any(map(self._may_send, self.files))

    @property
    def is_isolating(self) -> bool:
        """Whether the object that is being sent has events that were refused, but not one by one."""
        return self._open is not None and self._open.is_suspect

    def look(self, anew: bool) -> None:
        """List the queue, if it was not listed lately or must be listed anew.

        Raises:
            StorageError: it cannot be listed.
        """
        now = self._worker.now_ms()
        if anew or not is_recent(self._listed_at_ms, now, LIST_MS):
            self._listed_at_ms = now
            self.files = self._worker.hold.files(self._lane)

    def mistrust(self) -> None:
        """List the queue anew at the next look: it may be another than we think."""
        self._listed_at_ms = None

    def reconsider(self) -> None:
        """Look again at what the connector would not take: its settings have changed.

        Raises:
            StorageError: what is half sent could not be put back.
        """
        self._passed_over.clear()
        self.put_back()

    def head(self) -> HeldObject | None:
        """The oldest object of which the connector takes something; it stays open until it is ended.

        Raises:
            StorageError: it cannot be read.
        """
        if self._open is None:
            self._open = self._first()
        return self._open

    def open(self, file: HeldFile) -> HeldObject | None:
        """Read an object; None where it is gone, or was set aside because it cannot be read.

        Raises:
            StorageError: it is there and cannot be read now, or not be set aside.
        """
        try:
            return HeldObject(self._worker, self._lane, file.name)
        except ForeignObject as error:
            self._worker.hold.set_aside(self._lane, file.name, str(error))
            self.set_aside += 1
        except StorageError as error:
            if error.fault != "missing":
                self._unreadable_at_ms[file.name] = self._worker.now_ms()
                raise
        self._forget(file.name)
        return None

    def may_read(self, file: HeldFile) -> bool:
        """Whether an object is none of those that could not be read lately."""
        failed_ms = self._unreadable_at_ms.get(file.name)
        return not is_recent(failed_ms, self._worker.now_ms(), UNREADABLE_MS)

    def end(self, held: HeldObject) -> None:
        """Write what became of an object, and put back what is left of it.

        Raises:
            StorageError: it could not be written; `settle` does it, and nothing is sent again.
        """
        self._open = None
        if held.changed:
            self._ended[held.name] = held
            self._close(held)
        else:
            self._tally.add(held.cost)

    def end_together(self, buried: Sequence[HeldObject]) -> None:
        """The same for objects of which events were buried: their letters go to one file.

        Raises:
            StorageError: the letters could not be written, and the objects stay as they were; or
                one could not be closed, and `settle` does it.
        """
        self._worker.write_letters([letter for held in buried for letter in held.letters])
        for held in buried:
            held.has_written_letters = True
            self._ended[held.name] = held
        for held in buried:
            self._close(held)

    def settle(self) -> None:
        """Write what became of objects where that could not be written before.

        Raises:
            StorageError: it still cannot be.
        """
        for held in list(self._ended.values()):
            self._close(held)

    def abandon(self) -> None:
        """Forget what is under way, for another job attends the lane: the queue stays as it is."""
        self._open = None
        self._ended.clear()

    def try_others_first(self, held: HeldObject) -> None:
        """Have the next probe of a lane that rejects everything be another object.

        Else an object of nothing but poison at the head would keep its lane shut for ever.
        """
        self._tried.add(held.kept or held.name)

    def forget_tried(self) -> None:
        """Something was accepted: what is held goes oldest first again."""
        self._tried.clear()

    def put_back(self) -> None:
        """End the object that is half sent.

        Raises:
            StorageError: it could not be written.
        """
        if self._open is not None:
            self.end(self._open)

    def take_tally(self) -> Tally:
        tally, self._tally = self._tally, Tally()
        return tally

    def _first(self) -> HeldObject | None:
        if self._tried.issuperset(file.name for file in self.files if self._may_send(file)):
            self._tried.clear()
        for file in self.files:
            if self._may_send(file) and file.name not in self._tried:
                held = self.open(file)
                if held is not None and held.unsent:
                    return held
                if held is not None:
                    self._passed_over.add(file.name)
        return None

    def _may_send(self, file: HeldFile) -> bool:
        return file.name not in self._passed_over and self.may_read(file)

    def _close(self, held: HeldObject) -> None:
        held.write_letters()
        self._tally.add(held.close())
        del self._ended[held.name]
        self._forget(held.name)
        if held.kept is not None:
            self.look(anew=True)

    def _forget(self, name: str) -> None:
        self.files = [file for file in self.files if file.name != name]
        self._passed_over.discard(name)
        self._unreadable_at_ms.pop(name, None)
