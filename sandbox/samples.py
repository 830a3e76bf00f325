"""Sample events of any type of the catalogue, in their HTTP shape; the same for the same seed."""

import random
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from schemas.catalogue import EventType, event_types

_START_SECONDS = 1_760_000_000


def sample_events(
    count: int, seed: int = 1, event_types_taken: Sequence[str] | None = None
) -> Iterator[bytes]:
    """Yield events as compact JSON."""
    chance = random.Random(seed)  # noqa: S311 - samples, no secrets
    types = [t for t in event_types().values() if t.in_http]
    if event_types_taken is not None:
        types = [event_types()[name] for name in event_types_taken]
    for number in range(count):
        yield msgspec.json.encode(_event(chance.choice(types), chance, number))


def _event(event_type: EventType, chance: random.Random, number: int) -> dict[str, Any]:
    def text(name: str) -> str:
        return f"{name}-{chance.randrange(1_000)}"

    values = {"boolean": True, "integer": 3, "number": 1.5, "array": ["a"], "object": {"k": "v"}}
    properties = {
        name: values.get(kind, text(name)) for name, kind in event_type.http_properties.items()
    }
    return {
        "event_type": event_type.name,
        "id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "time": _START_SECONDS + number,
        "user": {name: text(name) for name in event_type.user_fields},
        "properties": {**properties, "app_group_id": chance.choice(["brand-a", "brand-b"])},
    }
