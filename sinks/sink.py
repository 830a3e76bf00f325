"""The contract of a sink: what the pipeline asks of the code that knows one partner.

A sink is pure: it turns events into requests and answers into verdicts, and touches no network, no
file and no clock. It is built from its connector's settings; secrets are passed in when a request
is packed, so that a batch that is sent again goes out with today's credentials.
"""

import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Generic, Literal, NamedTuple, TypeVar, final

from schemas.connector import Connector, secret_references
from schemas.event import EventHeader
from schemas.secret import Secrets
from sinks.fields import Unencodable
from sinks.redaction import Redactor

DEFAULT_TIMEOUT_SECONDS = 10


class Filtered(enum.Enum):
    """Why an event is not for a connector, in the order in which the reasons are looked for."""

    DISABLED = "disabled"
    EVENT_TYPE = "event_type"
    APP_ID = "app_id"
    NO_EXTERNAL_USER_ID = "no_external_user_id"
    UNSUPPORTED = "unsupported"
    FEED_NOT_CONFIGURED = "feed_not_configured"


class Verdict(enum.Enum):
    """What an answer means for the events of its request."""

    DELIVERED = "delivered"
    RETRY = "retry"
    SUSPEND = "suspend"
    TOO_LARGE = "too_large"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Limits:
    """What one request may hold, and how long a batch waits; defaults of a kind."""

    max_events: int
    max_request_bytes: int
    most_request_bytes: int
    """The most that a connector's setting may raise `max_request_bytes` to."""
    batch_window_seconds: float
    max_event_bytes: int | None = None
    """Of one encoded event, where the partner has such a limit."""
    rate_limit: float | None = None
    """What the partner takes a second, in the sink's `rate_unit`, where it says so."""


class AgeLimit(NamedTuple):
    """What a partner says of events that happened more than so many days ago."""

    days: int
    advice: str


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP exchange to make; its URL and headers may hold secrets, so it prints without."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    events: Sequence[bytes] = field(default=(), repr=False)
    """The events within, as they came: what is held or split when this fails."""


@dataclass(frozen=True, slots=True)
class FileWrite:
    """One file to make visible, whole, under `path` (a storage URI)."""

    path: str
    body: bytes = field(repr=False)
    events: Sequence[bytes] = field(default=(), repr=False)
    credentials: str | None = field(default=None, repr=False)
    """A service account's JSON, or None for the worker's own identity."""


Request = HttpRequest | FileWrite


@dataclass(frozen=True, slots=True)
class Unpackable:
    """An event that fits no request of this partner."""

    event: bytes = field(repr=False)
    reason: Literal["too_large", "unencodable"]
    detail: str
    found_bytes: int = 0
    """Of what is too large: what it takes, and what is allowed."""
    most_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Packed:
    """What a batch became: requests that together hold every event that is not `unpackable`."""

    requests: Sequence[Request]
    unpackable: Sequence[Unpackable] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: an HTTP status, or the error that came instead of one.

    `error` is a fixed code: `timeout`, `network`, `address` (refused by the address policy), and
    for files `permission`, `missing` (the bucket), `storage`.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str | None = None
    detail: str = ""


def judge_status(answer: Answer) -> Verdict:
    """Judge by the HTTP status alone, as the platform's Custom HTTP connector documents it."""
    status = answer.status
    if status is None:
        suspends = answer.error in ("permission", "missing", "address")
        return Verdict.SUSPEND if suspends else Verdict.RETRY
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if status in (401, 403, 404, 407):
        return Verdict.SUSPEND
    if status == 413:
        return Verdict.TOO_LARGE
    if 400 <= status < 500 and status not in (408, 425, 429):
        return Verdict.REJECTED
    return Verdict.RETRY


def _redact_all(
    redactor: Redactor, events: Sequence[bytes]
) -> tuple[list[tuple[bytes, bytes]], list[Unpackable]]:
    """Redacted events, each with its original, and those that cannot be redacted."""
    redacted: list[tuple[bytes, bytes]] = []
    unpackable: list[Unpackable] = []
    for event in events:
        try:
            redacted.append((redactor.redact(event), event))
        except Unencodable as error:
            unpackable.append(Unpackable(event, "unencodable", str(error)))
    return redacted, unpackable


SettingsT = TypeVar("SettingsT", bound=Connector)


class Sink(ABC, Generic[SettingsT]):
    """One partner. A new one is a file in this folder with a subclass that has a `kind`."""

    kind: ClassVar[str]
    settings_type: ClassVar[type[Connector]]
    limits: ClassVar[Limits]
    needs_external_user_id: ClassVar[bool]
    """Whether the partner gets no events of users without one, where its settings say nothing else."""
    tells_users_by: ClassVar[frozenset[str]] = frozenset()
    """User fields by which the partner tells users apart: they can be hashed, but not removed."""
    proves_delivery: ClassVar[bool]
    """Whether a DELIVERED answer proves that the partner kept the events."""
    rate_unit: ClassVar[str | None] = "requests"
    """What `rate_limit` counts; None where nothing can be counted."""

    def __init__(self, settings: SettingsT) -> None:
        self.settings = settings
        self._references = tuple(dict.fromkeys(secret_references(settings)))
        self._redactor = Redactor(settings.redact) if settings.redact else None

    def references(self, part: str) -> Sequence[str]:  # noqa: ARG002
        """The secrets that requests of a part of the lane need; by default all of the settings."""
        return self._references

    @property
    def max_events(self) -> int:
        return self.settings.max_events or self.limits.max_events

    @property
    def max_request_bytes(self) -> int:
        return self.settings.max_request_bytes or self.limits.max_request_bytes

    @property
    def rate_limit(self) -> float | None:
        """The most that all lanes of the connector together send a second, in `rate_unit`."""
        limit = self.settings.rate_limit
        return self.limits.rate_limit if limit is None else limit

    @property
    def rate_parts(self) -> int:
        """Into how many parts `place` divides the connector, each with its share of the limit."""
        return 1

    @property
    def age_limits(self) -> Sequence[AgeLimit]:
        """What the partner says of old events, the longest age first; nothing in most cases."""
        return ()

    def age_advice(self, age_seconds: float) -> str | None:
        """What the partner says of an event that happened so long ago, if it says something."""
        return next(
            (limit.advice for limit in self.age_limits if age_seconds > limit.days * 86_400), None
        )

    @property
    def timeout_seconds(self) -> float:
        """The time for one whole exchange, from connecting to the last byte of the answer."""
        timeout = self.settings.timeout
        return DEFAULT_TIMEOUT_SECONDS if timeout is None else timeout

    @property
    def batch_window_seconds(self) -> float:
        window = self.settings.batch_window
        return self.limits.batch_window_seconds if window is None else window

    @property
    def leaves_out_anonymous(self) -> bool:
        """Whether events of users without an `external_user_id` are filtered."""
        return self.needs_external_user_id

    def supports(self, event_type: str) -> bool:  # noqa: ARG002 - most partners take any type
        """Whether this partner has a name for the (canonical) event type."""
        return True

    def place(self, header: EventHeader, event_type: str, hour: str) -> str | Filtered:  # noqa: ARG002
        """Return the part of the lane that this partner's grouping adds, or why there is none.

        Of the header it looks at the app, the platform and, if it `places_by_time`, the time; events that
        are the same in these share its answer.

        Args:
            header: the event's own header.
            event_type: its canonical event type.
            hour: the UTC hour of publishing, `YYYY-MM-DD-HH`.
        """
        return ""

    def wanted_part(self, header: EventHeader, event_type: str) -> str:  # noqa: ARG002
        """The part that an event belongs to, whether it is configured or not: for people to read."""
        return ""

    @property
    def places_by_time(self) -> bool:
        """Whether `place` looks at the time of an event."""
        return False

    def has_part(self, part: str) -> bool:
        """Whether a part of a lane is one of this connector's, as it is configured now.

        What is held outlives the settings: the connector may be of another kind by now, and then
        its sink can make nothing of what `place` of the earlier kind has returned.
        """
        return not part

    def hold_part(self, part: str) -> str:
        """The part of a lane that keeps a queue of its own in the hold; what follows `place`."""
        return part

    def rate_units(self, events: Sequence[bytes]) -> int:
        """What a batch of these events costs, in `rate_unit`: an estimate, for it is not packed."""
        size = sum(map(len, events))
        return max(
            math.ceil(len(events) / self.max_events), math.ceil(size / self.max_request_bytes)
        )

    @final
    def pack(self, events: Sequence[bytes], part: str, secrets: Secrets) -> Packed:
        """Redact events of one lane, encode them and split them under this partner's limits.

        What it returns names the events as they came: held and dead events are originals.

        Args:
            events: event bytes, one JSON object each, in order.
            part: what `place` returned for them.
            secrets: values of the connector's references.
        """
        if self._redactor is None:
            return self.encode(events, part, secrets)
        redacted, unpackable = _redact_all(self._redactor, events)
        packed = self.encode([event for event, _ in redacted], part, secrets)
        originals = {id(event): original for event, original in redacted}
        return Packed(
            [
                replace(request, events=[originals[id(event)] for event in request.events])
                for request in packed.requests
            ],
            [
                *unpackable,
                *(replace(found, event=originals[id(found.event)]) for found in packed.unpackable),
            ],
        )

    @final
    def redact_for_replay(self, event: bytes) -> bytes:
        """The event without what the partner must not see, such that it can be packed later on."""
        return self._redactor.redact_for_replay(event) if self._redactor else event

    @abstractmethod
    def encode(self, events: Sequence[bytes], part: str, secrets: Secrets) -> Packed:
        """What a partner's sink does of `pack`: requests within its limits, envelope included.

        The events of requests and the unpackable ones are the very objects that were passed in.
        """

    @abstractmethod
    def probe(self, part: str, secrets: Secrets) -> Request | None:
        """A harmless request that tests the credentials, or None where there is none."""

    def judge(self, answer: Answer) -> Verdict:
        """What the answer means for the events of its request."""
        return judge_status(answer)

    def judge_probe(self, answer: Answer) -> Verdict:
        """What the answer to a probe means for the lane; most partners answer it like a request."""
        return self.judge(answer)

    @property
    def probe_parts(self) -> Sequence[str]:
        """The parts of the connector that have credentials of their own."""
        return ("",)

    def what_probe_proves(self, answer: Answer) -> str:
        """Say in a sentence what the answer to a probe proves."""
        verdict = self.judge_probe(answer)
        if verdict is Verdict.SUSPEND:
            return "the credentials or the address are refused"
        if verdict is Verdict.DELIVERED:
            return "the address answers" + (
                " and takes the credentials" if self.proves_delivery else "; the key is not checked"
            )
        return "the partner answers, but proves nothing about the credentials"
