"""Alerts: a lane's suspension, its resumption, and dead letters to come, to the log and a webhook."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from runtime.clock import from_rfc3339, is_recent, rfc3339
from runtime.secrets import SecretError, read_secret
from schemas.alert import Alert, AlertEvent
from schemas.connector import Connector, Url
from schemas.lane import connector_of
from schemas.lane_status import LaneStatus
from schemas.secret import is_reference
from sinks.sink import Answer, HttpRequest, Verdict, judge_status

TIMEOUT_SECONDS = 10.0
WAITS_SECONDS = (1.0, 5.0)
"""Between the tries of one alert; there is one more try than waits."""
CLOSE_SECONDS = 3.0
MAX_QUEUED = 1_000
EXPIRING_MS = 6 * 3_600_000
"""So long before the first dead letters the alert of them is sent."""
BURYING_MS = 60_000
"""A lane tells of burying no more often."""

_LEVELS: dict[AlertEvent, int] = {
    "suspended": logging.WARNING,
    "resumed": logging.INFO,
    "expiring": logging.WARNING,
    "burying": logging.ERROR,
}

_logger = logging.getLogger(__name__)


class _Failure(NamedTuple):
    """Why the webhook has not taken an alert; says nothing of its URL, which may be a secret."""

    text: str
    may_pass: bool
    """Whether another try makes sense."""


class Alerts:
    """Logs alerts, and posts them to a webhook on a thread of its own; one a process.

    To send never raises and never waits: where the webhook is too slow the oldest are dropped.
    """

    def __init__(
        self,
        webhook: str | None,
        send: Callable[[HttpRequest, float], Answer],
        waits_seconds: Sequence[float] = WAITS_SECONDS,
    ) -> None:
        """Take a URL, or the reference of a secret that holds one, and how to make an exchange."""
        self._webhook = webhook
        self._exchange = send
        self._waits_seconds = waits_seconds
        self._url: str | None = None
        self._queue: deque[Alert] = deque()
        self._dropped = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        if webhook is not None:
            self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
            self._thread.start()

    def send(self, alert: Alert) -> None:
        """Log the alert, and let it be posted."""
        _logger.log(_LEVELS[alert.event], "%s %s", alert.sentence, _encode(alert).decode())
        if self._thread is None:
            return
        with self._changed:
            if len(self._queue) >= MAX_QUEUED:
                self._queue.popleft()
                self._dropped += 1
            self._queue.append(alert)
            self._changed.notify()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Wait for what is queued, but no longer than this; what is left then is not posted."""
        if self._thread is None:
            return
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            self._dropped += len(self._queue)
            self._queue.clear()
        self._say_dropped()

    def _run(self) -> None:
        while (alert := self._next()) is not None:
            self._say_dropped()
            self._post(alert)

    def _next(self) -> Alert | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            return self._queue.popleft() if self._queue else None

    def _say_dropped(self) -> None:
        with self._changed:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            _logger.error("%d alerts were not posted: the webhook is too slow", dropped)

    def _post(self, alert: Alert) -> None:
        body = _encode_for_webhook(alert)
        failure = self._try(body)
        for wait_seconds in self._waits_seconds:
            if failure is None or not failure.may_pass:
                break
            with self._changed:
                self._changed.wait_for(lambda: self._closing, wait_seconds)
            failure = self._try(body)
        if failure is not None:
            _logger.error(
                "the alert that lane %r is %s was not posted: %s",
                *(alert.lane, alert.event, failure.text),
            )

    def _try(self, body: bytes) -> _Failure | None:
        try:
            url = self._url = self._url or _read_url(self._webhook or "")
        except SecretError as error:
            return _Failure(str(error), may_pass=True)
        headers = {"Content-Type": "application/json"}
        answer = self._exchange(HttpRequest("POST", url, headers, body), TIMEOUT_SECONDS)
        verdict = judge_status(answer)
        if verdict is Verdict.DELIVERED:
            return None
        self._url = None  # a secret may have changed: the next try reads it again
        said = f"status {answer.status}" if answer.error is None else answer.detail
        return _Failure(f"the webhook: {said}", verdict is Verdict.RETRY)


def _read_url(webhook: str) -> str:
    if not is_reference(webhook):
        return webhook
    try:
        url = Url.parse(read_secret(webhook))
    except ValueError:
        raise SecretError(webhook, "the secret is no URL") from None
    if url.is_secret:
        raise SecretError(webhook, "the secret is another reference")
    return str(url)


def _encode(alert: Alert) -> bytes:
    return msgspec.json.encode(alert)


def _encode_for_webhook(alert: Alert) -> bytes:
    """The alert and, as `text`, its sentence, which is what chat services show."""
    return msgspec.json.encode({"text": alert.sentence, **msgspec.structs.asdict(alert)})


class Told(msgspec.Struct, array_like=True, frozen=True):
    """What was told of a lane already; times in ms since the epoch."""

    suspended: bool = False
    expiring: bool = False
    buried_at_ms: int | None = None


class LaneAlerts:
    """Decides what is news of one lane, so that each kind is told once in a suspension.

    Burying is told once a minute, with all that was buried since, and when nothing is held any more.
    """

    def __init__(
        self, lane: str, send: Callable[[Alert], None], expiring_ms: int = EXPIRING_MS
    ) -> None:
        self._lane = lane
        self._send = send
        self._expiring_ms = expiring_ms
        self._told = Told()
        self._buried: Counter[str] = Counter()

    def look(
        self,
        status: LaneStatus | None,
        settings: Connector | None,
        now_ms: int,
        buried: Mapping[str, int] | None = None,
    ) -> None:
        """Send the alerts that are due.

        Args:
            status: how the lane stands; None where nothing is held any more.
            settings: its connector's, where it is configured.
            now_ms: since the epoch.
            buried: events that were buried since the last look, by reason.
        """
        self._buried.update(buried or {})
        events, self._told = news_of(
            self._told, status, bool(self._buried), now_ms, self._expiring_ms
        )
        for event in events:
            self._send(self._alert(event, status, settings, now_ms))
            if event == "burying":
                self._buried.clear()

    def _alert(
        self,
        event: AlertEvent,
        status: LaneStatus | None,
        settings: Connector | None,
        now_ms: int,
    ) -> Alert:
        return Alert(
            event=event,
            lane=self._lane,
            connector=connector_of(self._lane),
            kind=settings.kind if settings else None,
            reason=status.reason if status else "",
            status=status.status if status else None,
            answer=status.answer if status else "",
            held_events=status.events if status else 0,
            oldest=status.oldest if status else None,
            dead_letters_from=status.dead_letters_from if status else None,
            buried=dict(self._buried) if event == "burying" else {},
            contact=settings.contact if settings else None,
            at=rfc3339(now_ms),
        )


def news_of(
    told: Told,
    status: LaneStatus | None,
    has_buried: bool,
    now_ms: int,
    expiring_ms: int = EXPIRING_MS,
) -> tuple[list[AlertEvent], Told]:
    """What is to be told of a lane now, and what was told of it then."""
    state = status.state if status else None
    events: list[AlertEvent] = []
    if state == "suspended" and not told.suspended:
        events.append("suspended")
    if state in ("resuming", None) and told.suspended:
        events.append("resumed")
    if _is_expiring(status, now_ms, expiring_ms) and not told.expiring:
        events.append("expiring")
    if has_buried and (status is None or not is_recent(told.buried_at_ms, now_ms, BURYING_MS)):
        events.append("burying")
    is_over = state in ("resuming", None)
    return events, Told(
        suspended=not is_over and (told.suspended or "suspended" in events),
        expiring=not is_over and (told.expiring or "expiring" in events),
        buried_at_ms=now_ms if "burying" in events else told.buried_at_ms,
    )


def _is_expiring(status: LaneStatus | None, now_ms: int, expiring_ms: int) -> bool:
    if status is None or status.state == "resuming" or status.dead_letters_from is None:
        return False
    begins_ms = from_rfc3339(status.dead_letters_from)
    return begins_ms is not None and begins_ms - now_ms <= expiring_ms
