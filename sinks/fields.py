"""An event taken apart into its fields, each value in the spelling in which it came."""

import msgspec

Values = dict[str, msgspec.Raw]
"""Properties by name, each as JSON text."""

_NULL = msgspec.Raw(b"null")


class User(msgspec.Struct, gc=False):
    """What partners are told of the user."""

    external_user_id: str | None = None
    user_id: msgspec.Raw = _NULL
    device_id: msgspec.Raw = _NULL


class Fields(msgspec.Struct, gc=False):
    """One event; `time` is in whole seconds since the epoch."""

    event_type: str
    id: str
    time: int
    user: User | None = None
    properties: Values | None = None

    def values(self) -> Values:
        """The properties that are not null: instead of null a partner is sent no field."""
        found = self.properties or {}
        return {name: value for name, value in found.items() if not is_null(value)}


class Unencodable(Exception):
    """A field that a partner's format cannot express."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")


_decode = msgspec.json.Decoder(Fields).decode


def take_apart(event: bytes) -> Fields:
    """The fields of an event.

    Raises:
        Unencodable: `user` or `properties` is no object, or is nested too deeply to be read.
    """
    try:
        return _decode(event)
    except msgspec.DecodeError as error:
        raise Unencodable("event", str(error)) from error
    except RecursionError as error:
        raise Unencodable("event", "nested too deeply") from error


def is_null(value: msgspec.Raw) -> bool:
    """Whether the value is null."""
    return len(value) == 4 and bytes(value) == b"null"


def is_text(value: msgspec.Raw | None) -> bool:
    """Whether the value is a JSON string that is not empty."""
    return value is not None and len(value) > 2 and bytes(value).startswith(b'"')


def take_text(values: Values, name: str) -> msgspec.Raw | None:
    """Take a text out of the values; anything but a text stays where it is."""
    return values.pop(name) if is_text(values.get(name)) else None
