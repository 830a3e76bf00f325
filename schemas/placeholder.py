"""Placeholder events: one of any type, with values of the right type that say that they are a test.

As with the platform's own "Send Test Events", no value is realistic: a time zone may be any text.
"""

from collections.abc import Mapping
from typing import Any

from schemas.catalogue import EventType

TEST_USER = "currents-test"
_VALUES: Mapping[str, Any] = {
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": ["test"],
    "object": {"test": "test"},
}
_JSON_TYPES = {"int": "integer", "long": "integer", "float": "number", "boolean": "boolean"}
_JSON_TYPES |= {"array<string>": "array", "array<null|string>": "array"}
_OUTSIDE = frozenset({"id", "time", "user_id", "external_user_id", "device_id", "timezone"})


def placeholder_event(
    event_type: EventType, event_id: str, seconds: int, **properties: Any
) -> dict[str, Any]:
    """An event with a value for every property of its type, and `currents_test: true`.

    Args:
        event_type: one of the catalogue.
        event_id: its id.
        seconds: its time, in seconds since the epoch.
        properties: what routing needs (`app_group_id`, `app_id`) in place of placeholders.
    """
    known = event_type.http_properties or _stored_properties(event_type)
    values = {name: _VALUES.get(json_type, f"test {name}") for name, json_type in known.items()}
    if "platform" in values:
        values["platform"] = "ios"
    return {
        "event_type": event_type.name,
        "id": event_id,
        "time": seconds,
        "user": {"user_id": TEST_USER, "external_user_id": TEST_USER},
        "properties": {**values, **properties, "currents_test": True},
    }


def _stored_properties(event_type: EventType) -> dict[str, str]:
    return {
        field.name: _JSON_TYPES.get(field.type, "string")
        for field in event_type.storage_fields
        if field.name not in _OUTSIDE
    }
