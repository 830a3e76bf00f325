"""The event catalogue: every known event type, its fields, and its names at partners.

One source for routing, encoding, Avro schemas and samples. An event type that is not in it is no
error: new ones appear without notice.
"""

import functools
import importlib.resources
from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

CURRENTS_VERSION = 10
"""Of the schemas that the facts were read from."""


class StorageField(NamedTuple):
    """A field of the platform's storage schema; `type` is a primitive Avro type or array<...>."""

    name: str
    type: str
    nullable: bool


class EventType(msgspec.Struct, frozen=True):
    """What is known of one event type."""

    name: str
    storage_fields: list[StorageField]
    http_properties: dict[str, str]
    """JSON type by name: string, integer, number, boolean, object or array."""
    user_fields: list[str]
    has_external_user_id: bool
    in_http: bool
    """Whether it is exported by HTTP; four types exist in storage only."""
    retired: bool
    segment_name: str | None = None
    mparticle_name: str | None = None
    mparticle_feed: Literal["platform", "unbound"] | None = None


class _Facts(msgspec.Struct):
    events: dict[str, dict[str, object]]


@functools.cache
def event_types() -> Mapping[str, EventType]:
    """All current and retired event types by their (canonical) name."""
    text = (importlib.resources.files("schemas.facts") / "events.json").read_bytes()
    facts = msgspec.json.decode(text, type=_Facts)
    return {
        name: msgspec.convert({"name": name, **fields}, EventType)
        for name, fields in facts.events.items()
    }


_SPELLINGS = {
    "users_campaigns_abort": "users.campaigns.Abort",
    "users_canvas_abort": "users.canvas.Abort",
    "newsfeedcard.Abort": "users.messages.newsfeedcard.Abort",
}
_MISSPELT_PREFIX = "users.message."


def canonical_event_type(spelling: str) -> str:
    """The name in the catalogue of an event type, however a founding document spells it.

    The table-style `users_campaigns_abort` and the singular `users.message.` are such spellings.
    """
    if spelling.startswith(_MISSPELT_PREFIX):
        return "users.messages." + spelling.removeprefix(_MISSPELT_PREFIX)
    return _SPELLINGS.get(spelling, spelling)
