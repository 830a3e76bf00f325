"""Releasing a lane's queue while events come: oldest first, at a pace that the partner keeps up with."""

import time

from runtime.connectors import ConnectorEntry
from runtime.delivery import QUICK_TRIES
from runtime.hold.held_object import MAX_PORTION_REQUESTS, HeldObject
from runtime.hold.held_queue import HeldQueue
from runtime.hold.objects import HeldBatch
from runtime.hold.turn import TURN_SECONDS, Turn
from runtime.hold.watch import REJECTS_EVERYTHING, Failure, Watch
from runtime.token_bucket import TokenBucket, full_bucket, release_share
from runtime.worker import Worker


class LaneRelease:
    """The pace of one lane: a probe is one request; what is accepted doubles the next portion."""

    def __init__(self, worker: Worker, lane: str, queue: HeldQueue) -> None:
        self._worker = worker
        self._lane = lane
        self._queue = queue
        self._portion = 0
        self._bucket: TokenBucket | None = None

    def run(self, entry: ConnectorEntry, watch: Watch, turn: Turn) -> None:
        """Send what is held until the turn is over, tokens are lacking, or something fails.

        Raises:
            StorageError: the hold or the dead letters cannot be reached.
        """
        until = time.monotonic() + TURN_SECONDS
        tries = QUICK_TRIES
        if watch.state != "resuming":
            self._portion, tries = 0, 1
        while (held := self._queue.head()) is not None and self._has_token(entry, turn):
            self._send(entry, held, watch, turn, tries)
            tries = QUICK_TRIES
            if turn.failure is not None or not held.unsent:
                self._queue.end(held)
            if turn.failure is not None and turn.failure.reason == REJECTS_EVERYTHING:
                self._queue.try_others_first(held)
            elif turn.accepted:
                self._queue.forget_tried()
            if turn.failure is not None or time.monotonic() > until:
                return

    def _send(
        self, entry: ConnectorEntry, held: HeldObject, watch: Watch, turn: Turn, tries: int
    ) -> None:
        portion = self._next_portion(entry, held, turn.may_bury(watch))
        events = [event for batch in portion for event in batch.events]
        if self._bucket is not None:
            self._bucket = self._bucket.paid(entry.sink.rate_units(events))
        before = held.accepted
        failure = held.send(portion, tries)
        if held.accepted > before:
            turn.accept()
            self._portion = max(self._portion, 2 * len(events))
        if failure is not None and failure.blame == "events":
            failure = self._isolate_rejected(held, watch, turn, failure)
        turn.failure = failure

    def _next_portion(
        self, entry: ConnectorEntry, held: HeldObject, may_bury: int
    ) -> list[HeldBatch]:
        """What is sent together: of events that were refused, no more than may be buried."""
        requests = min(entry.settings.concurrency, MAX_PORTION_REQUESTS)
        most = min(self._portion or entry.sink.max_events, entry.sink.max_events * requests)
        if held.is_suspect and may_bury:
            most = min(most, may_bury)
            if self._worker.deliverer.breaker.is_doubted(self._lane):  # they go one by one
                requests = 1
        elif not self._portion:  # a probe
            requests = 1
        return held.next_portion(most, requests)

    def _isolate_rejected(
        self, held: HeldObject, watch: Watch, turn: Turn, failure: Failure
    ) -> Failure | None:
        """Bury what is refused by itself, until so much is buried that it is the lane's fault."""
        if self._worker.deliverer.breaker.take_accepted(self._lane):
            turn.accept()
        turn.rejected += held.isolate_rejected(turn.may_bury(watch))
        if not held.rejected:
            return None
        return Failure(REJECTS_EVERYTHING, "lane", failure.status, failure.answer)

    def _has_token(self, entry: ConnectorEntry, turn: Turn) -> bool:
        rate = release_share(entry)
        if rate is None:
            self._bucket = None
            return True
        seconds = self._worker.now_ms() / 1_000
        self._bucket = (self._bucket or full_bucket(rate, seconds)).refilled(rate, seconds)
        turn.token_at_ms = int(self._bucket.token_at * 1_000) + 1
        return self._bucket.has_token
