"""Segment: the HTTP API's batch call, a `track` call for each event."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from schemas.catalogue import canonical_event_type, event_types
from schemas.connector import Connector
from schemas.secret import SecretRef, Secrets
from sinks.address import base_url
from sinks.authorization import basic
from sinks.fields import Fields, User, Values, is_text, take_apart, take_text
from sinks.items import ItemLimits, pack_items
from sinks.packing import Envelope
from sinks.sink import HttpRequest, Limits, Packed, Sink

_HOSTS = {"us": "https://api.segment.io", "eu": "https://events.eu1.segmentapis.com"}
"""The only two regions (Segment, "Regional Segment")."""

encode = msgspec.json.Encoder().encode

_BATCH = Envelope(b'{"batch":[', b"]}")
_MAX_CALL_BYTES = 32_000
_MAX_MESSAGE_ID_CHARS = 99

_RULE_NAMES = {
    "users.campaigns.Abort": "Campaign Aborted",
    "users.canvas.Abort": "Canvas Aborted",
    "users.messages.newsfeedcard.Abort": "News Feed Card Aborted",
}
"""Supported by the founding document, named nowhere: by the rule of the other names."""

_DROPPED = ("timezone", "os_version", "canvas_step_message_variation_id")
_PHONE_IS_OF_USER = {
    "users.messages.sms.ShortLinkClick",
    "users.messages.whatsapp.Click",
}
_PLATFORM_IS_DEVICE_TYPE = {
    "users.messages.contentcard.Click",
    "users.messages.contentcard.Dismiss",
    "users.messages.contentcard.Impression",
    "users.messages.inappmessage.Abort",
    "users.messages.inappmessage.Click",
    "users.messages.inappmessage.Impression",
    "users.messages.pushnotification.Open",
    "users.messages.pushnotification.IosForeground",
}
_ALSO_DROPPED = {
    "users.behaviors.subscriptiongroup.StateChange": ("phone_number",),
    "users.messages.whatsapp.Click": ("url",),
    "users.messages.banner.Abort": ("platform",),
}
_CONTENT_CARD = "users.messages.contentcard."


class SegmentConnector(Connector, frozen=True, kw_only=True):
    """Settings of a Segment source."""

    kind: Literal["segment"] = "segment"
    write_key: SecretRef
    region: Literal["us", "eu"] = "us"
    event_names: dict[str, str] = msgspec.field(default_factory=dict)
    """Names to send instead of the published ones, by event type."""

    def identity(self) -> str:
        return str(self.write_key)


class SegmentSink(Sink[SegmentConnector]):
    """POSTs `{"batch":[…]}` to /v1/batch with the write key as Basic user (Segment, "HTTP API").

    The layout of a call is the one of the platform's event glossary, Segment tab. 200 is answered
    to a wrong key, a wrong region and a call without a name as well, so it proves nothing.
    """

    kind = "segment"
    settings_type = SegmentConnector
    needs_external_user_id = True
    proves_delivery = False
    limits = Limits(
        max_events=2_500,
        max_request_bytes=500_000,
        most_request_bytes=500_000,
        batch_window_seconds=10,
        max_event_bytes=_MAX_CALL_BYTES,
    )

    def __init__(self, settings: SegmentConnector) -> None:
        super().__init__(settings)
        self._names = {
            name: known.segment_name or _RULE_NAMES[name]
            for name, known in event_types().items()
            if known.segment_name or name in _RULE_NAMES
        }
        self._names |= {
            canonical_event_type(spelling): name for spelling, name in settings.event_names.items()
        }

    def supports(self, event_type: str) -> bool:
        return event_type in self._names or self.settings.unnamed_events == "raw"

    def pack(self, events: Sequence[bytes], part: str, secrets: Secrets) -> Packed:  # noqa: ARG002
        return pack_items(
            events,
            self._encode,
            _BATCH,
            ItemLimits(_MAX_CALL_BYTES, self.max_request_bytes, self.max_events),
            self._url(secrets),
            self._headers(secrets),
        )

    def probe(self, part: str, secrets: Secrets) -> HttpRequest:  # noqa: ARG002
        """A batch of nothing; answered 200 whatever the key is worth."""
        return HttpRequest("POST", self._url(secrets), self._headers(secrets), _BATCH.wrap([]))

    def _url(self, secrets: Secrets) -> str:
        return base_url(self.settings.endpoint, _HOSTS[self.settings.region], secrets) + "/v1/batch"

    def _headers(self, secrets: Secrets) -> Mapping[str, str]:
        return {
            "Content-Type": "application/json",
            "Authorization": basic(secrets[self.settings.write_key], ""),
        }

    def _encode(self, event: bytes) -> bytes:
        return encode(self._call(take_apart(event)))

    def _call(self, event: Fields) -> dict[str, Any]:
        event_type = canonical_event_type(event.event_type)
        properties = _properties(event, event_type)
        context = {
            "device": _device(properties, event_type),
            "traits": _traits(properties, event_type),
        }
        user = event.user or User()
        return {
            "type": "track",
            "event": self._names.get(event_type, event.event_type),
            "messageId": _message_id(event.id),
            "timestamp": _iso_8601(event.time),
            "userId": user.external_user_id,
            **({"anonymousId": user.user_id} if is_text(user.user_id) else {}),
            "context": context,
            "properties": properties,
        }


def _properties(event: Fields, event_type: str) -> Values:
    properties = event.values()
    for name in (*_DROPPED, *_ALSO_DROPPED.get(event_type, ())):
        properties.pop(name, None)
    if event.user and is_text(event.user.device_id):
        properties["device_id"] = event.user.device_id
    if event_type.startswith(_CONTENT_CARD) and "content_card_id" in properties:
        properties["card_id"] = properties.pop("content_card_id")
    return properties


def _traits(properties: Values, event_type: str) -> Values:
    phone = "user_phone_number" if event_type in _PHONE_IS_OF_USER else "to_phone_number"
    return _moved(properties, {"email_address": "email", phone: "phone"})


def _device(properties: Values, event_type: str) -> Values:
    moved = {"device_model": "model"}
    if event_type in _PLATFORM_IS_DEVICE_TYPE:
        moved["platform"] = "type"
    return _moved(properties, moved)


def _moved(properties: Values, names: Mapping[str, str]) -> Values:
    """Take the texts `names` out of `properties`, under the names they get."""
    return {
        target: value
        for name, target in names.items()
        if (value := take_text(properties, name)) is not None
    }


def _message_id(event_id: str) -> str:
    """The event's id; Segment takes fewer than 100 characters, of a longer one the SHA-256."""
    if len(event_id) <= _MAX_MESSAGE_ID_CHARS:
        return event_id
    return hashlib.sha256(event_id.encode()).hexdigest()


def _iso_8601(seconds: int) -> str:
    moment = time.gmtime(seconds)
    return f"{moment.tm_year:04d}-" + time.strftime("%m-%dT%H:%M:%SZ", moment)
