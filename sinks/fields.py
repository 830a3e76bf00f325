"""An event taken apart into its fields, whose values leave as they came."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

REDACTED = "[REDACTED]"
"""What a removed value became."""

LARGE_BYTES = 16_384
"""Of an event that is larger, lists and objects are not looked into: decoded, three bytes of an empty list
are some sixty."""

Values = dict[str, Any]
"""Decoded JSON by name of property, but for numbers with a point or an exponent: those are `Raw`, so that
they leave in the spelling in which they came. So are lists and objects of large events."""


class User(msgspec.Struct, frozen=True, gc=False):
    """What partners are told of the user."""

    external_user_id: str | None = None
    user_id: Any = None
    device_id: Any = None


NOBODY = User()


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
_decode_value = msgspec.json.Decoder(float_hook=_as_spelled).decode


class _LargeUser(msgspec.Struct, gc=False):
    external_user_id: str | None = None
    user_id: Raw = Raw(b"null")
    device_id: Raw = Raw(b"null")


class _LargeFields(msgspec.Struct, gc=False):
    event_type: str
    id: str
    time: int
    user: _LargeUser | None = None
    properties: dict[str, Raw] | None = None


_decode_large = msgspec.json.Decoder(_LargeFields).decode
_encoder = msgspec.json.Encoder()
_encode, _encode_into = _encoder.encode, _encoder.encode_into


def take_apart(event: bytes) -> Fields:
    """The fields of an event.

    Raises:
        Unencodable: `user` or `properties` is nested too deeply to be read.
    """
    try:
        return _decode(event) if len(event) <= LARGE_BYTES else _take_large_apart(event)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unencodable("event", str(error)) from error


def _take_large_apart(event: bytes) -> Fields:
    found = _decode_large(event)
    user, values = found.user, found.properties
    return Fields(
        found.event_type,
        found.id,
        found.time,
        None if user is None else _user_of(user),
        None if values is None else {name: _shallow(value) for name, value in values.items()},
    )


def _user_of(found: _LargeUser) -> User:
    return User(found.external_user_id, _shallow(found.user_id), _shallow(found.device_id))


def _shallow(value: Raw) -> Any:
    return value if is_nested(value) else _decode_value(value)


def is_nested(value: Any) -> bool:
    """Whether the value is a list or an object."""
    if type(value) is Raw:
        return bytes(value)[0] in b"[{"
    return type(value) is list or type(value) is dict


def encode_json(value: Any) -> bytes:
    """What was taken apart, as JSON again.

    Raises:
        Unencodable: it is nested too deeply.
    """
    try:
        return _encode(value)
    except RecursionError as error:
        raise Unencodable("event", "nested too deeply") from error


def append_json(value: Any, text: bytearray) -> None:
    """Put at the end of the text what `encode_json` returns; that costs less where much is to be joined.

    Raises:
        Unencodable: it is nested too deeply; the text is as it was.
    """
    end = len(text)
    try:
        _encode_into(value, text, end)
    except RecursionError as error:
        del text[end:]
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


def rearrange(values: Values, user: User, dropped: Iterable[str]) -> None:
    """Make the values what Segment and mParticle alike get of them: without some, and with the device."""
    for name in dropped:
        if name in values:
            del values[name]
    if "content_card_id" in values:
        values["card_id"] = values.pop("content_card_id")
    if user.device_id is not None:
        values["device_id"] = user.device_id
