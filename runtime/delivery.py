"""Delivering a batch: pack it, send its requests side by side, and act on each verdict.

Nothing here raises for what a partner, a network or a secret does: whatever cannot be delivered
comes back in the outcome, as undelivered or as given up.
"""

import logging
import random
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from typing_extensions import assert_never

from runtime.answers import retry_after_seconds, sanitise, spelled_out
from runtime.breaker import Breaker
from runtime.clock import now_ms
from runtime.connectors import ConnectorEntry
from runtime.hold.objects import Blame
from runtime.hold.suspensions import Suspensions
from runtime.ledger import ConnectorTally
from runtime.pool import LanePool
from runtime.secrets import SecretError, SecretStore
from schemas.dead_letter import Stage
from schemas.lane import Lane, hold_lane
from schemas.secret import Secrets
from sinks.sink import Answer, Request, Unpackable, Verdict

QUICK_TRIES = 3
QUICK_SECONDS = 2.0
"""A try again that would come later than this after the first is left to the hold."""
MAX_SPLITS = 16
"""Extra requests that a batch may cost to find the events that a partner rejects."""

_logger = logging.getLogger(__name__)

Send = Callable[[Request, float], Answer]


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Events that are still to be delivered, and what stood in the way."""

    events: Sequence[bytes]
    reason: str
    status: int | None = None
    answer: str = ""
    attempts: int = 0
    blame: Blame = "none"
    retry_at_ms: int = 0
    """When the partner asked to be tried again."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """An event that will never be delivered."""

    event: bytes
    stage: Stage
    reason: str
    detail: str
    status: int | None = None
    answer: str | None = None
    attempts: int = 0


@dataclass
class Outcome:
    """What became of a batch: its events are delivered, undelivered or given up."""

    tally: ConnectorTally = field(default_factory=ConnectorTally)
    undelivered: list[Undelivered] = field(default_factory=list)
    given_up: list[GivenUp] = field(default_factory=list)


class Deliverer:
    """Starts deliveries; one a process."""

    def __init__(
        self,
        pool: LanePool,
        secrets: SecretStore,
        send: Send,
        suspensions: Suspensions | None = None,
    ) -> None:
        self.pool = pool
        self.secrets = secrets
        self.send = send
        self.breaker = Breaker()
        self._suspensions = suspensions

    def start(
        self,
        lane: Lane,
        entry: ConnectorEntry | None,
        events: Sequence[bytes],
        hold_reason: str = "",
    ) -> "Delivery":
        """Begin to deliver a batch; `entry` is None where the connector is no more.

        With a `hold_reason` nothing is sent: that is why its events come back undelivered.
        """
        delivery = Delivery(self, lane, entry)
        delivery.begin(events, hold_reason)
        return delivery

    def release(
        self, lane: Lane, entry: ConnectorEntry, events: Sequence[bytes], tries: int = QUICK_TRIES
    ) -> "Delivery":
        """Begin to deliver what was held, though its lane may be left alone otherwise."""
        delivery = Delivery(self, lane, entry, released=True, tries=tries)
        delivery.begin(events)
        return delivery

    def bury(
        self, lane: Lane, entry: ConnectorEntry | None, events: Sequence[bytes], reason: str
    ) -> "Delivery":
        """A delivery that has ended: all of its events are given up."""
        delivery = Delivery(self, lane, entry)
        delivery.give_up(events, reason)
        return delivery

    def leaves_alone(self, held_lane: str) -> bool:
        """Whether nothing but probes and releases is sent on the lane now."""
        if self.breaker.is_open(held_lane):
            return True
        suspensions = self._suspensions
        return suspensions is not None and suspensions.state_of(held_lane) == "suspended"


@dataclass(frozen=True, slots=True)
class _Try:
    """One request that is to be made, for the first time or again."""

    request: Request
    number: int = 1
    first_at: float = 0


class Delivery:
    """One batch on its way; `wait` for its `outcome`."""

    def __init__(
        self,
        deliverer: Deliverer,
        lane: Lane,
        entry: ConnectorEntry | None,
        released: bool = False,
        tries: int = QUICK_TRIES,
    ) -> None:
        self.lane = lane
        self._released = released
        self._tries = tries
        self.outcome = Outcome()
        self.started = time.monotonic()
        self._deliverer = deliverer
        self._entry = entry
        self._hold_lane = hold_lane(
            lane.connector, entry.sink.hold_part(lane.part) if entry else ""
        )
        self._secrets: Secrets = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._pending = 0
        self._splits_left = MAX_SPLITS
        self._suspended: Undelivered | None = None
        self._rejected: list[Undelivered] = []

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the outcome is whole; False when time is up before."""
        return self._done.wait(timeout_seconds)

    def begin(self, events: Sequence[bytes], hold_reason: str = "") -> None:
        entry, obstacle = self._entry, obstacle_of(self._entry)
        if entry is None or obstacle is not None:
            self._finish_with(Undelivered(events, obstacle or "", blame="lane"))
        elif self._is_left_alone():
            self._finish_with(Undelivered(events, "suspended"))
        elif hold_reason:
            self._finish_with(Undelivered(events, hold_reason))
        else:
            self._pending = 1  # the packing; what it queues is added before it ends
            if self._deliverer.secrets.at_hand(entry.sink.references(self.lane.part)):
                self._pack_and_send(entry, events)
            else:  # reading a secret may take its time, which is not the caller's
                self._submit(entry, lambda: self._pack_and_send(entry, events))

    def give_up(self, events: Sequence[bytes], reason: str) -> None:
        self.outcome.given_up.extend(GivenUp(event, "deliver", reason, "") for event in events)
        self._done.set()

    def _is_left_alone(self) -> bool:
        return not self._released and self._deliverer.leaves_alone(self._hold_lane)

    def _pack_and_send(self, entry: ConnectorEntry, events: Sequence[bytes]) -> None:
        """Read the secrets and pack."""
        references = entry.sink.references(self.lane.part)
        try:
            self._secrets = self._deliverer.secrets.resolve(references)
        except SecretError as error:
            self._finish_with(Undelivered(events, "secret", answer=str(error), blame="lane"))
            return
        except Exception as error:  # noqa: BLE001 - nobody would end the delivery
            self._mistake(entry, events, 0, error)
        else:
            self._send_all(entry, events)
        self._end_one()

    def _send_all(self, entry: ConnectorEntry, events: Sequence[bytes]) -> None:
        """Pack events, and queue what they became."""
        try:
            packed = entry.sink.pack(events, self.lane.part, self._secrets)
        except Exception as error:  # noqa: BLE001 - a sink's mistake must not stop the pipeline
            self._mistake(entry, events, 0, error)
            return
        with self._lock:
            self.outcome.given_up.extend(map(_unpackable, packed.unpackable))
            self._pending += len(packed.requests)
        for request in packed.requests:
            self._queue(entry, _Try(request))

    def _queue(self, entry: ConnectorEntry, this: _Try, delay_seconds: float = 0) -> None:
        self._submit(entry, lambda: self._run(entry, this), delay_seconds)

    def _submit(
        self, entry: ConnectorEntry, task: Callable[[], None], delay_seconds: float = 0
    ) -> None:
        doubted = self._deliverer.breaker.is_doubted(self._hold_lane)
        cap = 1 if doubted else entry.settings.concurrency
        self._deliverer.pool.submit(self._hold_lane, cap, task, delay_seconds)

    def _run(self, entry: ConnectorEntry, this: _Try) -> None:
        try:
            self._attempt_or_keep(entry, this)
        except Exception as error:  # noqa: BLE001 - a mistake must not stop the pipeline
            self._mistake(entry, this.request.events, this.number, error)
        self._end_one()

    def _attempt_or_keep(self, entry: ConnectorEntry, this: _Try) -> None:
        if self._suspended is not None:  # the same key would be refused again
            self._keep(this.request, self._suspended, this.number - 1)
        elif self._is_left_alone():
            why = Undelivered(this.request.events, "suspended")
            self._keep(this.request, why, this.number - 1)
        else:
            self._attempt(entry, this)

    def _attempt(self, entry: ConnectorEntry, this: _Try) -> None:
        request, number = this.request, this.number
        started = time.monotonic()
        answer = self._deliverer.send(request, entry.sink.timeout_seconds)
        verdict = entry.sink.judge(answer)
        with self._lock:
            self.outcome.tally.attempts += 1
            self.outcome.tally.time_attempt(time.monotonic() - started)
        undelivered = Undelivered(
            request.events, reason_of(answer), answer.status, self._said(answer, request), number
        )
        tried = _Try(request, number, this.first_at or started)
        self._act(entry, tried, verdict, undelivered, retry_after_seconds(answer, time.time()))

    def _mistake(
        self, entry: ConnectorEntry, events: Sequence[bytes], attempts: int, error: Exception
    ) -> None:
        """Keep the events; the text of such an error may hold an event or a key, its place not."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__} at {place.name}:{place.lineno}"
        _logger.error("connector %s: a mistake in its sink: %s", entry.settings.name, said)
        with self._lock:
            self.outcome.undelivered.append(
                Undelivered(events, "sink_error", answer=said, attempts=attempts, blame="try")
            )

    def _act(
        self,
        entry: ConnectorEntry,
        tried: _Try,
        verdict: Verdict,
        undelivered: Undelivered,
        retry_after: float | None,
    ) -> None:
        request = tried.request
        match verdict:
            case Verdict.DELIVERED:
                self._count_delivered(request)
            case Verdict.RETRY:
                self._retry(entry, tried, undelivered, retry_after)
            case Verdict.SUSPEND:
                undelivered = replace(undelivered, blame="lane")
                self._suspended = undelivered
                self._deliverer.breaker.trip(self._hold_lane)
                self._deliverer.secrets.doubt(entry.sink.references(self.lane.part))
                self._keep(request, undelivered, undelivered.attempts)
            case Verdict.TOO_LARGE:
                self._split_too_large(entry, request, undelivered)
            case Verdict.REJECTED:
                self._bisect(entry, request, undelivered)
            case _:
                assert_never(verdict)

    def _count_delivered(self, request: Request) -> None:
        self._deliverer.breaker.succeed(self._hold_lane)
        with self._lock:
            tally = self.outcome.tally
            tally.delivered += len(request.events)
            tally.requests += 1
            tally.bytes += len(request.body)

    def _retry(
        self,
        entry: ConnectorEntry,
        tried: _Try,
        undelivered: Undelivered,
        retry_after: float | None,
    ) -> None:
        delay = random.uniform(0.05, 0.1 * 2**tried.number)  # noqa: S311 - full jitter, no secret
        if retry_after is not None:
            delay = max(delay, retry_after)
        spent = time.monotonic() - tried.first_at
        if tried.number >= self._tries or spent + delay > QUICK_SECONDS:
            self._deliverer.breaker.trip(self._hold_lane, retry_after or 0)
            retry_at_ms = now_ms() + int(retry_after * 1_000) if retry_after else 0
            why = replace(undelivered, blame="try", retry_at_ms=retry_at_ms)
            self._keep(tried.request, why, tried.number)
            return
        with self._lock:
            self._pending += 1
        self._queue(entry, _Try(tried.request, tried.number + 1, tried.first_at), delay)

    def _split_too_large(
        self, entry: ConnectorEntry, request: Request, undelivered: Undelivered
    ) -> None:
        if len(request.events) > 1:
            self._split(entry, request)
            return
        with self._lock:
            self.outcome.given_up.append(_buried(undelivered, "too_large"))

    def _bisect(self, entry: ConnectorEntry, request: Request, undelivered: Undelivered) -> None:
        with self._lock:
            affordable = self._splits_left >= 2 and len(request.events) > 1
            if affordable:
                self._splits_left -= 2
            else:
                self._rejected.append(undelivered)
        if affordable:
            self._split(entry, request)

    def _split(self, entry: ConnectorEntry, request: Request) -> None:
        middle = len(request.events) // 2
        self._send_all(entry, request.events[:middle])
        self._send_all(entry, request.events[middle:])

    def _keep(self, request: Request, why: Undelivered, attempts: int) -> None:
        with self._lock:
            self.outcome.undelivered.append(replace(why, events=request.events, attempts=attempts))

    def _said(self, answer: Answer, request: Request) -> str:
        return sanitise(answer, [*self._secrets.values(), *spelled_out(request)])

    def _finish_with(self, undelivered: Undelivered) -> None:
        self.outcome.undelivered.append(undelivered)
        self._done.set()

    def _end_one(self) -> None:
        with self._lock:
            self._pending -= 1
            if self._pending:
                return
            self._settle_rejected()
        self._done.set()

    def _settle_rejected(self) -> None:
        """Bury what was rejected if the partner took other events of the batch, else keep it."""
        for rejected in self._rejected:
            if self.outcome.tally.delivered and len(rejected.events) == 1:
                self.outcome.given_up.append(_buried(rejected, "rejected"))
            else:
                self.outcome.undelivered.append(
                    replace(rejected, reason="rejected", blame="events")
                )


def obstacle_of(entry: ConnectorEntry | None) -> str | None:
    """Why a connector takes nothing though nothing fails; None where it does."""
    if entry is None:
        return "connector_removed"
    if not entry.settings.enabled:
        return "disabled"
    return "paused" if entry.settings.paused else None


def reason_of(answer: Answer) -> str:
    """A short fixed code for what came back instead of a delivery."""
    return answer.error or f"status_{answer.status}"


def _unpackable(unpackable: Unpackable) -> GivenUp:
    return GivenUp(unpackable.event, "pack", unpackable.reason, unpackable.detail)


def _buried(undelivered: Undelivered, reason: str) -> GivenUp:
    return GivenUp(
        undelivered.events[0],
        "deliver",
        reason,
        f"the partner answered {undelivered.status}",
        undelivered.status,
        undelivered.answer,
        undelivered.attempts,
    )
