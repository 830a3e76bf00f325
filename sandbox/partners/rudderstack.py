"""RudderStack's stand-in: the webhook of the gateway, with the source of category Braze behind it.

Source: rudderlabs/rudder-server, gateway; rudderlabs/rudder-transformer, src/sources/braze.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sandbox.partners.site import (
    Arrival,
    Judgement,
    NonEmpty,
    Refusal,
    Reply,
    Site,
    has_shape,
    require,
)

MAX_BODY_BYTES = 4_000 * 1_024


class _User(msgspec.Struct):
    user_id: str | None = None
    external_user_id: str | None = None

    def __post_init__(self) -> None:
        if not self.user_id and not self.external_user_id:
            raise ValueError("neither user_id nor external_user_id")


class _Event(msgspec.Struct):
    """What an event must have to be mapped to a track call."""

    event_type: NonEmpty
    id: NonEmpty
    user: _User


@dataclass(frozen=True)
class RudderStackSite(Site):
    """Skips events that it cannot map without a word, as long as one of the request can be."""

    kind = "rudderstack"
    id_path = ("events", "id")

    write_key: str = field(repr=False)

    @property
    def credentials(self) -> Sequence[str]:
        return [self.write_key]

    def examine(self, arrival: Arrival) -> Judgement:
        require(arrival.path == "/v1/webhook", 404, "no such path")
        if arrival.method == "GET":  # answered before anything is looked at
            return Judgement(Reply(200))
        require(arrival.method == "POST", 405, "POST only")
        require(_key(arrival) == self.write_key, 401, "the write key is missing or unknown")
        require(len(arrival.body) <= MAX_BODY_BYTES, 413, f"over {MAX_BODY_BYTES} bytes")
        accepted = [event["id"] for event in _events(arrival.document) if has_shape(event, _Event)]
        require(bool(accepted), 400, "All requests in the batch failed")
        return Judgement(Reply(200, b"ok"), accepted)


def _key(arrival: Arrival) -> str | None:
    """The query's key; the user of HTTP Basic counts only where the query has none."""
    if "writeKey" in arrival.query:
        return arrival.query["writeKey"]
    return arrival.basic[0] if arrival.basic else None


def _events(document: Any) -> list[Any]:
    if isinstance(document, list):
        require(bool(document), 400, "empty batch payload")
        document = document[0]
    events = document.get("events") if isinstance(document, dict) else None
    if not isinstance(events, list):
        raise Refusal(400, "eventList should be an array")
    return events
