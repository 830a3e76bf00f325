"""A user batch as the mParticle tabs of the platform's "Message engagement events" have it.

Where they contradict mParticle's own schema of its Events API, the schema wins, except for what is a
setting.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from schemas.catalogue import VARIATION, VARIATION_OF_BANNERS
from sinks.fields import (
    NOBODY,
    Fields,
    Unencodable,
    User,
    Values,
    encode_json,
    is_nested,
    is_text,
    rearrange,
    take_text,
)

MAX_ATTRIBUTES = 100
MAX_VALUE_CHARS = 4_096


@dataclass(frozen=True, slots=True)
class TypeLayout:
    """What the type of an event decides."""

    name: str
    dropped: tuple[str, ...]
    """Fields that stand in no tab."""
    keeps_phone: bool
    """Whether the number that a message went to stays an attribute of the event besides."""
    is_uninstall: bool
    """mParticle has a type of its own for it."""


def type_layout(event_type: str, name: str) -> TypeLayout:
    """The layout of a (canonical) event type that mParticle knows by this name."""
    return TypeLayout(
        name,
        _DROPPED + _DROPPED_OF_TYPE.get(event_type, ()),
        event_type.startswith("users.messages.sms."),
        event_type == "users.behaviors.Uninstall",
    )


class _Data(msgspec.Struct, gc=False):
    source_message_id: str
    timestamp_unixtime_ms: int
    custom_attributes: Values
    event_name: str | UnsetType = UNSET
    custom_event_type: str | UnsetType = UNSET


class _Event(msgspec.Struct, gc=False):
    event_type: str
    data: _Data


class BatchOfOne(msgspec.Struct, gc=False):
    """A batch of one event.

    There is no `schema_version`, which mParticle's schema does not know.
    """

    environment: str
    user_identities: Mapping[str, str]
    user_attributes: Mapping[str, str]
    device_info: Mapping[str, Any]
    events: tuple[_Event]
    source_request_id: str


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The settings that decide how a batch looks."""

    environment: str
    identity_key: str
    kindle: Literal["Android", "fire_tv"]
    limit_ad_tracking: Literal["inverse", "same", "omit"]
    long_values: Literal["cut", "drop", "keep"]
    attribute_values: Literal["json", "text"]

    def user_batch(self, fields: Fields, of_type: TypeLayout, size: int) -> BatchOfOne:
        """What an event becomes; `size` is that of the event as it came, in bytes.

        What identifies user and device is taken out of the values; attributes are what is left.
        """
        values, user = fields.properties or {}, fields.user or NOBODY
        if not user.external_user_id:
            raise Unencodable("user.external_user_id", "mParticle takes no event without it")
        identities = {self.identity_key: user.external_user_id}
        if email := take_text(values, "email_address"):
            identities["email"] = email
        lacks = values.keys().isdisjoint
        attributes = _NONE if lacks(_OF_PHONE) else _phone(values, of_type.keeps_phone)
        device = _NONE if lacks(_OF_DEVICE) else self._device(values, user)
        event = self._event(fields, values, of_type, size)
        return BatchOfOne(self.environment, identities, attributes, device, (event,), fields.id)

    @functools.cached_property
    def _platforms(self) -> Mapping[str, str]:
        return {**_PLATFORMS, "kindle": self.kindle}

    @functools.cached_property
    def _scalars(self) -> frozenset[type]:
        """The types of values that can be attributes as they are."""
        return frozenset({str} if self.attribute_values == "text" else {str, int, bool, Raw})

    def _event(self, fields: Fields, values: Values, of_type: TypeLayout, size: int) -> _Event:
        rearrange(values, fields.user or NOBODY, of_type.dropped)
        attributes = self._attributes(values, fields.id, size)
        milliseconds = fields.time * 1_000
        if of_type.is_uninstall:
            return _Event("uninstall", _Data(fields.id, milliseconds, attributes))
        data = _Data(fields.id, milliseconds, attributes, of_type.name, "other")
        return _Event("custom_event", data)

    def _device(self, values: Values, user: User) -> Mapping[str, Any]:
        """What is known of the device; what the schema does not take is left among the values."""
        info: dict[str, Any] = {}
        platform = _mapped(values.get("platform"), self._platforms)
        if platform is not None:
            del values["platform"]
            info["platform"] = platform
        if model := take_text(values, "device_model"):
            info["device_model"] = model
        tracks = values.get("ad_tracking_enabled")
        if type(tracks) is bool:
            del values["ad_tracking_enabled"]
            if self.limit_ad_tracking != "omit":  # the sense of the names is the opposite
                info["limit_ad_tracking"] = (
                    tracks if self.limit_ad_tracking == "same" else not tracks
                )
        if platform in _APPLE and _is_uuid(user.device_id):
            info["ios_idfv"] = user.device_id
        if "ad_id" in values:
            info |= _take_ad_id(values)
        return info

    def _attributes(self, values: Values, event_id: str, size: int) -> Values:
        """The values, without nulls, as far as they can be attributes.

        Raises:
            Unencodable: there are more than an event may have; which to leave out is not ours to say.
        """
        may_be_long = size > MAX_VALUE_CHARS  # a character takes a byte at least
        if may_be_long or not self._scalars.issuperset(map(type, values.values())):
            values = self._flatten(values)
        values["source_request_id"] = event_id
        if len(values) > MAX_ATTRIBUTES:
            raise Unencodable("properties", f"{len(values)} attributes, at most {MAX_ATTRIBUTES}")
        return values

    def _flatten(self, values: Values) -> Values:
        """The values with what becomes of lists, objects, nulls and long texts."""
        attributes = {}
        for name, value in values.items():
            attribute = self._attribute(value)
            if attribute is not None:
                attributes[name] = attribute
        return attributes

    def _attribute(self, value: Any) -> Any:
        """A scalar as it is; of an array or object, which is none, the JSON text."""
        if value is None:
            return None
        if type(value) is str:
            return self._bounded(value)
        if is_nested(value):
            return self._bounded(encode_json(value).decode())
        return encode_json(value).decode() if self.attribute_values == "text" else value

    def _bounded(self, text: str) -> str | None:
        """The text within the limit, by the most cautious count: in UTF-16 units.

        What becomes of a longer value is not published. Should its event be refused, nobody would
        hear of it; so by default the end of the value is given up, and an ellipsis says so.
        """
        if 2 * len(text) <= MAX_VALUE_CHARS or self.long_values == "keep":
            return text
        units = text.encode("utf-16-le")
        if len(units) <= 2 * MAX_VALUE_CHARS:
            return text
        if self.long_values == "drop":
            return None
        return units[: 2 * (MAX_VALUE_CHARS - 1)].decode("utf-16-le", "ignore") + "…"


def _phone(values: Values, keeps_phone: bool) -> Mapping[str, str]:
    """The user's phone number, as user attributes.

    `to_phone_number` stays an attribute of SMS events besides: so the platform's page of mParticle
    lists it.
    """
    phone = values.get("to_phone_number")
    if not is_text(phone):
        phone = take_text(values, "user_phone_number")
    elif not keeps_phone:
        del values["to_phone_number"]
    return {} if phone is None else {"$mobile": phone}


_NONE: Mapping[str, str] = {}
_OF_PHONE = frozenset({"to_phone_number", "user_phone_number"})
_OF_DEVICE = frozenset({"platform", "device_model", "ad_tracking_enabled", "ad_id"})
_PLATFORMS = {"ios": "iOS", "android": "Android", "web": "web", "tvos": "tvOS", "roku": "roku"}
_APPLE = frozenset({"iOS", "tvOS"})
_OF_MICROSOFT = "microsoft_advertising_id"
_AD_IDS = {
    "ios_idfa": "ios_advertising_id",
    "google_ad_id": "android_advertising_id",
    "windows_ad_id": _OF_MICROSOFT,
    "roku_ad_id": "roku_advertising_id",
}
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _take_ad_id(values: Values) -> dict[str, str]:
    """Under the name of its type; all but Microsoft's have to be UUIDs there."""
    ad_id = values["ad_id"]
    name = _mapped(values.get("ad_id_type"), _AD_IDS)
    if name is None or not (_is_uuid(ad_id) or (name == _OF_MICROSOFT and is_text(ad_id))):
        return {}
    del values["ad_id"], values["ad_id_type"]
    return {name: ad_id}


def _mapped(value: Any, mapping: Mapping[str, str]) -> str | None:
    return mapping.get(value) if type(value) is str else None


def _is_uuid(value: Any) -> bool:
    return type(value) is str and _UUID.fullmatch(value) is not None


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
