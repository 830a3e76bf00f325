"""Avro records of events, in the layout that the platform's storage connectors write.

Field names, types and order are those of the catalogue; the values come from the event as it
travels over HTTP: top level, `user` and flat `properties`.
"""

import functools
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

import fastavro
import msgspec

from schemas.catalogue import VARIATION, VARIATION_OF_BANNERS, StorageField, event_types

Record = dict[str, Any]


class Unwritable(Exception):
    """A field whose value its Avro type cannot express without loss."""

    def __init__(self, field: str, wanted: str) -> None:
        super().__init__(f"the field {field} is no {wanted} that Avro can hold")


_UNKNOWN_TYPE_FIELDS = (
    StorageField("id", "string", False),
    StorageField("user_id", "string", True),
    StorageField("external_user_id", "string", True),
    StorageField("time", "long", False),
    StorageField("app_group_id", "string", True),
    StorageField("app_id", "string", True),
    StorageField("event", "string", False),
)
"""Of a type that the catalogue lacks: what every event has, and all of it as JSON text."""

_USER_FIELDS = frozenset({"user_id", "external_user_id", "device_id", "timezone"})
_PROPERTIES_OVER_HTTP = frozenset({"custom_properties", "purchase_properties"})
"""Objects over HTTP that storage keeps as JSON text in `properties` (Braze, events' glossary)."""


def fields_of(event_type: str) -> Sequence[StorageField]:
    """The fields that storage has for a type, in its order."""
    known = event_types().get(event_type)
    return known.storage_fields if known else _UNKNOWN_TYPE_FIELDS


@functools.lru_cache(maxsize=4_096)
def schema_of(event_type: str, storage: str, lacking: frozenset[str]) -> Any:
    """The parsed writer schema of one file.

    Args:
        event_type: the canonical event type.
        storage: `GCS`, `S3`, `AzureBlob` or `LOCAL`.
        lacking: required fields that an event of the file lacks; they are written as nullable.
    """
    return fastavro.parse_schema(
        {
            "type": "record",
            "name": f"dataexport.{storage}.inner.{_legal_name(event_type)}",
            "fields": [
                _described(field, field.nullable or field.name in lacking)
                for field in fields_of(event_type)
            ],
        }
    )


def lacking_fields(event_type: str, records: Sequence[Record]) -> frozenset[str]:
    """The required fields that are null in at least one of the records.

    Over HTTP a field that does not apply is left out, whatever storage requires.
    """
    required = [field.name for field in fields_of(event_type) if not field.nullable]
    return frozenset(name for name in required if any(r[name] is None for r in records))


def to_record(event: bytes, event_type: str, redacted: frozenset[str] = frozenset()) -> Record:
    """The event as a record of `schema_of` its type.

    Args:
        event: its bytes.
        event_type: the canonical event type.
        redacted: fields whose values are redacted, to a text; a field of another type is null then.

    Raises:
        Unwritable: a value has a type that cannot be converted without loss.
    """
    values = _flat(_parse(event))
    if event_type not in event_types():
        values["event"] = msgspec.Raw(event)
    fields = fields_of(event_type)
    for field in fields:
        if field.name in redacted and field.type != "string":
            values.pop(field.name, None)
    return {field.name: _convert(field, values.get(field.name)) for field in fields}


class _Event(msgspec.Struct, gc=False):
    id: msgspec.Raw
    time: msgspec.Raw
    user: dict[str, msgspec.Raw] | None = None
    properties: dict[str, msgspec.Raw] | None = None


_decode = msgspec.json.Decoder(_Event).decode
_NULL = msgspec.Raw(b"null")


def _parse(event: bytes) -> _Event:
    try:
        return _decode(event)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unwritable("properties", "object") from error


def _flat(event: _Event) -> dict[str, msgspec.Raw]:
    """Every value of an event by its name in storage."""
    values = dict(event.properties or {})
    for spelling in _PROPERTIES_OVER_HTTP & values.keys():
        values["properties"] = values[spelling]
    if VARIATION_OF_BANNERS in values:
        values.setdefault(VARIATION, values[VARIATION_OF_BANNERS])
    user = event.user or {}
    values.update({name: user[name] for name in _USER_FIELDS & user.keys()})
    return {**values, "id": event.id, "time": event.time}


def _convert(field: StorageField, raw: msgspec.Raw | None) -> Any:
    text = bytes(raw or _NULL)
    if text == b"null":
        return None
    try:
        return _CONVERTERS[field.type](text)
    except (ValueError, ArithmeticError, RecursionError, msgspec.MsgspecError) as error:
        raise Unwritable(field.name, field.type) from error


def _string(text: bytes) -> str:
    """A JSON string's value; the JSON text of anything else, in its original spelling."""
    return msgspec.json.decode(text, type=str) if text.startswith(b'"') else text.decode()


def _integer(bits: int, text: bytes) -> int:
    """A whole number, or one that stands in a string, in as many bits."""
    number = msgspec.json.decode(_string(text), type=Decimal)
    limit = 2 ** (bits - 1)
    if not -limit <= number < limit or number != int(number):
        raise ValueError("not whole, or out of range")
    return int(number)


def _float(text: bytes) -> float:
    """The nearest 32-bit float, which is what storage has; beyond its range there is none."""
    number = msgspec.json.decode(_string(text), type=float)
    return struct.unpack("<f", struct.pack("<f", number))[0]


def _boolean(text: bytes) -> bool:
    return msgspec.json.decode(_string(text), type=bool)


def _strings(text: bytes) -> list[str]:
    strings = _nullable_strings(text)
    if None in strings:
        raise ValueError("a null among strings")
    return cast("list[str]", strings)


def _nullable_strings(text: bytes) -> list[str | None]:
    items = [bytes(item) for item in msgspec.json.decode(text, type=list[msgspec.Raw])]
    return [None if item == b"null" else _string(item) for item in items]


_CONVERTERS: Mapping[str, Callable[[bytes], Any]] = {
    "string": _string,
    "int": functools.partial(_integer, 32),
    "long": functools.partial(_integer, 64),
    "float": _float,
    "boolean": _boolean,
    "array<string>": _strings,
    "array<null|string>": _nullable_strings,
}
_AVRO_TYPES: Mapping[str, Any] = {
    "array<string>": {"type": "array", "items": "string"},
    "array<null|string>": {"type": "array", "items": ["null", "string"]},
}


def _described(field: StorageField, nullable: bool) -> Record:
    """The field as Avro's schema language writes it."""
    avro_type = _AVRO_TYPES.get(field.type, field.type)
    if nullable:
        return {"name": field.name, "type": ["null", avro_type], "default": None}
    return {"name": field.name, "type": avro_type}


def _legal_name(event_type: str) -> str:
    """The event type as dotted Avro names; only unknown types can have anything to replace."""
    words = [re.sub(r"[^A-Za-z0-9_]", "_", word) for word in event_type.split(".")]
    return ".".join(word if re.match(r"[A-Za-z_]", word) else f"_{word}" for word in words)
