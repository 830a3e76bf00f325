"""mParticle: user batches to the feeds of a Braze input ("HTTP API" of mParticle)."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from schemas.catalogue import canonical_event_type, event_types
from schemas.connector import NAME_PATTERN, Connector, secret_references
from schemas.event import EventHeader
from schemas.secret import SecretRef, Secrets
from sinks.address import base_url
from sinks.authorization import basic
from sinks.fields import NULL, Fields, Unencodable, User, Values, is_text, take_apart, take_text
from sinks.packing import Envelope
from sinks.sink import Filtered, HttpRequest, Limits, Packed, Sink, Unpackable
from sinks.user_batches import (
    EncodedEvent,
    UserBatch,
    fill_requests,
    group_by_user,
    weigh_alone,
)

_BATCHES = Envelope(prefix=b"[", suffix=b"]")

MAX_BATCH_BYTES = 128_000
MAX_ATTRIBUTES = 100
MAX_VALUE_CHARS = 4_096

_UNBOUND = "unbound"
_FEEDS_OF_PLATFORMS = {"ios": "ios", "android": "android", "web": "web"}

FeedName = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]


class Feed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The credentials of one feed, which decide what platform mParticle sees."""

    key: SecretRef
    secret: SecretRef


class MParticleConnector(Connector, frozen=True, kw_only=True):
    """Settings of an mParticle workspace; events of no app go to the feed `unbound`."""

    kind: Literal["mparticle"] = "mparticle"
    pod: Literal["us1", "us2", "eu1", "au1"] = "us1"
    environment: Literal["production", "development"] = "production"
    identity_key: Literal["customerid", "customer_id"] = "customerid"
    """What mParticle's schema calls `customer_id`, the platform and mParticle's SDK do not."""
    feeds: Annotated[dict[FeedName, Feed], msgspec.Meta(min_length=1)]
    app_feeds: dict[str, str] = msgspec.field(default_factory=dict)
    """Feeds by `app_id`; the events of other apps go by their platform."""
    platform_feeds: dict[str, str] = msgspec.field(default_factory=dict)
    """Feeds by platform; `ios`, `android` and `web` have the feeds of these names."""

    def __post_init__(self) -> None:
        for setting, feeds in (
            ("app_feeds", self.app_feeds),
            ("platform_feeds", self.platform_feeds),
        ):
            for key, feed in feeds.items():
                if feed not in self.feeds:
                    known = ", ".join(self.feeds)
                    raise ValueError(f"{setting}: {key} goes to {feed}, feeds has only {known}")

    def identities(self) -> Sequence[str]:
        return [str(feed.key) for feed in self.feeds.values()]


class MParticleSink(Sink[MParticleConnector]):
    """POSTs an array of user batches to `/v2/bulkevents` with the credentials of the lane's feed.

    Events of one user share a batch where identities, attributes and device are the same, for the
    rate limit counts batches. A batch of one event has the event's id as its `source_request_id`, by
    which mParticle de-duplicates ("JSON reference"). 202 comes if a single batch is good, and nothing
    is heard of the others. Events older than 30 days should not be sent there ("HTTP API").
    """

    kind = "mparticle"
    settings_type = MParticleConnector
    needs_external_user_id = True
    proves_delivery = False
    max_age_days = 30
    limits = Limits(
        max_events=100,
        max_request_bytes=256_000,
        most_request_bytes=256_000,
        batch_window_seconds=10,
        max_event_bytes=MAX_BATCH_BYTES,
        rate_limit=270,
    )
    rate_unit = "user batches"

    def __init__(self, settings: MParticleConnector) -> None:
        super().__init__(settings)
        known = event_types().values()
        names = {found.name: found.name_at("mparticle") for found in known}
        self._names = {event_type: name for event_type, name in names.items() if name}
        self._of_apps = {found.name for found in known if found.feed_at("mparticle") == "platform"}
        self._platform_feeds = {**_FEEDS_OF_PLATFORMS, **settings.platform_feeds}

    def references(self, part: str) -> Sequence[str]:
        """Only the feed's own: what is wrong with one feed must not hold the others."""
        feed = self.settings.feeds.get(part)
        return secret_references([feed, self.settings.endpoint])

    def supports(self, event_type: str) -> bool:
        return event_type in self._names or self.settings.unnamed_events == "raw"

    def place(self, header: EventHeader, event_type: str, hour: str) -> str | Filtered:  # noqa: ARG002
        is_of_an_app = event_type in self._names and event_type in self._of_apps
        feed = self._feed_of_app(header) if is_of_an_app else _UNBOUND
        return feed if feed in self.settings.feeds else Filtered.FEED_NOT_CONFIGURED

    def _feed_of_app(self, header: EventHeader) -> str:
        """An app has one platform, but not every event of an app names it."""
        by_app = self.settings.app_feeds.get(header.app_id or "")
        return by_app or self._platform_feeds.get(header.platform or "", _UNBOUND)

    @property
    def rate_parts(self) -> int:
        return len(self.settings.feeds)

    def rate_units(self, events: Sequence[bytes]) -> int:
        """How many user batches the events make; an event's own size stands for its encoded one."""
        sketches = [sketch for event in events if (sketch := self._sketch(event))]
        return len(group_by_user(sketches, self._most_batch_bytes, self.max_events))

    def _sketch(self, event: bytes) -> EncodedEvent | None:
        """What an event is grouped by; None for one that will not be sent."""
        try:
            fields = take_apart(event)
            user = fields.user or User()
            head = self._take_head(fields.properties or {}, user)
        except Unencodable:
            return None
        return EncodedEvent(event, fields.id, user.external_user_id or "", head, event)

    @property
    def _most_batch_bytes(self) -> int:
        return min(MAX_BATCH_BYTES, self.max_request_bytes - _BATCHES.weigh(0, 1))

    def encode(self, events: Sequence[bytes], part: str, secrets: Secrets) -> Packed:
        most = self._most_batch_bytes
        encoded: list[EncodedEvent] = []
        unpackable: list[Unpackable] = []
        for event in events:
            found = self._encode_event(event, most)
            if isinstance(found, Unpackable):
                unpackable.append(found)
            else:
                encoded.append(found)
        batches = group_by_user(encoded, most, self.max_events)
        url, headers = self._url(secrets), self._headers(part, secrets)
        return Packed(
            [
                _request(run, url, headers)
                for run in fill_requests(batches, self.max_request_bytes, self.max_events)
            ],
            unpackable,
        )

    def probe(self, part: str, secrets: Secrets) -> HttpRequest:
        """Return an array of no batches: 401 and 403 tell that the credentials are refused."""
        headers = self._headers(part, secrets)
        return HttpRequest("POST", self._url(secrets), headers, _BATCHES.wrap([]))

    def _url(self, secrets: Secrets) -> str:
        host = f"https://s2s.{self.settings.pod}.mparticle.com"
        return f"{base_url(self.settings.endpoint, host, secrets)}/v2/bulkevents"

    def _headers(self, part: str, secrets: Secrets) -> Mapping[str, str]:
        headers = {"Content-Type": "application/json"}
        feed = self.settings.feeds.get(part)
        if feed is None:
            # Taken out of the settings since the events were routed: without credentials they are
            # answered 401, and so are held until the feed is back or they expire.
            return headers
        return {**headers, "Authorization": basic(secrets[feed.key], secrets[feed.secret])}

    def _encode_event(self, event: bytes, most: int) -> EncodedEvent | Unpackable:
        try:
            fields = take_apart(event)
            encoded = self._encoded(event, fields, canonical_event_type(fields.event_type))
        except Unencodable as error:
            return Unpackable(event, "unencodable", str(error))
        size = weigh_alone(encoded)
        if size > most:
            return Unpackable(
                event, "too_large", f"{size} bytes as a user batch, at most {most} are taken"
            )
        return encoded

    def _encoded(self, event: bytes, fields: Fields, event_type: str) -> EncodedEvent:
        values = fields.properties or {}
        user = fields.user or User()
        # What identifies user and device is taken out of the values; attributes are what is left.
        head = self._take_head(values, user)
        attributes = _attributes(values, fields, event_type)
        body = _event(fields, event_type, self._name(event_type), attributes)
        return EncodedEvent(event, fields.id, user.external_user_id or "", head, _encode_json(body))

    def _take_head(self, values: Values, user: User) -> bytes:
        """What the batch that an event may be in begins with."""
        identities = self._take_identities(values, user)
        user_attributes = _take_user_attributes(values)
        device_info = _take_device_info(values, user)
        head = _Head(self.settings.environment, identities, user_attributes, device_info)
        return _encode_json(head)[:-1]

    def _take_identities(self, values: Values, user: User) -> dict[str, Raw | str]:
        if not user.external_user_id:
            raise Unencodable("user.external_user_id", "mParticle takes no event without it")
        identities: dict[str, Raw | str] = {self.settings.identity_key: user.external_user_id}
        if email := take_text(values, "email_address"):
            identities["email"] = email
        return identities

    def _name(self, event_type: str) -> str:
        name = self._names.get(event_type)
        if name is not None:
            return name
        if self.settings.unnamed_events == "raw":
            return event_type
        # The settings have changed since the event was routed.
        raise Unencodable("event_type", "mParticle has no name for it")


# A batch, as the mParticle tabs of the platform's "Message engagement events" have it; where they
# contradict mParticle's own schema of its Events API, the schema wins.


class _Data(msgspec.Struct):
    source_message_id: str
    timestamp_unixtime_ms: int
    custom_attributes: dict[str, Raw | str]
    event_name: str | UnsetType = UNSET
    custom_event_type: Literal["other"] | UnsetType = UNSET


class _Event(msgspec.Struct):
    event_type: Literal["custom_event", "uninstall"]
    data: _Data


class _Head(msgspec.Struct):
    """A batch without its events; it has no `schema_version`, which the schema does not know."""

    environment: str
    user_identities: dict[str, Raw | str]
    user_attributes: dict[str, Raw]
    device_info: dict[str, Any]


_encode_json = msgspec.json.Encoder().encode


def _request(run: Sequence[UserBatch], url: str, headers: Mapping[str, str]) -> HttpRequest:
    return HttpRequest(
        "POST",
        url,
        headers,
        _BATCHES.wrap(batch.encode() for batch in run),
        [member.original for batch in run for member in batch.members],
    )


def _event(fields: Fields, event_type: str, name: str, attributes: dict[str, Raw | str]) -> _Event:
    data = _Data(fields.id, fields.time * 1_000, attributes)
    if event_type == "users.behaviors.Uninstall":  # mParticle has a type of its own for it
        return _Event("uninstall", data)
    data.event_name = name
    data.custom_event_type = "other"
    return _Event("custom_event", data)


def _take_user_attributes(values: Values) -> dict[str, Raw]:
    """The user's phone number; `to_phone_number` stays an attribute of SMS events besides."""
    to_phone = values.get("to_phone_number", NULL)
    phone = to_phone if is_text(to_phone) else take_text(values, "user_phone_number")
    return {} if phone is None else {"$mobile": phone}


_PLATFORMS = {
    b'"ios"': "iOS",
    b'"android"': "Android",
    b'"web"': "web",
    b'"tvos"': "tvOS",
    b'"roku"': "roku",
    # Fire tablets and Fire TV, whose system is an Android; not every schema knows `fire_tv`.
    b'"kindle"': "Android",
}
_AD_IDS = {
    b'"ios_idfa"': "ios_advertising_id",
    b'"google_ad_id"': "android_advertising_id",
    b'"windows_ad_id"': "microsoft_advertising_id",
    b'"roku_ad_id"': "roku_advertising_id",
}
_LIMITS_AD_TRACKING = {b"true": False, b"false": True}
"""By `ad_tracking_enabled`, whose sense is the opposite."""

_UUID = re.compile(rb'"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"')


def _take_device_info(values: Values, user: User) -> dict[str, Any]:
    """What is known of the device; what the schema does not take is left among the values."""
    platform = _take_mapped(values, "platform", _PLATFORMS)
    is_apple = platform in {"iOS", "tvOS"}
    ad_id = _take_ad_id(values)
    info = {
        "platform": platform,
        "device_model": take_text(values, "device_model"),
        "limit_ad_tracking": _take_mapped(values, "ad_tracking_enabled", _LIMITS_AD_TRACKING),
        "ios_idfv": user.device_id if is_apple and _is_uuid(user.device_id) else None,
    }
    return {name: value for name, value in info.items() if value is not None} | ad_id


def _take_ad_id(values: Values) -> dict[str, Raw]:
    if not _is_uuid(values.get("ad_id", NULL)):
        return {}
    name = _take_mapped(values, "ad_id_type", _AD_IDS)
    return {} if name is None else {name: values.pop("ad_id")}


def _take_mapped(values: Values, name: str, mapping: Mapping[bytes, Any]) -> Any:
    """Take a value out and return what it is mapped to; an unknown value stays where it is."""
    found = mapping.get(bytes(values.get(name, NULL)))
    if found is not None:
        del values[name]
    return found


def _is_uuid(value: Raw) -> bool:
    return _UUID.fullmatch(value) is not None


_DROPPED = (
    "os_version",
    "canvas_step_message_variation_id",
    "suspected_bot_click_reason",
    "media_urls",
)
_DROPPED_OF_TYPE = {
    "users.campaigns.Conversion": ("app_id",),
    "users.campaigns.EnrollInControl": ("app_id",),
    "users.canvas.Conversion": ("app_id",),
    "users.canvas.experimentstep.Conversion": ("app_id",),
    "users.messages.inappmessage.Abort": ("card_id",),
}
"""Fields that stand in no tab."""


def _attributes(values: Values, fields: Fields, event_type: str) -> dict[str, Raw | str]:
    """The values that are left, without nulls.

    Raises:
        Unencodable: there are more than an event may have; which to leave out is not ours to say.
    """
    for dropped in _DROPPED + _DROPPED_OF_TYPE.get(event_type, ()):
        values.pop(dropped, None)
    if "content_card_id" in values:
        values["card_id"] = values.pop("content_card_id")
    if fields.user and fields.user.device_id != NULL:
        values["device_id"] = fields.user.device_id
    attributes = {name: _attribute(value) for name, value in values.items() if value != NULL}
    attributes["source_request_id"] = fields.id
    if len(attributes) > MAX_ATTRIBUTES:
        raise Unencodable("properties", f"{len(attributes)} attributes, at most {MAX_ATTRIBUTES}")
    return attributes


def _attribute(value: Raw) -> Raw | str:
    """A scalar in its own spelling; of an array or object, which is no attribute, the JSON text."""
    text = bytes(value)
    if text[0] in b"[{":
        return _shorten(text.decode())
    # A character takes a byte at least, so only long values need a closer look.
    if len(text) <= MAX_VALUE_CHARS or text[0] != ord('"'):
        return value
    return _shorten(msgspec.json.decode(text, type=str))


def _shorten(text: str) -> str:
    """The text within the limit, by the most cautious count: in UTF-16 units.

    What becomes of a longer value is not published. Should its event be refused, nobody would hear
    of it; so the end of the value is given up, and an ellipsis says so.
    """
    units = text.encode("utf-16-le")
    if len(units) <= 2 * MAX_VALUE_CHARS:
        return text
    return units[: 2 * (MAX_VALUE_CHARS - 1)].decode("utf-16-le", "ignore") + "…"
