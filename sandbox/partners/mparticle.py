"""mParticle's stand-in: its three paths for events, a key and a secret for each feed.

Source: mParticle, "HTTP API", "Default service limits" and the JSON schema of its Events API;
glossary of Braze, mParticle tabs.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from sandbox.partners.site import (
    Arrival,
    Judgement,
    NonEmpty,
    Refusal,
    Reply,
    Site,
    require,
    require_shape,
    texts_at,
)

MAX_BODY_BYTES = 256_000
MAX_BATCH_BYTES = 128_000
MAX_BATCHES = 100
MAX_EVENTS = 100
HISTORICAL_SECONDS = 72 * 3_600

_HISTORICAL = "/v2/bulkevents/historical"
_PATHS = ("/v2/events", "/v2/bulkevents", _HISTORICAL)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Scalar = None | bool | int | float | Annotated[str, msgspec.Meta(max_length=4_096)]
Attributes = Annotated[dict[Name, Scalar], msgspec.Meta(max_length=100)]
Milliseconds = Annotated[int, msgspec.Meta(ge=10**12, lt=10**13)]
_HEX = "[0-9a-fA-F]"
Uuid = Annotated[
    str, msgspec.Meta(pattern=f"^{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}$")
]


class _Data(msgspec.Struct):
    timestamp_unixtime_ms: Milliseconds
    source_message_id: NonEmpty
    custom_attributes: Attributes = {}


class _CustomData(_Data, kw_only=True):
    event_name: Name
    custom_event_type: Literal[
        "navigation",
        "location",
        "search",
        "transaction",
        "user_content",
        "user_preference",
        "social",
        "other",
        "media",
    ]


class _CustomEvent(
    msgspec.Struct, tag_field="event_type", tag="custom_event", forbid_unknown_fields=True
):
    data: _CustomData


class _Uninstall(
    msgspec.Struct, tag_field="event_type", tag="uninstall", forbid_unknown_fields=True
):
    data: _Data


class _DeviceInfo(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of the schema that an engagement event can fill; it tolerates no unknown ones."""

    platform: (
        Literal[
            "iOS",
            "Android",
            "web",
            "tvOS",
            "roku",
            "out_of_band",
            "alexa",
            "smart_tv",
            "fire_tv",
            "xbox",
        ]
        | None
    ) = None
    device_model: Scalar = None
    os_version: Scalar = None
    limit_ad_tracking: bool | None = None
    ios_idfv: Uuid | None = None
    ios_advertising_id: Uuid | None = None
    android_advertising_id: Uuid | None = None
    roku_advertising_id: Uuid | None = None
    fire_advertising_id: Uuid | None = None
    microsoft_advertising_id: Scalar = None


class _Identities(msgspec.Struct, forbid_unknown_fields=True):
    """`customerid` is what Braze and mParticle's own SDK send, `customer_id` what its schema has."""

    customerid: NonEmpty | None = None
    customer_id: NonEmpty | None = None
    email: NonEmpty | None = None
    other: NonEmpty | None = None

    def __post_init__(self) -> None:
        if self.customerid is None and self.customer_id is None:
            raise ValueError("neither customerid nor customer_id")


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    """The schema's top level; `schema_version` is output only and no part of it."""

    environment: Literal["production", "development"]
    user_identities: _Identities
    events: list[_CustomEvent | _Uninstall]
    device_info: _DeviceInfo | None = None
    user_attributes: dict[Name, Scalar | list[Scalar]] | None = None
    source_request_id: Scalar = None
    timestamp_unixtime_ms: Milliseconds | None = None
    batch_id: int | None = None
    mpid: int | None = None
    mp_deviceid: Uuid | None = None
    ip: str | None = None
    application_info: dict[str, Any] | None = None
    source_info: dict[str, Any] | None = None
    integration_attributes: dict[str, Any] | None = None
    deleted_user_attributes: list[str] | None = None


@dataclass(frozen=True)
class MParticleSite(Site):
    """Answers 202 if a single batch of the request is good, and drops the others without a word."""

    kind = "mparticle"
    id_path = ("events", "data", "source_message_id")

    feeds: Mapping[str, tuple[str, str]] = field(repr=False)

    @property
    def credentials(self) -> Sequence[str]:
        return [text for pair in self.feeds.values() for text in pair]

    def examine(self, arrival: Arrival) -> Judgement:
        require(arrival.method == "POST", 405, "POST only")
        require(arrival.path in _PATHS, 404, "no such path")
        require(arrival.authorization is not None, 401, "no Authorization")
        require(self.feed(arrival) is not None, 403, "the key or the secret is not valid")
        require(len(arrival.body) <= MAX_BODY_BYTES, 400, f"over {MAX_BODY_BYTES} bytes")
        batches = _batches(arrival)
        _check_limits(batches)
        newest_ms = (time.time() - HISTORICAL_SECONDS) * 1_000
        return self._accept(batches, newest_ms if arrival.path == _HISTORICAL else math.inf)

    def _accept(self, batches: list[Any], newest_ms: float) -> Judgement:
        problems = [_problem_of(batch, newest_ms) for batch in batches]
        good = [batch for batch, problem in zip(batches, problems, strict=True) if not problem]
        require(bool(good) or not batches, 400, "; ".join(filter(None, problems)))
        reply = Reply(202, headers={"X-mp-rate-limit-percentage-used": "0"})
        return Judgement(reply, texts_at(good, self.id_path))

    def feed(self, arrival: Arrival) -> str | None:
        basic = arrival.basic
        return next((name for name, pair in self.feeds.items() if pair == basic), None)

    def refuse(self, status: int, message: str) -> Reply:
        body = msgspec.json.encode({"errors": [{"code": str(status), "message": message}]})
        return Reply(status, body, {"Content-Type": "application/json"})


def _batches(arrival: Arrival) -> list[Any]:
    """The batches of either path: one object, or an array of objects."""
    if arrival.path == "/v2/events":
        return [require_shape(arrival.document, dict[str, Any])]
    return require_shape(arrival.document, list[dict[str, Any]])


def _check_limits(batches: list[Any]) -> None:
    require(len(batches) <= MAX_BATCHES, 400, f"{len(batches)} batches, at most {MAX_BATCHES}")
    events = sum(len(batch["events"]) for batch in batches if isinstance(batch.get("events"), list))
    require(events <= MAX_EVENTS, 400, f"{events} events, at most {MAX_EVENTS}")
    largest = max((len(msgspec.json.encode(batch)) for batch in batches), default=0)
    require(largest <= MAX_BATCH_BYTES, 400, f"a batch is over {MAX_BATCH_BYTES} bytes")


def _problem_of(batch: Any, newest_ms: float) -> str | None:
    try:
        known = require_shape(batch, _Batch)
    except Refusal as refusal:
        return str(refusal)
    if any(event.data.timestamp_unixtime_ms > newest_ms for event in known.events):
        return "an event is not older than 72 hours"
    return None
