"""A connector as the connectors file describes it: the settings that every kind takes.

What one kind takes besides stands in its sink's file, in a subclass of `Connector`.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from schemas.secret import FORMS, SecretRef, is_reference

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


NAME_PATTERN = "^[a-z0-9-]{1,63}$"
"""Of connectors and feeds."""


class Seconds(float):
    """A length of time: a number of seconds, or a text such as `10 s`, `5 min`, `48h`."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> "Seconds":
        """Raises ValueError for anything that is no length of time of zero or more."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            number, unit = _number(value, value), "s"
        else:
            text = str(value).strip()
            unit = text.lstrip("0123456789. ") or "s"
            number = _number(text.removesuffix(unit), value)
        if unit not in _UNITS or not 0 <= number < float("inf"):
            raise ValueError(
                f"a length of time is 10, '10 s', '5 min' or '48h'; found {value!r:.60}"
            )
        return cls(number * _UNITS[unit])


def _number(value: float | str, whole: object) -> float:
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise ValueError(
            f"a length of time is 10, '10 s', '5 min' or '48h'; found {whole!r:.60}"
        ) from None


class Url(str):
    """An absolute URL, or the reference of a secret that holds one."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> "Url":
        """Raises ValueError for anything else."""
        if isinstance(value, str) and (is_reference(value) or _is_web_address(value)):
            return cls(value)
        raise ValueError(
            "a URL starts with https:// and a host, without user or password; "
            f"one that holds a key is a secret and is given as {FORMS}"
        )

    @property
    def is_secret(self) -> bool:
        """Whether this is a reference and not yet the URL."""
        return is_reference(self)


_CONTROLS = re.compile(r"[\x00-\x20\x7f]")


def _is_web_address(text: str) -> bool:
    if _CONTROLS.search(text):  # urlsplit drops line breaks, and a request would have them
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    # A user and password in a URL would be a literal secret, and are not sent by anyone.
    return parts.scheme in ("https", "http") and bool(parts.hostname) and "@" not in parts.netloc


_UNREDACTED = frozenset({"event_type", "id", "time", "user", "properties"})
"""What makes an event what it is: without it no partner could tell events apart."""


class Redact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fields, by name wherever they stand, whose values a connector's partner must not see."""

    remove: list[str] = msgspec.field(default_factory=list)
    """Their values become `[REDACTED]`."""
    hash: list[str] = msgspec.field(default_factory=list)
    """Their values become SHA-256 in hexadecimal."""

    def __post_init__(self) -> None:
        if both := sorted({*self.remove} & {*self.hash}):
            raise ValueError(f"{both[0]!r} is to be removed and hashed; one of the two is possible")
        if basic := sorted({*self.remove, *self.hash} & _UNREDACTED):
            raise ValueError(f"{basic[0]!r} cannot be redacted: every partner tells events by it")
        if "" in {*self.remove, *self.hash}:
            raise ValueError("a field's name is not empty")

    @property
    def fields(self) -> frozenset[str]:
        return frozenset({*self.remove, *self.hash})


class Connector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configured route to a partner. Times are in seconds, sizes in bytes.

    The text below a setting is what its users are told: see `schemas.setting_texts`.
    """

    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    """What it is called in lanes, reports and folders; no other has it."""
    kind: str
    """Which partner it delivers to."""
    enabled: bool = True
    """False: its events are filtered as `disabled`, and what is held waits for its deadline."""
    paused: bool = False
    """True: its events are held until it is false again."""
    contact: str | None = None
    """Whom alerts name; nothing is sent there."""
    app_group_ids: list[str] | None = None
    """The app groups whose events it gets, and no others; by default all, events without one too."""
    events: list[str] | None = None
    """Event types, or patterns of them (`users.messages.email.*`); by default all."""
    app_ids: list[str] | None = None
    """The apps whose events it gets; then events without an `app_id` are filtered as well."""
    redact: Redact | None = None
    """Fields to `remove` or to `hash` before the partner sees an event."""
    unnamed_events: Literal["skip", "raw"] = "skip"
    """Event types that the partner has no published name for: filtered as `unsupported`, or sent
    under the platform's own name."""
    batch_window: Seconds | None = None
    """How long events wait for others, to share a request."""
    max_event_age: Seconds | None = None
    """How long an event is tried after its publishing; by default `--max_event_age`."""
    max_events: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """The most events in a request or file."""
    max_request_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """The most bytes of a request's body, or of the events of a file."""
    rate_limit: Annotated[float, msgspec.Meta(ge=0.001, le=1_000_000)] | None = None
    """The most that all its lanes together send a second, fresh and released: requests, at mParticle
    user batches."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    """The most requests of one of its lanes at the same time, in a process."""
    shards: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    """Into how many lanes its events are divided, by user, for more than one worker to serve."""
    timeout: Seconds | None = None
    """The time for one whole exchange, from connecting to the last byte of the answer; 10 s by
    default."""
    endpoint: Url | None = None
    """A base URL in place of the partner's own scheme and host, for staging, a proxy or a test."""
    allow_duplicate: bool = False
    """True: another connector may deliver to the same place with the same key."""

    def identities(self) -> Sequence[str]:
        """What two connectors must not share: each place with its key; none where it is harmless."""
        return ()

    def storage_places(self) -> Sequence[str]:
        """Storage URIs that workers write to."""
        return ()


def decode_hook(expected: type, value: Any) -> Any:
    """Build our own types while msgspec converts a connectors file."""
    if expected in (Seconds, Url, SecretRef):
        return expected.parse(value)
    raise NotImplementedError(expected)


def schema_hook(ours: type) -> dict[str, Any]:
    """Describe our own types in JSON Schema."""
    if ours is Seconds:
        return {"type": ["number", "string"], "description": str(Seconds.__doc__)}
    if ours is Url:
        return {"type": "string", "description": str(Url.__doc__)}
    if ours is SecretRef:
        return {"type": "string", "pattern": "^(env|file|gcp-secret):"}
    raise NotImplementedError(ours)


def secret_references(settings: object) -> list[str]:
    """Every secret reference that stands in a connector's settings, nested ones included."""
    if isinstance(settings, msgspec.Struct):
        return secret_references([getattr(settings, name) for name in settings.__struct_fields__])
    if isinstance(settings, dict):
        return secret_references(list(settings.values()))
    if isinstance(settings, list):
        return [reference for item in settings for reference in secret_references(item)]
    if isinstance(settings, SecretRef) or (isinstance(settings, Url) and settings.is_secret):
        return [str(settings)]
    return []
