"""What the bars send: events in the shapes of Segment and mParticle, made of plain dicts.

Written by hand and tuned for speed: it makes of sample events the same JSON values as the sinks do
(tests/benchmarks compares them), and knows nothing of settings, limits or damaged input.
"""

import functools
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from schemas.catalogue import event_types

MAX_VALUE_CHARS = 4_096


class Plan(NamedTuple):
    """What the type of an event decides; a name is None where the partner does not get the type."""

    track_name: str | None
    event_name: str | None
    is_uninstall: bool
    is_unbound: bool
    platform_is_device: bool
    phone_is_users: bool
    is_sms: bool
    has_card: bool
    has_phone: bool
    has_device: bool
    track_drops: tuple[str, ...]
    event_drops: tuple[str, ...]
    nested: tuple[str, ...]
    """The properties that are no scalars, which mParticle takes as text."""
    may_be_long: bool


@functools.cache
def plan_of(event_type: str) -> Plan:
    """The plan of a type of the catalogue."""
    known = event_types()[event_type]
    has_user = "external_user_id" in known.user_fields
    has_event = has_user and known.is_exported_to("mparticle")
    has = known.http_properties.keys()
    track_drops = _TRACK_DROPS | _TRACK_DROPS_OF_TYPE.get(event_type, set())
    event_drops = _EVENT_DROPS | _EVENT_DROPS_OF_TYPE.get(event_type, set())
    return Plan(
        known.name_at("segment") if has_user else None,
        known.name_at("mparticle") if has_event else None,
        event_type == "users.behaviors.Uninstall",
        known.feed_at("mparticle") == "unbound",
        event_type in _PLATFORM_IS_DEVICE,
        event_type in _PHONE_IS_USERS,
        event_type.startswith("users.messages.sms."),
        "content_card_id" in has,
        not has.isdisjoint(("to_phone_number", "user_phone_number")),
        not has.isdisjoint(("platform", "device_model", "ad_tracking_enabled", "ad_id")),
        tuple(has & track_drops),
        tuple(has & event_drops),
        tuple(
            name
            for name, kind in known.http_properties.items()
            if kind in ("array", "object") and name not in event_drops
        ),
        not has.isdisjoint(_CAN_BE_LONG),
    )


def track_of(
    plan: Plan, event_id: str, seconds: int, user: Mapping[str, Any], properties: Mapping[str, Any]
) -> dict[str, Any]:
    """A Segment track call."""
    values = {**properties}
    take = values.pop
    for name in plan.track_drops:
        take(name, None)
    device = _take_device(plan, values) if plan.has_device else {}
    traits: dict[str, Any] = {}
    if email := take("email_address", None):
        traits["email"] = email
    if plan.has_phone and (phone := _take_phone(plan, values)):
        traits["phone"] = phone
    if plan.has_card:
        _rename_card(values)
    if device_id := user.get("device_id"):
        values["device_id"] = device_id
    track = {
        "type": "track",
        "event": plan.track_name,
        "messageId": event_id,
        "timestamp": timestamp_of(seconds),
        "context": {"device": device, "traits": traits},
        "properties": values,
        "userId": user["external_user_id"],
    }
    if anonymous_id := user.get("user_id"):
        track["anonymousId"] = anonymous_id
    return track


def _take_device(plan: Plan, values: dict[str, Any]) -> dict[str, Any]:
    device: dict[str, Any] = {}
    if model := values.pop("device_model", None):
        device["model"] = model
    if plan.platform_is_device and (platform := values.pop("platform", None)):
        device["type"] = platform
    return device


def _take_phone(plan: Plan, values: dict[str, Any]) -> Any:
    phone = values.pop("to_phone_number", None)
    if not phone and plan.phone_is_users:
        phone = values.pop("user_phone_number", None)
    return phone


def _rename_card(values: dict[str, Any]) -> None:
    if "content_card_id" in values:
        values["card_id"] = values.pop("content_card_id")


def feed_of(plan: Plan, properties: Mapping[str, Any]) -> str:
    """The mParticle feed of an event."""
    if plan.is_unbound:
        return "unbound"
    return _FEEDS.get(properties.get("platform", ""), "unbound")


def user_batch_of(
    plan: Plan, event_id: str, seconds: int, user: Mapping[str, Any], properties: Mapping[str, Any]
) -> dict[str, Any]:
    """An mParticle user batch of one event."""
    values = {**properties}
    identities = {"customerid": user["external_user_id"]}
    if email := values.pop("email_address", None):
        identities["email"] = email
    attributes = _user_attributes(plan, values) if plan.has_phone else {}
    device = _device_info(values, user) if plan.has_device else {}
    return {
        "environment": "production",
        "user_identities": identities,
        "user_attributes": attributes,
        "device_info": device,
        "events": [_event(plan, event_id, seconds, _attributes(plan, event_id, user, values))],
        "source_request_id": event_id,
    }


@functools.lru_cache(maxsize=4_096)
def timestamp_of(seconds: int) -> str:
    """ISO 8601, in UTC; a hundred events share a second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _user_attributes(plan: Plan, values: dict[str, Any]) -> dict[str, Any]:
    phone = values.get("to_phone_number")
    if not phone:
        phone = values.pop("user_phone_number", None)
    elif not plan.is_sms:
        del values["to_phone_number"]
    return {"$mobile": phone} if phone else {}


def _device_info(values: dict[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    info: dict[str, Any] = {}
    platform = _PLATFORMS.get(values.get("platform", ""))
    if platform:
        info["platform"] = platform
        del values["platform"]
    if model := values.pop("device_model", None):
        info["device_model"] = model
    limits = values.get("ad_tracking_enabled")
    if limits is not None:
        info["limit_ad_tracking"] = not values.pop("ad_tracking_enabled")
    device_id = user.get("device_id")
    if platform == "iOS" and device_id and _is_uuid(device_id):
        info["ios_idfv"] = device_id
    if "ad_id" in values and (name := _AD_IDS.get(values.get("ad_id_type", ""))):
        del values["ad_id_type"]
        info[name] = values.pop("ad_id")
    return info


def _attributes(
    plan: Plan, event_id: str, user: Mapping[str, Any], values: dict[str, Any]
) -> dict[str, Any]:
    for name in plan.event_drops:
        values.pop(name, None)
    if plan.has_card:
        _rename_card(values)
    if device_id := user.get("device_id"):
        values["device_id"] = device_id
    for name in plan.nested:
        if value := values.get(name):
            values[name] = _text_of(value)
    if None in values.values():
        values = {name: value for name, value in values.items() if value is not None}
    if plan.may_be_long:
        _cut_long(values)
    values["source_request_id"] = event_id
    return values


def _cut_long(values: dict[str, Any]) -> None:
    for name in _CAN_BE_LONG:
        value = values.get(name)
        if value and len(value) > MAX_VALUE_CHARS:
            values[name] = value[: MAX_VALUE_CHARS - 1] + "…"


def _event(plan: Plan, event_id: str, seconds: int, attributes: dict[str, Any]) -> dict[str, Any]:
    data = {
        "source_message_id": event_id,
        "timestamp_unixtime_ms": seconds * 1_000,
        "custom_attributes": attributes,
    }
    if plan.is_uninstall:
        return {"event_type": "uninstall", "data": data}
    data["event_name"] = plan.event_name
    data["custom_event_type"] = "other"
    return {"event_type": "custom_event", "data": data}


def _text_of(value: Any) -> str:
    return orjson.dumps(value).decode()


_CAN_BE_LONG = ("custom_properties", "abort_log", "message_extras")
"""The fields of sample events that can be; a loop over all of them would cost what it finds."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_is_uuid = _UUID.fullmatch

_FEEDS = {"ios": "ios", "android": "android", "web": "web"}
_PLATFORMS = {
    "ios": "iOS",
    "android": "Android",
    "web": "web",
    "tvos": "tvOS",
    "roku": "roku",
    "kindle": "Android",
}
_AD_IDS = {
    "ios_idfa": "ios_advertising_id",
    "google_ad_id": "android_advertising_id",
    "windows_ad_id": "microsoft_advertising_id",
    "roku_ad_id": "roku_advertising_id",
}
_PLATFORM_IS_DEVICE = frozenset(
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
_PHONE_IS_USERS = frozenset({"users.messages.sms.ShortLinkClick", "users.messages.whatsapp.Click"})
_TRACK_DROPS = {
    "os_version",
    "canvas_step_message_variation_id",
    "canvas_step_message_variation_api_id",
}
_TRACK_DROPS_OF_TYPE = {
    "users.behaviors.subscriptiongroup.StateChange": {"phone_number"},
    "users.messages.banner.Abort": {"platform"},
    "users.messages.whatsapp.Click": {"url"},
}
_EVENT_DROPS = {
    "os_version",
    "canvas_step_message_variation_id",
    "canvas_step_message_variation_api_id",
    "suspected_bot_click_reason",
    "media_urls",
}
_EVENT_DROPS_OF_TYPE = {
    "users.behaviors.subscriptiongroup.StateChange": {"phone_number"},
    "users.campaigns.Conversion": {"app_id"},
    "users.campaigns.EnrollInControl": {"app_id"},
    "users.canvas.Conversion": {"app_id"},
    "users.canvas.experimentstep.Conversion": {"app_id"},
    "users.messages.inappmessage.Abort": {"card_id"},
}
