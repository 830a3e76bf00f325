"""Attending a lane of the hold: try it when that is due, release its queue, bury what is too old."""

import logging
from dataclasses import dataclass
from typing import Any

import msgspec

from runtime.alerts import LaneAlerts
from runtime.clock import is_recent, rfc3339
from runtime.connectors import ConnectorEntry
from runtime.delivery import obstacle_of
from runtime.figures import LaneFigures
from runtime.hold.expiry import bury_expired
from runtime.hold.held_queue import HeldQueue
from runtime.hold.lane_statuses import ATTENDED_MS, other_attendant, remove_status, write_status
from runtime.hold.objects import Depth
from runtime.hold.release import LaneRelease
from runtime.hold.turn import Turn
from runtime.hold.watch import Failure, Watch, is_due
from runtime.ledger import Tally
from runtime.secrets import SecretError
from runtime.storage import StorageError
from runtime.worker import Worker
from schemas.lane import connector_of
from schemas.lane_status import LaneStatus

LOOK_MS = 5_000
"""So often the settings and secrets of a lane that is not released are looked at."""
STATUS_MS = 10_000

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What one turn made of a lane."""

    before: Watch
    after: Watch | None
    """None where nothing is held any more."""
    tally: Tally
    next_ms: int
    """When the next turn is due."""

    def merged(self, watch: Watch, written: bool) -> Watch | None:
        """The watch after the turn, where it is another by now than the one the turn began with.

        Args:
            watch: as it is now: undelivered batches may have come meanwhile.
            written: whether something was put into the queue since the turn began.
        """
        if watch == self.before:
            return watch if self.after is None and written else self.after
        is_worse = watch.state == "suspended" and self.before.state != "suspended"
        return watch if self.after is None or is_worse else self.after


class Attendant:
    """One lane that this process attends; its turns do not overlap."""

    def __init__(self, worker: Worker, lane: str) -> None:
        self._worker = worker
        self._lane = lane
        self._queue = HeldQueue(worker, lane)
        self._release = LaneRelease(worker, lane, self._queue)
        self._alerts = LaneAlerts(lane, worker.alerts.send)
        self._figures = LaneFigures()
        self._fingerprint: Any = None
        self._since_ms = worker.now_ms()
        self._told_ms: int | None = None
        self._told: tuple[str, str | None] | None = None
        """State and next probe as others know them."""

    def turn(self, watch: Watch, written: bool) -> Outcome:
        """Do what is due; `written` says that this process has put something into the queue.

        Raises:
            StorageError: the hold or the dead letters cannot be reached; nothing was done.
        """
        now = self._worker.now_ms()
        if self._is_attended_by_others(now):
            self._queue.abandon()
            return Outcome(watch, watch, self._queue.take_tally(), now + ATTENDED_MS // 2)
        self._queue.settle()
        entry = self._entry
        is_try = self._has_changed(entry) or watch.state == "resuming" or is_due(watch, now)
        self._queue.look(anew=written or is_try)
        turn = Turn()
        known = self._with_rejected(watch)
        try:
            after = self._act(entry, known, turn, is_try)
            next_ms = self._next_ms(after, turn)
        except StorageError as error:  # what the turn did before must not be forgotten
            _logger.error("lane %s cannot be attended: %s", self._lane, error)
            self._queue.mistrust()
            after = self._after(known, turn)
            next_ms = self._worker.now_ms() + LOOK_MS
        return Outcome(watch, after, self._queue.take_tally(), next_ms)

    def leave(self, watch: Watch) -> Tally:
        """End attending: put back what is half sent, and let others take the lane at once.

        Where the hold cannot be reached they find it as it was, and take it later.
        """
        try:
            self._queue.settle()
            self._queue.put_back()
            self._hand_over(watch)
        except StorageError as error:
            _logger.error("lane %s is left as it was: %s", self._lane, error)
        return self._queue.take_tally()

    def _hand_over(self, watch: Watch) -> None:
        """Say in the status that nobody attends the lane any more."""
        if self._told_ms is None:
            return
        self._queue.look(anew=True)
        if not self._queue.empty:
            status = msgspec.structs.replace(self._status(watch, self._entry), attended_by="")
            write_status(self._worker.settings.hold, status)

    @property
    def _entry(self) -> ConnectorEntry | None:
        """The lane's connector as it is now."""
        return self._worker.config.current().connectors.get(connector_of(self._lane))

    def _act(
        self, entry: ConnectorEntry | None, watch: Watch, turn: Turn, is_try: bool
    ) -> Watch | None:
        """Try, bury and tell; returns the watch after that, None where nothing is held any more."""
        self._try(entry, watch, turn, is_try)
        after = self._after(watch, turn)
        goes_on = is_try and self._queue.is_isolating
        is_shut = after.state == "suspended" and not turn.accepted and not goes_on
        if is_shut or not self._queue.sendable:
            self._queue.put_back()
            turn.buried = bury_expired(self._worker, self._queue, entry)
        left = None if self._queue.empty else after
        self._tell(left, turn, entry)
        return left

    def _after(self, watch: Watch, turn: Turn) -> Watch:
        after = turn.after(watch, self._worker.now_ms(), self._worker.probe_pace)
        self._worker.deliverer.breaker.remember_rejected(self._lane, after.rejected)
        return after

    def _with_rejected(self, watch: Watch) -> Watch:
        """The watch with what was buried before the lane last had nothing held."""
        before = self._worker.deliverer.breaker.rejected(self._lane)
        return msgspec.structs.replace(watch, rejected=max(watch.rejected, before))

    def _try(self, entry: ConnectorEntry | None, watch: Watch, turn: Turn, is_try: bool) -> None:
        obstacle = obstacle_of(entry)
        if entry is None or obstacle is not None:
            self._queue.put_back()
            if watch.state != "suspended" or watch.reason != obstacle:
                turn.failure = Failure(obstacle or "", "lane")
        elif is_try or watch.reason in ("connector_removed", "disabled", "paused"):
            self._release.run(entry, watch, turn)

    def _has_changed(self, entry: ConnectorEntry | None) -> bool:
        """Whether the settings or the secrets are others than at the last look."""
        settings = entry.settings if entry else None
        references = entry.references if entry else ()
        self._worker.secrets.doubt(references)
        try:
            values = self._worker.secrets.resolve(references)
        except SecretError as error:
            values = {error.reference: ""}
        fingerprint = (settings, values)
        changed = self._fingerprint not in (None, fingerprint)
        if changed:
            self._queue.reconsider()
        self._fingerprint = fingerprint  # last: a change must not be forgotten with an error
        return changed

    def _next_ms(self, after: Watch | None, turn: Turn) -> int:
        now = self._worker.now_ms()
        if after is None:
            return now
        if not self._queue.sendable:
            return now + LOOK_MS
        if after.state == "resuming":
            return max(now, turn.token_at_ms)
        return min(max(now, after.next_try_ms), now + LOOK_MS)

    # What others see of the lane.

    def _is_attended_by_others(self, now: int) -> bool:
        """Look who attends the lane whenever its status is about to be written."""
        if is_recent(self._told_ms, now, STATUS_MS):
            return False
        settings = self._worker.settings
        other = other_attendant(settings.hold, self._lane, settings.job, now)
        if other is None:
            return False
        _logger.warning("lane %s is left alone: %s attends it", self._lane, other)
        self._told_ms = None
        return True

    def _tell(self, after: Watch | None, turn: Turn, entry: ConnectorEntry | None) -> None:
        """Keep marker, status and alerts up to date.

        Raises:
            StorageError: the status could not be written.
        """
        now = self._worker.now_ms()
        state = after.state if after else None
        self._worker.suspensions.mark(self._lane, None if state == "holding" else state)
        status = self._status(after, entry) if after else None
        self._alerts.look(status, entry.settings if entry else None, now, turn.buried)
        self._figures.look(status, now)
        if status is None:
            remove_status(self._worker.settings.hold, self._lane)
            self._told_ms = self._told = None
            return
        is_due = not is_recent(self._told_ms, now, STATUS_MS)
        told = (status.state, status.next_probe)
        if is_due or told != self._told:
            write_status(self._worker.settings.hold, status)
            self._told = told
        if is_due:  # so often, and not less, it is looked at who attends the lane
            self._told_ms = now

    def _status(self, watch: Watch, entry: ConnectorEntry | None) -> LaneStatus:
        depth = Depth.of(self._queue.files)
        suspended = watch.state == "suspended"
        return LaneStatus(
            lane=self._lane,
            connector=connector_of(self._lane),
            state=watch.state,
            reason=watch.reason,
            status=watch.status,
            answer=watch.answer,
            since=rfc3339(watch.since_ms),
            events=depth.events,
            objects=depth.objects,
            bytes=depth.bytes,
            oldest=None if depth.oldest_ms is None else rfc3339(depth.oldest_ms),
            probes_failed=watch.failures if suspended else 0,
            next_probe=rfc3339(watch.next_try_ms) if suspended else None,
            dead_letters_from=self._dead_letters_from(depth, entry),
            set_aside=self._queue.set_aside,
            attended_by=self._worker.settings.job,
            attended_since=rfc3339(self._since_ms),
            attended_at=rfc3339(self._worker.now_ms()),
        )

    def _dead_letters_from(self, depth: Depth, entry: ConnectorEntry | None) -> str | None:
        if depth.newest_ms is None:
            return None
        return rfc3339(self._worker.deadlines.of(entry, depth.newest_ms))
