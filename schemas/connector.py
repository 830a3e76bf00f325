"""A connector as the connectors file describes it: the settings that every kind takes.

What one kind takes besides stands in its sink's file, in a subclass of `Connector`.
"""

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
            number, unit = float(value), "s"
        else:
            text = str(value).strip()
            unit = text.lstrip("0123456789. ") or "s"
            number = _number(text.removesuffix(unit), value)
        if unit not in _UNITS or not 0 <= number < float("inf"):
            raise ValueError(f"a length of time is 10, '10 s', '5 min' or '48h'; found {value!r}")
        return cls(number * _UNITS[unit])


def _number(text: str, whole: object) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"a length of time is 10, '10 s', '5 min' or '48h'; found {whole!r}"
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


def _is_web_address(text: str) -> bool:
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
    """One configured route to a partner. Times are in seconds, sizes in bytes."""

    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    kind: str
    enabled: bool = True
    paused: bool = False
    contact: str | None = None
    app_group_ids: list[str] | None = None
    events: list[str] | None = None
    app_ids: list[str] | None = None
    redact: Redact | None = None
    unnamed_events: Literal["skip", "raw"] = "skip"
    batch_window: Seconds | None = None
    max_event_age: Seconds | None = None
    max_events: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_request_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    rate_limit: Annotated[float, msgspec.Meta(ge=0.001, le=1_000_000)] | None = None
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    shards: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    timeout: Seconds | None = None
    endpoint: Url | None = None
    allow_duplicate: bool = False

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
