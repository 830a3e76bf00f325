"""mParticle: bulk calls of user batches, one feed (key and secret) for each platform."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from schemas.catalogue import canonical_event_type, event_types
from schemas.connector import Connector
from schemas.event import EventHeader
from schemas.secret import SecretRef, Secrets
from sinks.address import base_url
from sinks.authorization import basic
from sinks.fields import Fields, Unencodable, Values, is_text, take_apart
from sinks.packing import Envelope
from sinks.sink import Filtered, HttpRequest, Limits, Packed, Sink, Unpackable

_HOSTS = {
    "us1": "https://s2s.us1.mparticle.com",
    "us2": "https://s2s.us2.mparticle.com",
    "eu1": "https://s2s.eu1.mparticle.com",
    "au1": "https://s2s.au1.mparticle.com",
}
_MAX_USER_BATCH_BYTES = 128_000
_MAX_ATTRIBUTES = 100
_MAX_VALUE_CHARS = 4_096
_MAX_NAME_CHARS = 256
_UNBOUND = "unbound"
_UNINSTALL = "users.behaviors.Uninstall"

_RULE_NAMES = {
    "users.campaigns.Abort": "Campaign Aborts",
    "users.canvas.Abort": "Canvas Aborts",
    "users.messages.newsfeedcard.Abort": "News Feed Card Aborts",
}
"""Published nowhere: by the rule of the other names; offered only with `unnamed_events: raw`."""

_PLATFORMS = {
    "ios": "iOS",
    "android": "Android",
    "web": "web",
    "tvos": "tvOS",
    "roku": "roku",
    "kindle": "Android",
}
"""mParticle's spelling; it has none for Kindle in both of its published schemas."""
_APPLE = ("ios", "tvos")
_ADVERTISING_IDS = {
    "ios_idfa": "ios_advertising_id",
    "google_ad_id": "android_advertising_id",
    "windows_ad_id": "microsoft_advertising_id",
    "roku_ad_id": "roku_advertising_id",
}
_NO_ATTRIBUTES = frozenset(
    (
        "timezone",
        "os_version",
        "platform",
        "device_model",
        "ad_id",
        "ad_id_type",
        "ad_tracking_enabled",
        "email_address",
        "to_phone_number",
        "user_phone_number",
        "canvas_step_message_variation_id",
    )
)
_WITHOUT_APP_ID = {
    "users.campaigns.Conversion",
    "users.campaigns.EnrollInControl",
    "users.canvas.Conversion",
    "users.canvas.experimentstep.Conversion",
}
encode = msgspec.json.Encoder().encode
_UUID = re.compile(rb'"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"')
_PHONES = ("to_phone_number", "user_phone_number")
_BULK = Envelope(b"[", b"]")
_EVENTS_KEY = b'"events":['


class Feed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The credentials of one feed."""

    key: SecretRef
    secret: SecretRef


FeedName = Literal["ios", "android", "web", "unbound"]


class MParticleConnector(Connector, frozen=True, kw_only=True):
    """Settings of mParticle feeds."""

    kind: Literal["mparticle"] = "mparticle"
    feeds: dict[FeedName, Feed]
    app_feeds: dict[str, FeedName] = msgspec.field(default_factory=dict)
    """The feed of an app, by app id; other apps go by the event's platform."""
    platform_feeds: dict[Literal["kindle", "tvos", "roku"], FeedName] = msgspec.field(
        default_factory=dict
    )
    """The feed of a platform that has none of its own; without one it is unbound."""
    pod: Literal["us1", "us2", "eu1", "au1"] = "us1"
    environment: Literal["production", "development"] = "production"
    identity_key: Literal["customerid", "customer_id"] = "customerid"

    def __post_init__(self) -> None:
        if not self.feeds:
            raise ValueError("feeds is empty; allowed: ios, android, web, unbound")
        named = {*self.app_feeds.values(), *self.platform_feeds.values()}
        missing = sorted(named - self.feeds.keys())
        if missing:
            raise ValueError(
                f"app_feeds or platform_feeds name the feed {missing[0]!r}, "
                f"which is not among the feeds: {', '.join(sorted(self.feeds))}"
            )

    def identity(self) -> str:
        return " ".join(sorted(str(feed.key) for feed in self.feeds.values()))


@dataclass
class _UserBatch:
    """Events of one user in one state of identities, attributes and device."""

    head: bytes
    """The batch as JSON up to its events."""
    parts: list[bytes] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    size: int = 0

    @property
    def weight(self) -> int:
        """The most that the batch can weigh as JSON."""
        return len(self.head) + self.size + _tail_bytes(self.ids[0] if self.ids else "")

    def add(self, event: bytes, event_id: str, part: bytes) -> None:
        self.parts.append(part)
        self.events.append(event)
        self.ids.append(event_id)
        self.size += len(part) + 1

    def encode(self) -> bytes:
        """A batch of one event carries its id, by which mParticle de-duplicates."""
        tail = (
            b'],"source_request_id":' + encode(self.ids[0]) + b"}" if len(self.ids) == 1 else b"]}"
        )
        return self.head + _EVENTS_KEY + b",".join(self.parts) + tail


class MParticleSink(Sink[MParticleConnector]):
    """POSTs user batches to /v2/bulkevents, Basic key and secret of the feed (mParticle, "HTTP API").

    The layout is the one of the platform's event glossary, mParticle tab, without `schema_version`,
    which the published schema does not take. 202 is answered even when single batches fail, so it
    proves nothing about them.
    """

    kind = "mparticle"
    settings_type = MParticleConnector
    needs_external_user_id = True
    proves_delivery = False
    limits = Limits(
        max_events=100,
        max_request_bytes=256_000,
        most_request_bytes=256_000,
        batch_window_seconds=10,
        max_event_bytes=_MAX_USER_BATCH_BYTES,
    )

    def __init__(self, settings: MParticleConnector) -> None:
        super().__init__(settings)
        self._names = {
            name: known.mparticle_name
            for name, known in event_types().items()
            if known.mparticle_name
        }

    def supports(self, event_type: str) -> bool:
        return event_type in self._names or self.settings.unnamed_events == "raw"

    def place(self, header: EventHeader, event_type: str, hour: str) -> str | Filtered:  # noqa: ARG002
        feed = self._feed(header, event_type)
        return feed if feed in self.settings.feeds else Filtered.FEED_NOT_CONFIGURED

    def pack(self, events: Sequence[bytes], part: str, secrets: Secrets) -> Packed:
        batches: dict[bytes, _UserBatch] = {}
        full: list[_UserBatch] = []
        unpackable: list[Unpackable] = []
        for event in events:
            refusal = self._add(event, batches, full)
            if refusal is not None:
                unpackable.append(refusal)
        return Packed(
            [
                self._request(group, part, secrets)
                for group in self._groups([*full, *batches.values()])
            ],
            unpackable,
        )

    def probe(self, part: str, secrets: Secrets) -> HttpRequest:
        """No batches at all: a wrong key is answered 403 before they are looked at."""
        return self._request([], part or next(iter(self.settings.feeds)), secrets)

    def _feed(self, header: EventHeader, event_type: str) -> str:
        known = event_types().get(event_type)
        if known is None or known.mparticle_feed != "platform":
            return _UNBOUND
        by_app = self.settings.app_feeds.get(header.app_id or "")
        if by_app is not None:
            return by_app
        platform = header.platform or ""
        if platform in ("ios", "android", "web"):
            return platform
        return {str(key): feed for key, feed in self.settings.platform_feeds.items()}.get(
            platform, _UNBOUND
        )

    def _add(
        self, event: bytes, batches: dict[bytes, _UserBatch], full: list[_UserBatch]
    ) -> Unpackable | None:
        try:
            taken = take_apart(event)
            head, part = self._head(taken), encode(self._event(taken))
        except Unencodable as error:
            return Unpackable(event, "unencodable", str(error))
        most = min(_MAX_USER_BATCH_BYTES, self.max_request_bytes - 2)
        alone = len(head) + len(part) + 1 + _tail_bytes(taken.id)
        if alone > most:
            return Unpackable(
                event, "too_large", f"{alone} bytes as a user batch, {most} are taken"
            )
        batch = batches.get(head)
        if batch is not None and (
            batch.weight + len(part) + 1 > most or len(batch.parts) >= self.max_events
        ):
            full.append(batches.pop(head))
            batch = None
        if batch is None:
            batch = batches[head] = _UserBatch(head)
        batch.add(event, taken.id, part)
        return None

    def _groups(self, batches: Sequence[_UserBatch]) -> Iterator[list[_UserBatch]]:
        """Batches that make a request each: at most 100 events, batches among them, and 256 KB."""
        group: list[_UserBatch] = []
        size, count = 2, 0
        for batch in batches:
            too_long = size + batch.weight + 1 > self.max_request_bytes
            if group and (too_long or count + len(batch.parts) > self.max_events):
                yield group
                group, size, count = [], 2, 0
            group.append(batch)
            size += batch.weight + 1
            count += len(batch.parts)
        if group:
            yield group

    def _request(self, batches: Sequence[_UserBatch], feed: str, secrets: Secrets) -> HttpRequest:
        keys = self.settings.feeds[feed]  # type: ignore[index]
        authorization = basic(secrets[keys.key], secrets[keys.secret])
        host = base_url(self.settings.endpoint, _HOSTS[self.settings.pod], secrets)
        return HttpRequest(
            "POST",
            f"{host}/v2/bulkevents",
            {"Content-Type": "application/json", "Authorization": authorization},
            _BULK.wrap(batch.encode() for batch in batches),
            [event for batch in batches for event in batch.events],
        )

    def _head(self, event: Fields) -> bytes:
        values = event.values()
        identities: dict[str, Any] = {
            self.settings.identity_key: event.user and event.user.external_user_id
        }
        if is_text(values.get("email_address")):
            identities["email"] = values["email_address"]
        phone = next((values[name] for name in _PHONES if is_text(values.get(name))), None)
        head = {
            "environment": self.settings.environment,
            "device_info": _device_info(event, values),
            "user_attributes": {} if phone is None else {"$mobile": phone},
            "user_identities": identities,
        }
        return encode(head)[:-1] + b","

    def _event(self, event: Fields) -> dict[str, Any]:
        event_type = canonical_event_type(event.event_type)
        data: dict[str, Any] = {}
        if event_type != _UNINSTALL:
            name = self._names.get(event_type) or _RULE_NAMES.get(event_type) or event.event_type
            data = {"event_name": name[:_MAX_NAME_CHARS], "custom_event_type": "other"}
        data |= {
            "source_message_id": event.id,
            "timestamp_unixtime_ms": event.time * 1_000,
            "custom_attributes": _attributes(event, event_type),
        }
        kind = "uninstall" if event_type == _UNINSTALL else "custom_event"
        return {"event_type": kind, "data": data}


def _tail_bytes(event_id: str) -> int:
    return len(_EVENTS_KEY) + len(b'],"source_request_id":}') + len(encode(event_id))


def _text(values: Values, name: str) -> str:
    """The text of a value; empty where it is none."""
    value = values.get(name)
    return msgspec.json.decode(value, type=str) if value is not None and is_text(value) else ""


def _device_info(event: Fields, values: Values) -> dict[str, Any]:
    platform = _text(values, "platform")
    info: dict[str, Any] = {}
    if platform in _PLATFORMS:
        info["platform"] = _PLATFORMS[platform]
    if is_text(values.get("device_model")):
        info["device_model"] = values["device_model"]
    device_id = event.user.device_id if event.user else b""
    if platform in _APPLE and _UUID.fullmatch(bytes(device_id)):
        info["ios_idfv"] = device_id
    return info | _advertising(values)


def _advertising(values: Values) -> dict[str, Any]:
    info: dict[str, Any] = {}
    enabled = values.get("ad_tracking_enabled")
    if enabled is not None and bytes(enabled) in (b"true", b"false"):
        # The names have opposite senses.
        info["limit_ad_tracking"] = bytes(enabled) == b"false"
    name = _ADVERTISING_IDS.get(_text(values, "ad_id_type"))
    ad_id = values.get("ad_id")
    is_id = ad_id is not None and _UUID.fullmatch(bytes(ad_id))
    if name and (is_id or (name == "microsoft_advertising_id" and is_text(ad_id))):
        info[name] = ad_id
    return info


def _attributes(event: Fields, event_type: str) -> dict[str, Any]:
    """All scalar properties that have no other place; arrays and objects have none at mParticle."""
    attributes: dict[str, Any] = {
        name: value
        for name, value in event.values().items()
        if name not in _NO_ATTRIBUTES and not bytes(value).startswith((b"[", b"{"))
    }
    if event_type in _WITHOUT_APP_ID:
        attributes.pop("app_id", None)
    card = attributes.pop("content_card_id", None)
    if card is not None and event_type != "users.messages.inappmessage.Abort":
        attributes["card_id"] = card
    if event.user and is_text(event.user.device_id):
        attributes["device_id"] = event.user.device_id
    _check_attributes(attributes)
    return {**attributes, "source_request_id": event.id}


def _check_attributes(attributes: Mapping[str, msgspec.Raw]) -> None:
    """Refuse what mParticle would drop or cut in silence (mParticle, "Default service limits")."""
    if len(attributes) >= _MAX_ATTRIBUTES:
        raise Unencodable(
            "properties", f"{len(attributes)} attributes, an event takes {_MAX_ATTRIBUTES - 1}"
        )
    for name, value in attributes.items():
        if not 0 < len(name) <= _MAX_NAME_CHARS:
            raise Unencodable("properties", f"a name is of 1 to {_MAX_NAME_CHARS} characters")
        if len(value) > _MAX_VALUE_CHARS and not _is_short_text(value):
            raise Unencodable(name, f"a value takes {_MAX_VALUE_CHARS} characters")


def _is_short_text(value: msgspec.Raw) -> bool:
    return is_text(value) and len(msgspec.json.decode(value, type=str)) <= _MAX_VALUE_CHARS
