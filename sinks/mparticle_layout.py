"""A user batch as the mParticle tabs of the platform's "Message engagement events" have it.

Where they contradict mParticle's own schema of its Events API, the schema wins, except for what is a
setting.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from schemas.catalogue import VARIATION, VARIATION_OF_BANNERS
from sinks.fields import NULL, Fields, Unencodable, User, Values, is_text, take_text

MAX_ATTRIBUTES = 100
MAX_VALUE_CHARS = 4_096


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The settings that decide how a batch looks."""

    environment: str
    identity_key: str
    kindle: Literal["Android", "fire_tv"]
    limit_ad_tracking: Literal["inverse", "same", "omit"]
    long_values: Literal["cut", "drop", "keep"]
    attribute_values: Literal["json", "text"]

    def take_head(self, values: Values, user: User, event_type: str) -> bytes:
        """Take user and device out of the values: a batch's JSON up to its events."""
        identities = self._take_identities(values, user)
        user_attributes = _take_user_attributes(values, event_type)
        device_info = self._take_device_info(values, user)
        head = _Head(self.environment, identities, user_attributes, device_info)
        return _encode_json(head)[:-1]

    @functools.cached_property
    def _platforms(self) -> Mapping[bytes, str]:
        return {**_PLATFORMS, b'"kindle"': self.kindle}

    def all_scalar(self, event: bytes) -> bool:
        """Whether the values of an event can be attributes as they are, as those of most events.

        It is no longer than a value may be, and has no list, no null, and no objects but itself, its
        user and its properties: a count tells that sooner than a look at each value.
        """
        return (
            len(event) <= MAX_VALUE_CHARS
            and event.count(b"{") == 3
            and b"[" not in event
            and b"null" not in event
            and self.attribute_values == "json"
        )

    def event(
        self, fields: Fields, values: Values, event_type: str, name: str, all_scalar: bool
    ) -> bytes:
        """The event's JSON; its attributes are the values that are left."""
        attributes = self._attributes(values, fields, event_type, all_scalar)
        data = _Data(fields.id, fields.time * 1_000, attributes)
        if event_type == "users.behaviors.Uninstall":  # mParticle has a type of its own for it
            return _encode_json(_Event("uninstall", data))
        data.event_name = name
        data.custom_event_type = "other"
        return _encode_json(_Event("custom_event", data))

    def _take_identities(self, values: Values, user: User) -> dict[str, Raw | str]:
        if not user.external_user_id:
            raise Unencodable("user.external_user_id", "mParticle takes no event without it")
        identities: dict[str, Raw | str] = {self.identity_key: user.external_user_id}
        if email := take_text(values, "email_address"):
            identities["email"] = email
        return identities

    def _take_device_info(self, values: Values, user: User) -> dict[str, Any]:
        """What is known of the device; what the schema does not take is left among the values."""
        platform = _take_mapped(values, "platform", self._platforms)
        is_apple = platform in {"iOS", "tvOS"}
        ad_id = _take_ad_id(values)
        limits = _take_mapped(values, "ad_tracking_enabled", _LIMITS_AD_TRACKING)
        if limits is not None and self.limit_ad_tracking != "inverse":
            limits = None if self.limit_ad_tracking == "omit" else not limits
        info = {
            "platform": platform,
            "device_model": take_text(values, "device_model"),
            "limit_ad_tracking": limits,
            "ios_idfv": user.device_id if is_apple and _is_uuid(user.device_id) else None,
        }
        return {name: value for name, value in info.items() if value is not None} | ad_id

    def _attributes(
        self, values: Values, fields: Fields, event_type: str, all_scalar: bool
    ) -> dict[str, Raw | str]:
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
        attributes = cast("dict[str, Raw | str]", values)
        if not all_scalar:
            attributes = {
                name: attribute
                for name, value in values.items()
                if (attribute := self._attribute(value)) is not None
            }
        attributes["source_request_id"] = fields.id
        if len(attributes) > MAX_ATTRIBUTES:
            raise Unencodable(
                "properties", f"{len(attributes)} attributes, at most {MAX_ATTRIBUTES}"
            )
        return attributes

    def _attribute(self, value: Raw) -> Raw | str | None:
        """A scalar in its own spelling; of an array or object, which is none, the JSON text."""
        text = bytes(value)
        if text == b"null":
            return None
        if text[0] in b"[{":
            return self._bounded(text.decode())
        # A character takes a byte at least, so only long values need a closer look.
        if len(text) > MAX_VALUE_CHARS and text[0] == ord('"'):
            return self._bounded(msgspec.json.decode(text, type=str))
        if self.attribute_values == "text" and text[0] != ord('"'):
            return text.decode()
        return value

    def _bounded(self, text: str) -> str | None:
        """The text within the limit, by the most cautious count: in UTF-16 units.

        What becomes of a longer value is not published. Should its event be refused, nobody would
        hear of it; so by default the end of the value is given up, and an ellipsis says so.
        """
        units = text.encode("utf-16-le")
        if len(units) <= 2 * MAX_VALUE_CHARS or self.long_values == "keep":
            return text
        if self.long_values == "drop":
            return None
        return units[: 2 * (MAX_VALUE_CHARS - 1)].decode("utf-16-le", "ignore") + "…"


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


def _take_user_attributes(values: Values, event_type: str) -> dict[str, Raw]:
    """The user's phone number.

    `to_phone_number` stays an attribute of SMS events besides: so the platform's page of mParticle
    lists it.
    """
    to_phone = values.get("to_phone_number", NULL)
    if not is_text(to_phone):
        phone = take_text(values, "user_phone_number")
        return {} if phone is None else {"$mobile": phone}
    if not event_type.startswith("users.messages.sms."):
        del values["to_phone_number"]
    return {"$mobile": to_phone}


_PLATFORMS = {
    b'"ios"': "iOS",
    b'"android"': "Android",
    b'"web"': "web",
    b'"tvos"': "tvOS",
    b'"roku"': "roku",
}
_OF_MICROSOFT = "microsoft_advertising_id"
_AD_IDS = {
    b'"ios_idfa"': "ios_advertising_id",
    b'"google_ad_id"': "android_advertising_id",
    b'"windows_ad_id"': _OF_MICROSOFT,
    b'"roku_ad_id"': "roku_advertising_id",
}
_LIMITS_AD_TRACKING = {b"true": False, b"false": True}
"""By `ad_tracking_enabled`, whose sense is the opposite."""

_UUID = re.compile(rb'"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"')


def _take_ad_id(values: Values) -> dict[str, Raw]:
    """Under the name of its type; all but Microsoft's have to be UUIDs there."""
    ad_id = values.get("ad_id")
    if ad_id is None:
        return {}
    name = _AD_IDS.get(bytes(values.get("ad_id_type", NULL)))
    if name is None or not (_is_uuid(ad_id) or (name == _OF_MICROSOFT and is_text(ad_id))):
        return {}
    del values["ad_id"], values["ad_id_type"]
    return {name: ad_id}


def _take_mapped(values: Values, name: str, mapping: Mapping[bytes, Any]) -> Any:
    """Take a value out and return what it is mapped to; an unknown value stays where it is."""
    value = values.get(name)
    found = None if value is None else mapping.get(bytes(value))
    if found is not None:
        del values[name]
    return found


def _is_uuid(value: Raw) -> bool:
    return _UUID.fullmatch(value) is not None


_DROPPED = (
    "os_version",
    VARIATION,
    VARIATION_OF_BANNERS,
    "suspected_bot_click_reason",
    "media_urls",
)
_DROPPED_OF_TYPE = {
    "users.behaviors.subscriptiongroup.StateChange": ("phone_number",),
    "users.campaigns.Conversion": ("app_id",),
    "users.campaigns.EnrollInControl": ("app_id",),
    "users.canvas.Conversion": ("app_id",),
    "users.canvas.experimentstep.Conversion": ("app_id",),
    "users.messages.inappmessage.Abort": ("card_id",),
}
"""Fields that stand in no tab."""
