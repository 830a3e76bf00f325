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
from typing import Literal

from typing_extensions import assert_never

from runtime.answers import retry_after_seconds, sanitise, spelled_out
from runtime.breaker import Breaker
from runtime.clock import now_ms
from runtime.connectors import ConnectorEntry
from runtime.hold.objects import Blame
from runtime.hold.suspensions import Suspensions
from runtime.ledger import ConnectorTally
from runtime.pool import Begin, LanePool, Task
from runtime.secrets import SecretError, SecretStore
from schemas.dead_letter import Stage
from schemas.lane import Lane, hold_lane
from schemas.secret import Secrets
from sinks.sink import Answer, Request, Unpackable, Verdict

QUICK_TRIES = 3
QUICK_SECONDS = 2.0
"""A try again that would come later than this after the first is left to the hold."""
MAX_SPLITS = 16
"""Extra requests that a batch may cost to find the events that a partner rejects, or a size that it takes."""

_logger = logging.getLogger(__name__)

BeginSending = Callable[[Request, float, Callable[[Answer | None], None]], bool]
"""Sends a request, within so many seconds, if that takes no waiting: whether it does.

What came back is told to the callable; None where nothing came, and the request is to be sent anew.
"""
StartSending = Callable[[Request, float, Callable[[Answer], None]], None]
"""Sends a request, after such waiting as that takes; what came back is told to the callable."""


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
        begin_sending: BeginSending,
        start_sending: StartSending,
        suspensions: Suspensions | None = None,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self.clock_ms = clock_ms
        self.pool = pool
        self.secrets = secrets
        self.begin_sending = begin_sending
        self.start_sending = start_sending
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


@dataclass(slots=True)
class _Try:
    """One request that is to be made, for the first time or again."""

    request: Request
    secrets: Secrets = field(repr=False)
    """Those that it was packed with."""
    is_renewed: bool = False
    """Whether it was packed anew when its secrets were refused."""
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
        self.hold_lane = hold_lane_of(lane, entry)
        self._secrets: Secrets = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._pending = 0
        self._splits_left = MAX_SPLITS
        self._stopped: Undelivered | None = None
        """Why the rest of the batch is not sent any more."""
        self._refused: list[Undelivered] = []
        self._put_off: list[Undelivered] = []
        """Halves of what was too large, the one to be sent first last."""

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
        elif not entry.sink.has_part(self.lane.part):
            # Its name is another kind of connector's since the events were routed.
            self._finish_with(Undelivered(events, "other_kind"))
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
        return not self._released and self._deliverer.leaves_alone(self.hold_lane)

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

    def _send_all(
        self, entry: ConnectorEntry, events: Sequence[bytes], is_renewed: bool = False
    ) -> None:
        """Pack events, and queue what they became."""
        secrets = self._secrets
        try:
            packed = entry.sink.pack(events, self.lane.part, secrets)
        except Exception as error:  # noqa: BLE001 - a sink's mistake must not stop the pipeline
            self._mistake(entry, events, 0, error)
            return
        with self._lock:
            self.outcome.given_up.extend(map(_unpackable, packed.unpackable))
            self._pending += len(packed.requests)
        for request in packed.requests:
            self._queue(entry, _Try(request, secrets, is_renewed))

    def _queue(self, entry: ConnectorEntry, this: _Try, delay_seconds: float = 0) -> None:
        self._submit(
            entry,
            lambda: self._start(entry, this),
            delay_seconds,
            lambda: self._begin(entry, this),
        )

    def _submit(
        self,
        entry: ConnectorEntry,
        task: Task,
        delay_seconds: float = 0,
        begin: Begin | None = None,
    ) -> None:
        doubted = self._deliverer.breaker.is_doubted(self.hold_lane)
        cap = 1 if doubted else entry.settings.concurrency
        self._deliverer.pool.submit(self.hold_lane, cap, task, delay_seconds, begin)

    def _begin(self, entry: ConnectorEntry, this: _Try) -> bool:
        """Send the request, if neither that nor what comes before it takes any waiting."""
        started = time.monotonic()  # before the looks: what stops the lane after them is later
        if self._stopped is not None or self._is_left_alone():
            return False
        this.first_at = this.first_at or started

        def done(answer: Answer | None) -> None:
            if answer is None:
                with self._lock:
                    self.outcome.tally.attempts += 1
                self._deliverer.pool.redo(self.hold_lane, lambda: self._start(entry, this))
            else:
                self._take_answer(entry, this, started, answer)

        return self._deliverer.begin_sending(this.request, entry.sink.timeout_seconds, done)

    def _start(self, entry: ConnectorEntry, this: _Try) -> bool:
        """Send the request, unless it is to be sent no more: whether it is on its way."""
        started = time.monotonic()  # before the looks: what stops the lane after them is later
        if self._stopped is not None:  # it would be answered the same
            self._keep(this.request, self._stopped, this.number - 1)
        elif self._is_left_alone():
            why = Undelivered(this.request.events, "suspended")
            self._keep(this.request, why, this.number - 1)
        else:
            this.first_at = this.first_at or started
            try:
                self._deliverer.start_sending(
                    this.request,
                    entry.sink.timeout_seconds,
                    lambda answer: self._take_answer(entry, this, started, answer),
                )
            except Exception as error:  # noqa: BLE001 - nobody would end the delivery
                self._mistake(entry, this.request.events, this.number, error)
            else:
                return True
        self._end_one()
        return False

    def _take_answer(
        self, entry: ConnectorEntry, this: _Try, started: float, answer: Answer
    ) -> None:
        """Act on what came to a request, on the thread that waits for all answers mostly.

        What may take its time is left to the pool: to pack events anew, or to read a secret.
        """
        seconds = time.monotonic() - started
        is_quick = answer.status is not None and 200 <= answer.status < 300 and not self._put_off
        if is_quick:
            self._end_try(entry, this, started, seconds, answer)
            self._deliverer.pool.end(self.hold_lane)
        else:
            self._deliverer.pool.go_on(
                self.hold_lane, lambda: self._end_try(entry, this, started, seconds, answer)
            )

    def _end_try(
        self, entry: ConnectorEntry, this: _Try, started: float, seconds: float, answer: Answer
    ) -> None:
        try:
            self._judge(entry, this, started, seconds, answer)
        except Exception as error:  # noqa: BLE001 - a mistake must not stop the pipeline
            self._mistake(entry, this.request.events, this.number, error)
        self._end_one()

    def _judge(
        self, entry: ConnectorEntry, this: _Try, started: float, seconds: float, answer: Answer
    ) -> None:
        verdict = entry.sink.judge(answer)
        with self._lock:
            self.outcome.tally.attempts += 1
            self.outcome.tally.time_attempt(seconds)
        if verdict is Verdict.DELIVERED:
            self._count_delivered(this.request, started)
            if self._put_off:
                self._send_put_off(entry)
        else:
            self._act(entry, this, verdict, answer)

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
        verdict: Literal[Verdict.RETRY, Verdict.SUSPEND, Verdict.TOO_LARGE, Verdict.REJECTED],
        answer: Answer,
    ) -> None:
        request = tried.request
        said = sanitise(answer, [*tried.secrets.values(), *spelled_out(request)])
        undelivered = Undelivered(
            request.events, reason_of(answer), answer.status, said, tried.number
        )
        match verdict:
            case Verdict.RETRY:
                now = self._deliverer.clock_ms() / 1_000
                self._retry(entry, tried, undelivered, retry_after_seconds(answer, now))
            case Verdict.SUSPEND if not tried.is_renewed and self._renew_secrets(entry, tried):
                self._send_all(entry, request.events, is_renewed=True)
            case Verdict.SUSPEND:
                self._stopped = replace(undelivered, blame="lane")
                self._deliverer.breaker.trip(self.hold_lane)
                self._keep(request, self._stopped, tried.number)
            case Verdict.TOO_LARGE:
                self._split_too_large(entry, request, undelivered)
            case Verdict.REJECTED:
                self._bisect(entry, request, undelivered)
            case _:
                assert_never(verdict)

    def _renew_secrets(self, entry: ConnectorEntry, tried: _Try) -> bool:
        """Read the secrets again; whether they are others than those that were refused."""
        store, references = self._deliverer.secrets, entry.sink.references(self.lane.part)
        store.doubt(references)
        try:
            self._secrets = store.resolve(references)
        except SecretError:
            return False
        return self._secrets != tried.secrets

    def _count_delivered(self, request: Request, sent_at: float) -> None:
        self._deliverer.breaker.succeed(self.hold_lane, sent_at)
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
            self._deliverer.breaker.trip(self.hold_lane, retry_after or 0)
            why = replace(undelivered, blame="try")
            if retry_after:
                retry_at_ms = self._deliverer.clock_ms() + int(retry_after * 1_000)
                self._stopped = why = replace(why, retry_at_ms=retry_at_ms)
            self._keep(tried.request, why, tried.number)
            return
        with self._lock:
            self._pending += 1
        self._queue(entry, replace(tried, number=tried.number + 1), delay)

    def _split_too_large(
        self, entry: ConnectorEntry, request: Request, undelivered: Undelivered
    ) -> None:
        """Halve it; which half is sent when is for `_send_put_off` to say."""
        large = replace(undelivered, reason="too_large")
        first, second = _halves(request.events)
        with self._lock:
            if first:
                self._put_off += [replace(large, events=second), replace(large, events=first)]
            else:
                self._refused.append(large)
        self._send_put_off(entry)

    def _send_put_off(self, entry: ConnectorEntry) -> None:
        """Send all that was put off if the partner has taken something, else no more than a part of it.

        It may find everything too large, and would get two requests for each event.
        """
        with self._lock:
            if self.outcome.tally.delivered:
                sent, self._put_off = self._put_off, []
            elif self._put_off and self._splits_left:
                self._splits_left -= 1
                sent = [self._put_off.pop()]
            else:
                sent = []
        for part in sent:
            self._send_all(entry, part.events)

    def _bisect(self, entry: ConnectorEntry, request: Request, undelivered: Undelivered) -> None:
        with self._lock:
            affordable = self._splits_left >= 2 and len(request.events) > 1
            if affordable:
                self._splits_left -= 2
            else:
                self._refused.append(replace(undelivered, reason="rejected"))
        if affordable:
            self._split(entry, request)

    def _split(self, entry: ConnectorEntry, request: Request) -> None:
        for half in _halves(request.events):
            self._send_all(entry, half)

    def _keep(self, request: Request, why: Undelivered, attempts: int) -> None:
        with self._lock:
            self.outcome.undelivered.append(replace(why, events=request.events, attempts=attempts))

    def _finish_with(self, undelivered: Undelivered) -> None:
        self.outcome.undelivered.append(undelivered)
        self._done.set()

    def _end_one(self) -> None:
        with self._lock:
            self._pending -= 1
            if self._pending:
                return
            self._settle_refused()
        self._done.set()

    def _settle_refused(self) -> None:
        """Bury what was rejected or too large if the partner took other events, else keep it."""
        for refused in [*self._refused, *self._put_off]:
            if self.outcome.tally.delivered and len(refused.events) == 1:
                self.outcome.given_up.append(_buried(refused))
            else:
                self.outcome.undelivered.append(replace(refused, blame="events"))


def hold_lane_of(lane: Lane, entry: ConnectorEntry | None) -> str:
    """The queue in the hold where a lane's events go; `entry` is None where its connector is no more."""
    return hold_lane(lane.connector, entry.sink.hold_part(lane.part) if entry else "")


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


def _halves(events: Sequence[bytes]) -> tuple[Sequence[bytes], Sequence[bytes]]:
    middle = len(events) // 2
    return events[:middle], events[middle:]


def _unpackable(unpackable: Unpackable) -> GivenUp:
    return GivenUp(unpackable.event, "pack", unpackable.reason, unpackable.detail)


def _buried(refused: Undelivered) -> GivenUp:
    return GivenUp(
        refused.events[0],
        "deliver",
        refused.reason,
        f"the partner answered {refused.status}",
        refused.status,
        refused.answer,
        refused.attempts,
    )
