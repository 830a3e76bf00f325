"""Persons by their ids, and whether an event is about one of them."""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

FIELDS = ("external_user_id", "user_id")
"""The fields of `user` that say who it is."""


class _User(msgspec.Struct):
    external_user_id: Any = None
    user_id: Any = None


class _Event(msgspec.Struct):
    user: _User | None = None


_decode = msgspec.json.Decoder(_Event).decode


class Persons:
    """Some persons, each by an `external_user_id` or a `user_id`."""

    def __init__(self, ids: Iterable[str]) -> None:
        """An id is also known by its hash, as `--redact_dead_letters` writes it."""
        known = {one for one in ids if one}
        self._known = known | {_marked_hash(one) for one in known}
        spelled = {
            json.dumps(one, ensure_ascii=escaped).encode()
            for one in self._known
            for escaped in (True, False)
        }
        either = b"|".join(map(re.escape, sorted(spelled)))
        names = "|".join(FIELDS).encode()
        self._in_damaged = re.compile(rb'"(?:%s)"\s*:\s*(?:%s)' % (names, either))

    def concern(self, message: bytes) -> bool:
        """Whether a message is about one of them; one that is no JSON, as far as its text tells."""
        try:
            user = _decode(message).user
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._in_damaged.search(message) is not None
        ids = () if user is None else (user.external_user_id, user.user_id)
        return any(_id(one) in self._known for one in ids if one is not None)


def _id(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _marked_hash(person: str) -> str:
    return f"sha256:{hashlib.sha256(person.encode()).hexdigest()}"
