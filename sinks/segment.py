"""Segment: track calls in batches to the HTTP API ("HTTP API source" of Segment)."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from schemas.catalogue import (
    VARIATION,
    VARIATION_OF_BANNERS,
    canonical_event_type,
    event_types,
)
from schemas.connector import Connector
from schemas.event import is_set
from schemas.secret import SecretRef, Secrets
from sinks.address import base_url
from sinks.authorization import basic
from sinks.fields import (
    NOBODY,
    REDACTED,
    Fields,
    Unencodable,
    Values,
    is_text,
    rearrange,
    take_apart,
    take_text,
)
from sinks.items import ItemLimits, pack_items
from sinks.packing import Envelope
from sinks.sink import HttpRequest, Limits, Packed, Sink

_HOSTS = {"us": "https://api.segment.io", "eu": "https://events.eu1.segmentapis.com"}
_BATCH = Envelope(prefix=b'{"batch":[', suffix=b"]}")

MAX_ITEM_BYTES = 32_000
MAX_MESSAGE_ID_CHARS = 99
_MAX_TYPES = 4_096
"""Event types come from messages: the memory for them is bounded."""


class SegmentConnector(Connector, frozen=True, kw_only=True):
    """Settings of a Segment source, whose workspace lies in the region."""

    kind: Literal["segment"] = "segment"
    write_key: SecretRef
    """Of the workspace's source; sent as the user of HTTP Basic, so that it is in no body."""
    region: Literal["us", "eu"] = "us"
    """Where the workspace lies. Events for the wrong one are answered 200 and dropped."""
    event_names: dict[str, Annotated[str, msgspec.Meta(min_length=1)]] = msgspec.field(
        default_factory=dict
    )
    """Names by event type, in place of the published ones or where there are none."""
    anonymous_users: bool = False
    """Whether users without an `external_user_id` go out too (Braze: "Include events from anonymous
    users"); the founding document exports none of them."""
    email_link: Literal["url", "link_url"] = "url"
    """What an e-mail click calls its link: `link_url` on Segment's page of 2023, `url` by the rule
    that properties keep their names."""

    def identities(self) -> Sequence[str]:
        return [self.write_key]


class SegmentSink(Sink[SegmentConnector]):
    """POSTs `{"batch":[…]}` with the write key as user and an empty password.

    200 comes whatever happens, to a wrong key, a wrong region or a missing name too; 400 says too
    large or malformed (Segment, "HTTP API source", "Errors"). More than 2,500 items are answered
    200 and dropped.
    """

    kind = "segment"
    settings_type = SegmentConnector
    needs_external_user_id = True
    tells_users_by = frozenset({"external_user_id"})
    proves_delivery = False
    limits = Limits(
        max_events=2_500,
        max_request_bytes=500_000,
        most_request_bytes=500_000,
        batch_window_seconds=10,
        max_event_bytes=MAX_ITEM_BYTES,
        rate_limit=1_000,
    )

    def __init__(self, settings: SegmentConnector) -> None:
        super().__init__(settings)
        self._names = _names(settings)
        self._layout_of = functools.lru_cache(maxsize=_MAX_TYPES)(self._type_layout)

    @property
    def leaves_out_anonymous(self) -> bool:
        return not self.settings.anonymous_users

    def supports(self, event_type: str) -> bool:
        return event_type in self._names or self.settings.unnamed_events == "raw"

    def encode(self, events: Sequence[bytes], part: str, secrets: Secrets) -> Packed:  # noqa: ARG002
        return pack_items(
            events,
            self._track,
            _BATCH,
            ItemLimits(MAX_ITEM_BYTES, self.max_request_bytes, self.max_events),
            self._url(secrets),
            self._headers(secrets),
        )

    def probe(self, part: str, secrets: Secrets) -> HttpRequest:  # noqa: ARG002
        """Return a batch of no items, which tests the way there: no answer tells of the key."""
        return HttpRequest("POST", self._url(secrets), self._headers(secrets), _BATCH.wrap([]))

    def _url(self, secrets: Secrets) -> str:
        host = _HOSTS[self.settings.region]
        return f"{base_url(self.settings.endpoint, host, secrets)}/v1/batch"

    def _headers(self, secrets: Secrets) -> Mapping[str, str]:
        key = secrets[self.settings.write_key]
        return {"Content-Type": "application/json", "Authorization": basic(key, "")}

    def _track(self, event: bytes) -> "_Track":
        fields = take_apart(event)
        return _track_of(fields, self._layout_of(fields.event_type))

    def _type_layout(self, spelling: str) -> "_TypeLayout":
        event_type = canonical_event_type(spelling)
        name = self._names.get(event_type)
        if name is None and self.settings.unnamed_events == "raw":
            name = event_type
        if name is None:  # the settings have changed since the event was routed
            raise Unencodable("event_type", "Segment has no name for it")
        is_email_click = event_type == "users.messages.email.Click"
        return _TypeLayout(
            name,
            _DROPPED + _DROPPED_OF_TYPE.get(event_type, ()),
            event_type in _PLATFORM_IS_DEVICE_TYPE,
            event_type in _PHONE_IS_THE_USERS,
            self.settings.email_link if is_email_click else "url",
        )


def _names(settings: SegmentConnector) -> Mapping[str, str]:
    # The three types of the founding documents whose names are published nowhere are in it, by rule.
    published = {known.name: known.name_at("segment") for known in event_types().values()}
    configured = {canonical_event_type(key): name for key, name in settings.event_names.items()}
    names = {**published, **configured}
    return {event_type: name for event_type, name in names.items() if name is not None}


# A track call, as the Segment tabs of the platform's "Message engagement events" have it.


class _TypeLayout(NamedTuple):
    """What the type of an event decides."""

    name: str
    dropped: tuple[str, ...]
    """Fields that stand in no tab."""
    platform_is_device_type: bool
    phone_is_the_users: bool
    link: str
    """What the field `url` is called."""


_PLATFORM_IS_DEVICE_TYPE = frozenset(
    {
        "users.messages.contentcard.Click",
        "users.messages.contentcard.Dismiss",
        "users.messages.contentcard.Impression",
        "users.messages.inappmessage.Abort",
        "users.messages.inappmessage.Click",
        "users.messages.inappmessage.Impression",
        "users.messages.pushnotification.IosForeground",
        "users.messages.pushnotification.Open",
    }
)
"""Of other types `platform` stays a property."""

_PHONE_IS_THE_USERS = frozenset(
    {"users.messages.sms.ShortLinkClick", "users.messages.whatsapp.Click"}
)
"""Of other types `user_phone_number` stays a property."""

_DROPPED = ("os_version", VARIATION, VARIATION_OF_BANNERS)
_DROPPED_OF_TYPE = {
    "users.behaviors.subscriptiongroup.StateChange": ("phone_number",),
    "users.messages.banner.Abort": ("platform",),
    "users.messages.whatsapp.Click": ("url",),
}
_OF_CONTEXT = frozenset(
    {"device_model", "platform", "email_address", "to_phone_number", "user_phone_number"}
)
_EMPTY: Mapping[str, Mapping[str, str]] = {"device": {}, "traits": {}}
"""The context of an event that says nothing of device and traits; both are always there."""


class _Track(msgspec.Struct, tag_field="type", tag="track", rename="camel", gc=False):
    """One item; it has no `sentAt`, by which Segment would shift the time of late events."""

    event: str
    message_id: str
    timestamp: str
    context: Mapping[str, Mapping[str, str]]
    properties: Values
    user_id: str | UnsetType
    anonymous_id: str | UnsetType


def _track_of(fields: Fields, of_type: _TypeLayout) -> _Track:
    values = fields.properties or {}
    user = fields.user or NOBODY
    user_id = user.external_user_id if is_set(user.external_user_id) else UNSET
    anonymous_id = user.user_id if is_text(user.user_id) else UNSET
    if anonymous_id is UNSET and user.user_id not in _NO_IDS:
        raise Unencodable("user.user_id", "no text, which Segment's anonymousId is")
    if anonymous_id is UNSET and user_id is UNSET:
        raise Unencodable(
            "user", "neither external_user_id nor user_id, of which Segment needs one"
        )
    context = _EMPTY if values.keys().isdisjoint(_OF_CONTEXT) else _take_context(values, of_type)
    rearrange(values, user, of_type.dropped)
    if of_type.link != "url" and "url" in values:
        values[of_type.link] = values.pop("url")
    return _Track(
        of_type.name,
        _message_id(fields.id),
        _timestamp(fields.time),
        context,
        values,
        user_id,
        anonymous_id,
    )


_NO_IDS = (None, "", REDACTED)


@functools.lru_cache(maxsize=4_096)
def _timestamp(seconds: int) -> str:
    """ISO 8601, in UTC; many events share a second."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _take_context(values: Values, of_type: _TypeLayout) -> Mapping[str, Mapping[str, str]]:
    device: dict[str, str] = {}
    if model := take_text(values, "device_model"):
        device["model"] = model
    if of_type.platform_is_device_type and (platform := take_text(values, "platform")):
        device["type"] = platform
    traits: dict[str, str] = {}
    if email := take_text(values, "email_address"):
        traits["email"] = email
    phone = take_text(values, "to_phone_number")
    if phone is None and of_type.phone_is_the_users:
        phone = take_text(values, "user_phone_number")
    if phone:
        traits["phone"] = phone
    return {"device": device, "traits": traits}


def _message_id(event_id: str) -> str:
    """The event's id, by which Segment de-duplicates; of one that is too long, the SHA-256."""
    if len(event_id) <= MAX_MESSAGE_ID_CHARS:
        return event_id
    return hashlib.sha256(event_id.encode()).hexdigest()
