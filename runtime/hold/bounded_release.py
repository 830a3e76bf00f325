"""Releasing what is held, in a bounded run: every lane is tried at once, oldest first."""

import logging

from runtime.hold.expiry import is_late
from runtime.hold.held_object import HeldObject
from runtime.hold.lane_statuses import other_attendant
from runtime.hold.objects import ForeignObject, HeldFile
from runtime.hold.watch import MAX_REJECTED
from runtime.ledger import Tally
from runtime.storage import StorageError
from runtime.worker import Worker
from schemas.lane import connector_of

_logger = logging.getLogger(__name__)


def release_lane(worker: Worker, lane: str) -> Tally:
    """Try to deliver all that a lane of the hold has; returns what became of it.

    What is delivered is removed from the hold, what is given up is buried first, and of an object
    that is delivered in part the rest is written before the whole is removed. When the partner
    fails, the rest of the queue stays as it is, but for what is past its deadline.
    """
    release = _Release(worker, lane)
    if _is_left_alone(worker, lane):
        return release.tally
    for file in _files(worker, lane):
        try:
            release.take(file)
        except ForeignObject as error:
            _set_aside(worker, lane, file.name, error)
        except StorageError as error:
            _logger.error("lane %s: %s stays held: %s", lane, file.name, error)
    return release.tally


def _is_left_alone(worker: Worker, lane: str) -> bool:
    """Whether a live job attends the lane, or may do so: what both send is doubled."""
    settings = worker.settings
    try:
        other = other_attendant(settings.hold, lane, settings.job, worker.now_ms())
    except StorageError as error:
        _stays_held(worker, lane, error)
        return True
    if other is not None:
        _logger.warning("lane %s is left alone: %s attends it", lane, other)
    return other is not None


class _Release:
    """A lane that is being released."""

    def __init__(self, worker: Worker, lane: str) -> None:
        self.tally = Tally()
        self._worker = worker
        self._lane = lane
        self._has_failed = False
        """Or everything was rejected: the rest is not tried."""
        self._rejected = 0

    def take(self, file: HeldFile) -> None:
        entry = self._worker.config.current().connectors.get(connector_of(self._lane))
        if self._worker.stopping.is_set():
            self._leave(file)
        elif not self._has_failed:
            self._send(HeldObject(self._worker, self._lane, file.name))
        elif is_late(self._worker, entry, file):
            self._close(HeldObject(self._worker, self._lane, file.name))
        else:
            self._leave(file)

    def _send(self, held: HeldObject) -> None:
        while held.unsent and not self._has_failed:
            self._send_portion(held)
        self._close(held)

    def _send_portion(self, held: HeldObject) -> None:
        """Send all, or of events that were refused no more than may be buried."""
        may_bury = MAX_REJECTED - self._rejected
        before = held.accepted
        failure = held.send(held.next_portion(may_bury if held.is_suspect and may_bury else _ALL))
        if held.accepted > before:
            self._rejected = 0
        self._rejected += held.isolate_rejected(MAX_REJECTED - self._rejected)
        is_theirs = failure is not None and failure.blame in ("lane", "try")
        self._has_failed = is_theirs or held.rejected

    def _close(self, held: HeldObject) -> None:
        """Write what became of it; what is past its deadline has had its try."""
        held.bury_expired(self._worker.now_ms())
        held.write_letters()
        self.tally.add(held.close())

    def _leave(self, file: HeldFile) -> None:
        known = file.known
        if known is not None and not self._worker.hold.owned(self._lane, file.name):
            counts = self.tally.of(connector_of(self._lane))
            counts.adopted += known.events
            counts.held += known.events


_ALL = 1 << 62


def held_lanes(worker: Worker) -> list[str]:
    """The lanes that have something held."""
    return [lane for lane in worker.hold.lanes() if _files(worker, lane)]


def _set_aside(worker: Worker, lane: str, name: str, error: ForeignObject) -> None:
    worker.ledger.unread.append(str(error))
    try:
        worker.hold.set_aside(lane, name, str(error))
    except StorageError as failure:
        _logger.error("left alone: %s; it cannot be set aside: %s", error, failure)


def _files(worker: Worker, lane: str) -> list[HeldFile]:
    """A lane's objects; a lane that cannot be read must not stop the others."""
    try:
        return worker.hold.files(lane)
    except StorageError as error:
        _stays_held(worker, lane, error)
        return []


def _stays_held(worker: Worker, lane: str, error: StorageError) -> None:
    """Say it, and let the run fail: what the lane has cannot be told."""
    _logger.error("lane %s stays held: %s", lane, error)
    worker.ledger.unread.append(f"lane {lane}: {error}")
