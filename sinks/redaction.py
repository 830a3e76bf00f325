"""Redaction: values that a partner must not see, replaced before its sink encodes an event.

As on the platform, the value of a removed field becomes the text `[REDACTED]`, because some partners
reject a missing or empty field, and that of a hashed one its SHA-256 (Braze, "Setting up Currents").
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw

from schemas.connector import Redact
from sinks.fields import REDACTED, Unencodable

MAX_DEPTH = 16
"""Each level that is looked into takes the time and the memory of all that stands in it."""


class Redactor:
    """Replaces the values of some fields, by name, wherever they stand in an event."""

    def __init__(self, settings: Redact) -> None:
        removed, hashed = (
            dict.fromkeys(settings.remove, _removed),
            dict.fromkeys(settings.hash, _hash),
        )
        self._for_partner = _Replacer(removed | hashed)
        marked = dict.fromkeys(settings.hash, _marked_hash)
        replayed = {name: how for name, how in (removed | marked).items() if name not in _ROUTED}
        self._for_replay = _Replacer(replayed)

    def redact(self, event: bytes) -> bytes:
        """The event, or the very same object where nothing in it is to be redacted.

        A null stays a null; a number, an array or an object becomes a text like the rest. JSON text
        within a text (`message_extras`) is looked into as well; one that names a field and cannot be
        read is removed whole. Of a key that stands twice in an object the last is kept. All else
        keeps its spelling.

        Raises:
            Unencodable: what may be a field stands more than `MAX_DEPTH` levels deep.
        """
        return self._for_partner.replace(event)

    def redact_for_replay(self, event: bytes) -> bytes:
        """The event for a dead letter, from which `redact` makes what it makes of the original.

        So a hash is marked as one, and what routing reads of `properties` stays as it is. What cannot
        be looked through becomes the text that stands for a removed value.
        """
        try:
            return self._for_replay.replace(event)
        except Unencodable:
            return _REDACTED


class _Replacer:
    """Replaces values by name of field."""

    def __init__(self, how: Mapping[str, Callable[[bytes], bytes]]) -> None:
        self._how = how
        self._names = [name.encode() for name in how]
        is_plain = all(_PLAIN.fullmatch(name) for name in how)
        self._escape = b"\\u" if is_plain else b"\\"
        """What stands in every other spelling of a name."""

    def replace(self, event: bytes) -> bytes:
        """As `Redactor.redact`."""
        try:
            replaced = self._value(event, MAX_DEPTH)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Unencodable("event", f"cannot be redacted: {error}") from error
        return event if replaced is None else replaced

    def _value(self, value: bytes, levels: int) -> bytes | None:
        """The value with what is to be replaced replaced, None where that is nothing."""
        if not self._may_name_a_field(value):
            return None
        if levels == 0:
            raise Unencodable("event", f"cannot be redacted: over {MAX_DEPTH} levels deep")
        if value.startswith(b"{"):
            return self._object(value, levels - 1)
        if value.startswith(b"["):
            return self._array(value, levels - 1)
        if value.startswith(b'"') and (b"\\" in value or b"{" in value):
            return self._text(value, levels - 1)
        return None

    def _object(self, value: bytes, levels: int) -> bytes | None:
        members = msgspec.json.decode(value, type=dict[str, Raw])
        changed = {
            name: Raw(replaced)
            for name, member in members.items()
            if (replaced := self._member(name, bytes(member), levels)) is not None
        }
        if not changed and not _repeats_a_key(value, members):
            return None
        return msgspec.json.encode(members | changed)

    def _member(self, name: str, value: bytes, levels: int) -> bytes | None:
        if value == b"null":
            return None
        how = self._how.get(name)
        return self._value(value, levels) if how is None else how(value)

    def _array(self, value: bytes, levels: int) -> bytes | None:
        items = [bytes(item) for item in msgspec.json.decode(value, type=list[Raw])]
        replaced = [self._value(item, levels) for item in items]
        if not any(item is not None for item in replaced):
            return None
        kept = (old if new is None else new for old, new in zip(items, replaced, strict=True))
        return b"[" + b",".join(kept) + b"]"

    def _text(self, value: bytes, levels: int) -> bytes | None:
        """A text that may hold JSON; one that names a field and cannot be read is removed whole."""
        text = value
        try:
            text = msgspec.json.decode(value, type=str).strip("\ufeff \t\r\n").encode()
            if not text.startswith((b"{", b"[", b'"')):
                return None
            replaced = self._value(text, levels)
            if replaced is None:
                msgspec.json.decode(text, type=Raw)  # all of it is JSON
                return None
        except msgspec.DecodeError:
            return _REDACTED if self._may_name_a_field(text) else None
        return msgspec.json.encode(replaced.decode())

    def _may_name_a_field(self, text: bytes) -> bool:
        """Whether a name stands in it, or an escape, with which one may be spelled."""
        return self._escape in text or any(name in text for name in self._names)


_PLAIN = re.compile(r"[A-Za-z0-9_ .-]+")
"""Of such characters only \\u is another spelling."""


def _repeats_a_key(value: bytes, members: Mapping[str, Raw]) -> bool:
    """Whether an object says something twice, of which only the last was looked at."""
    kept = msgspec.json.format(msgspec.json.encode(members), indent=-1)
    if len(kept) == len(msgspec.json.format(value, indent=-1)):
        return False
    # Fewer bytes: a key less, or one that was spelled with escapes.
    count = json.loads(value, object_pairs_hook=len, parse_int=str, parse_float=str)
    return count != len(members)


_ROUTED = frozenset({"app_group_id", "app_id", "platform"})
_REDACTED = msgspec.json.encode(REDACTED)
_MARK = "sha256:"
_MARKED = re.compile(rf"{_MARK}[0-9a-f]{{64}}")


def _removed(value: bytes) -> bytes:  # noqa: ARG001 - one signature for every way
    return _REDACTED


def _hash(value: bytes) -> bytes:
    """As JSON: the SHA-256, in hexadecimal, of a text's UTF-8, or of any other value's JSON text.

    The platform does not say how it spells it.
    """
    content = value
    if value.startswith(b'"'):
        text = msgspec.json.decode(value, type=str)
        if _MARKED.fullmatch(text):
            return msgspec.json.encode(text.removeprefix(_MARK))
        content = text.encode()
    return msgspec.json.encode(hashlib.sha256(content).hexdigest())


def _marked_hash(value: bytes) -> bytes:
    return msgspec.json.encode(_MARK + msgspec.json.decode(_hash(value), type=str))
