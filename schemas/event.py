"""An event: its header fields, typed; the rest of it stays the bytes that came.

The header is what routing reads. Everything else passes through untouched, so an unknown field or
an unknown event type is never an error.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Literal, TypeGuard

import msgspec

from schemas.limits import MAX_EVENT_TYPE_CHARS, MAX_ID_CHARS, MAX_TIME_SECONDS

InvalidReason = Literal["invalid_json", "missing_field", "wrong_type", "too_large"]

EventTypeName = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_EVENT_TYPE_CHARS)]
EventId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]
EpochSeconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_SECONDS)]


class UserHeader(msgspec.Struct, frozen=True, gc=False):
    """What routing reads of `user`."""

    external_user_id: str | None = None


class PropertiesHeader(msgspec.Struct, frozen=True, gc=False):
    """What routing reads of `properties`."""

    app_group_id: str | None = None
    app_id: str | None = None
    platform: str | None = None


NO_PROPERTIES = PropertiesHeader()
"""Of an event that has none."""


class EventHeader(msgspec.Struct, frozen=True, gc=False):
    """The fields of an event that routing reads; `time` is in whole seconds since the epoch."""

    event_type: EventTypeName
    id: EventId
    time: EpochSeconds
    user: UserHeader | None = None
    properties: PropertiesHeader | None = None

    @property
    def app_group_id(self) -> str | None:
        return self.properties.app_group_id if self.properties else None

    @property
    def app_id(self) -> str | None:
        return self.properties.app_id if self.properties else None

    @property
    def platform(self) -> str | None:
        return self.properties.platform if self.properties else None

    @property
    def has_external_user_id(self) -> bool:
        return self.user is not None and is_set(self.user.external_user_id)


def is_set(user_id: str | None) -> TypeGuard[str]:
    """Whether somebody is named: missing, null, empty and blank all count as not."""
    return bool(user_id and user_id.strip())


class InvalidEvent(Exception):
    """A message that is no event, with the reason a dead letter carries."""

    def __init__(self, reason: InvalidReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: InvalidReason = reason
        self.detail = detail


decode_header = msgspec.json.Decoder(EventHeader).decode
"""The header of an event that was decoded before."""


def app_group_of(event: bytes) -> str | None:
    """The app group of an event that was decoded before."""
    return decode_header(event).app_group_id


_SURROGATE = re.compile(rb"\\u[dD]")
_WHITE_SPACE = b" \t\r\n"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def are_plain(messages: Iterable[bytes]) -> bool:
    """Whether they are ASCII and without line breaks: to look at all at once costs least."""
    text = b"".join(messages)
    return text.isascii() and text.find(b"\n") < 0 and text.find(b"\r") < 0


def decode_event(
    message: bytes, max_bytes: int, is_plain: bool = False
) -> tuple[EventHeader, bytes]:
    """Return an event's header and its bytes as one line of strict JSON.

    The bytes are those of the message, except that surrounding white space is dropped, line breaks
    between tokens become spaces, and a lone surrogate escape becomes U+FFFD.

    Args:
        message: one JSON object, one hopes.
        max_bytes: of a message.
        is_plain: whether it is known from `are_plain` to be so.

    Raises:
        InvalidEvent: the message is too large, no JSON object, or lacks a header field.
    """
    if len(message) > max_bytes:
        raise InvalidEvent("too_large", f"{len(message)} bytes, at most {max_bytes} are allowed")
    line = message.strip(_WHITE_SPACE)
    if not line:
        raise InvalidEvent("invalid_json", "the message is empty")
    if not (is_plain or line.isascii()):
        _check_utf8(line)
    # A search for one byte is many times as fast as one for three.
    if (escape := line.find(b"\\")) >= 0 and _SURROGATE.search(line, escape):
        line = _ESCAPE.sub(_mend_surrogate, line)
    header = _header_of(line)
    if not is_plain:  # valid JSON has line breaks between tokens only
        line = line.replace(b"\n", b" ").replace(b"\r", b" ")
    return header, line


def _check_utf8(line: bytes) -> None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent("invalid_json", f"no valid UTF-8 at byte {error.start}") from error


def _header_of(line: bytes) -> EventHeader:
    try:
        return decode_header(line)
    except msgspec.ValidationError as error:
        missing = "missing required field" in str(error)
        raise InvalidEvent("missing_field" if missing else "wrong_type", str(error)) from error
    except msgspec.DecodeError as error:
        raise InvalidEvent("invalid_json", str(error)) from error
    except RecursionError as error:
        raise InvalidEvent("invalid_json", "nested too deeply") from error


def _mend_surrogate(escape: "re.Match[bytes]") -> bytes:
    return rb"\ufffd" if escape[1] else escape[0]
