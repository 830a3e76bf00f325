"""An event taken apart into its fields, whose values leave as they came."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

REDACTED = "[REDACTED]"
"""What a removed value became."""

Values = dict[str, Any]
"""Decoded JSON by name of property, but for numbers with a point or an exponent: those are `Raw`, so that
they leave in the spelling in which they came."""


class User(msgspec.Struct, gc=False):
    """What partners are told of the user."""

    external_user_id: str | None = None
    user_id: Any = None
    device_id: Any = None


class Fields(msgspec.Struct, gc=False):
    """One event; `time` is in whole seconds since the epoch."""

    event_type: str
    id: str
    time: int
    user: User | None = None
    properties: Values | None = None


class Unencodable(Exception):
    """A field that a partner's format cannot express."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")


def _as_spelled(number: str) -> Raw:
    return Raw(number.encode())


_decode = msgspec.json.Decoder(Fields, float_hook=_as_spelled).decode
_encode = msgspec.json.Encoder().encode
encode_text: Callable[[str], bytes] = _encode
"""A text as JSON."""


def take_apart(event: bytes) -> Fields:
    """The fields of an event.

    Raises:
        Unencodable: `user` or `properties` is nested too deeply to be read.
    """
    try:
        return _decode(event)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unencodable("event", str(error)) from error


def encode_json(value: Any) -> bytes:
    """What was taken apart, as JSON again.

    Raises:
        Unencodable: it is nested too deeply.
    """
    try:
        return _encode(value)
    except RecursionError as error:
        raise Unencodable("event", "nested too deeply") from error


def is_text(value: Any) -> bool:
    """Whether the value is a string that says something.

    A removed one does not: as somebody's e-mail address it would make one person of all users.
    """
    return type(value) is str and value not in ("", REDACTED)


def take_text(values: Values, name: str) -> str | None:
    """Take a text out of the values; anything but a text stays where it is."""
    value = values.get(name)
    if value is None or not is_text(value):
        return None
    del values[name]
    return value
