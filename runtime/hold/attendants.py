"""The lanes that this process attends, each on a thread of the hold's own when its turn comes.

So neither a slow partner nor a slow storage holds up a bundle: the engine's timers begin a turn and
come back for what became of it.
"""

import logging
import threading
from dataclasses import dataclass

from runtime.background import Background
from runtime.hold.attendant import LOOK_MS, Attendant, Outcome
from runtime.hold.watch import Watch
from runtime.ledger import Tally
from runtime.storage import StorageError
from runtime.worker import Worker

THREADS = 32

_logger = logging.getLogger(__name__)


@dataclass
class _Attended:
    attendant: Attendant
    written: bool = True
    """Whether something was put into the queue since the last turn began."""
    begun: bool = False
    """Whether a turn was ever begun here: who writes into a queue may be another than who attends."""


class Attendants:
    """Begins turns and keeps their outcomes until they are collected; one a process."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._turns = Background[Outcome](THREADS)
        self._lanes: dict[str, _Attended] = {}

    def attends(self, lane: str) -> bool:
        """Whether this process attends a lane."""
        attended = self._lanes.get(lane)
        return attended is not None and attended.begun

    def wrote(self, lane: str) -> None:
        """Say that this process has put something into a lane's queue."""
        self._of(lane).written = True

    def begin(self, lane: str, watch: Watch) -> None:
        """Begin a turn, unless one runs or waits to be collected."""
        attended = self._of(lane)
        attended.begun = True
        self._turns.begin(lane, lambda: self._turn(lane, attended, watch))

    def outcome(self, lane: str, wait_seconds: float = 0) -> Outcome | None:
        """What the last turn made of the lane; None while it runs, or where none was begun."""
        return self._turns.outcome(lane, wait_seconds)

    def collect(self, lane: str, outcome: Outcome) -> None:
        """Say that an outcome was acted on, so that the next turn can begin."""
        is_collected = self._turns.collect(lane, outcome)
        if is_collected and outcome.after is None and not self._of(lane).written:
            del self._lanes[lane]

    def has_written(self, lane: str) -> bool:
        """Whether something was put into the queue since the last turn began."""
        return self._of(lane).written

    def leave(self, lane: str, watch: Watch) -> Tally:
        """End attending a lane; what it has is on disk then."""
        tally = self._of(lane).attendant.leave(watch)
        self._lanes.pop(lane, None)
        return tally

    def close(self) -> None:
        self._turns.close()

    def _of(self, lane: str) -> _Attended:
        attended = self._lanes.get(lane)
        if attended is None:  # what is written in the background asks for it too
            attended = self._lanes.setdefault(lane, _Attended(Attendant(self._worker, lane)))
        return attended

    def _turn(self, lane: str, attended: _Attended, watch: Watch) -> Outcome:
        if written := attended.written:
            attended.written = False  # only then: what is put there meanwhile is for the next turn
        try:
            return attended.attendant.turn(watch, written)
        except Exception as error:  # noqa: BLE001 - nobody would end the turn
            told = isinstance(error, StorageError)  # the text of another may hold an event
            said = str(error) if told else f"a mistake, {type(error).__name__}"
            _logger.error("lane %s cannot be attended: %s", lane, said)
            attended.written = True
            again_ms = self._worker.now_ms() + LOOK_MS
            return Outcome(watch, watch, Tally(), again_ms)


_attendants: dict[Worker, Attendants] = {}
_lock = threading.Lock()


def attendants_of(worker: Worker) -> Attendants:
    """The attendants of a worker; made at the first call, and closed with it."""
    with _lock:
        found = _attendants.get(worker)
        if found is None:
            found = _attendants[worker] = Attendants(worker)
            worker.before_close(lambda: _forget(worker))
        return found


def _forget(worker: Worker) -> None:
    with _lock:
        attendants = _attendants.pop(worker)
    attendants.close()
