"""An event taken apart into its fields, each value in the spelling in which it came."""

import msgspec
from msgspec import Raw

NULL = Raw(b"null")
REDACTED = Raw(b'"[REDACTED]"')
"""What a removed value became."""

Values = dict[str, Raw]
"""JSON text by name of property."""


class User(msgspec.Struct, gc=False):
    """What partners are told of the user; a missing field is a null."""

    external_user_id: str | None = None
    user_id: Raw = NULL
    device_id: Raw = NULL


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


_decode = msgspec.json.Decoder(Fields).decode


def take_apart(event: bytes) -> Fields:
    """The fields of an event.

    Raises:
        Unencodable: `user` or `properties` is nested too deeply to be read.
    """
    try:
        return _decode(event)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unencodable("event", str(error)) from error


def is_text(value: Raw) -> bool:
    """Whether the value is a JSON string that says something.

    A removed one does not: as somebody's e-mail address it would make one person of all users.
    """
    return len(value) > 2 and bytes(value).startswith(b'"') and value != REDACTED


def take_text(values: Values, name: str) -> Raw | None:
    """Take a text out of the values; anything but a text stays where it is."""
    value = values.get(name)
    if value is None or not is_text(value):
        return None
    del values[name]
    return value
