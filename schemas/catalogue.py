"""The event catalogue: every known event type, its fields, and its names at partners.

One source for routing, encoding, Avro schemas, samples and the pages on partners, generated from
the facts in `facts/sources/`. An event type that is not in it is no error: new ones appear without
notice.
"""

import functools
import importlib.resources
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

import msgspec

CURRENTS_VERSION = 10
"""Of the schemas that the facts were read from."""


class StorageField(NamedTuple):
    """A field of the platform's storage schema; `type` is a primitive Avro type or array<...>."""

    name: str
    type: str
    nullable: bool


class AtPartner(msgspec.Struct, frozen=True):
    """What a partner calls an event type; sources are letters that `sources/partner_names.json` explains."""

    name: str | None = None
    source: str = ""
    feed: Literal["platform", "unbound"] | None = None
    feed_source: str = ""
    exported: bool = True
    """False where the platform does not send it there at all."""


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
    partners: dict[str, AtPartner]
    """By kind of connector, where the partner's names are a table."""
    personal_fields: list[str]
    """The storage fields that the platform marks as personal."""
    note: str = ""

    def name_at(self, kind: str) -> str | None:
        """Its name at a partner; None where none is published."""
        found = self.partners.get(kind)
        return found.name if found else None

    def is_exported_to(self, kind: str) -> bool:
        """Whether the platform is not known to keep it from a partner."""
        found = self.partners.get(kind)
        return found is None or found.exported

    def feed_at(self, kind: str) -> Literal["platform", "unbound"] | None:
        """Whether a partner with feeds takes it by platform or apart from all of them."""
        found = self.partners.get(kind)
        return found.feed if found else None


@functools.cache
def event_types() -> Mapping[str, EventType]:
    """All current and retired event types by their (canonical) name."""
    text = (importlib.resources.files("schemas.facts") / "events.json").read_bytes()
    facts = msgspec.json.decode(text, type=dict[str, dict[str, object]])
    return {
        name: msgspec.convert({"name": name, **fields}, EventType) for name, fields in facts.items()
    }


VARIATION = "canvas_step_message_variation_id"
VARIATION_OF_BANNERS = "canvas_step_message_variation_api_id"
"""What banner events call it over HTTP (read from the platform's samples); storage has one name."""

_MISSPELT_PREFIX = "users.message."


def canonical_event_type(spelling: str) -> str:
    """The name in the catalogue of an event type, however a founding document spells it.

    Such spellings are those of tables (`users_campaigns_abort`), the singular `users.message.` and
    the short `newsfeedcard.Abort`. Anything else is its own name.
    """
    if spelling.startswith(_MISSPELT_PREFIX):
        return "users.messages." + spelling.removeprefix(_MISSPELT_PREFIX)
    return _spellings().get(spelling, spelling)


def is_type(event_type: str, pattern: str) -> bool:
    """Whether a (canonical) event type is one that a pattern names: with wildcards, or in any spelling."""
    return fnmatchcase(event_type, canonical_event_type(pattern))


@functools.cache
def _spellings() -> Mapping[str, str]:
    tables = {name.lower().replace(".", "_"): name for name in event_types()}
    return {**tables, "newsfeedcard.Abort": "users.messages.newsfeedcard.Abort"}
