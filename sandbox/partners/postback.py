"""Postback's stand-in: a customer's endpoint that takes the platform's own wire format to the letter.

Source: Braze, "Custom Currents Export".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sandbox.partners.site import Arrival, Judgement, NonEmpty, Reply, Site, require, require_shape

MAX_EVENTS = 100
# Nothing is documented for the request; an event over 900 KB is never exported ("Size").
MAX_BODY_BYTES = 900_000


class _Event(msgspec.Struct):
    """The complete top level of an event; new fields may come at any time."""

    event_type: NonEmpty
    id: NonEmpty
    time: int
    user: dict[str, Any] = {}
    properties: dict[str, Any] = {}


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    events: list[_Event]


@dataclass(frozen=True)
class PostbackSite(Site):
    """Takes any path and query; without a token, any authorisation or none."""

    kind = "postback"
    id_path = ("events", "id")

    token: str | None = field(default=None, repr=False)

    @property
    def credentials(self) -> Sequence[str]:
        return [self.token] if self.token else []

    def examine(self, arrival: Arrival) -> Judgement:
        self._check_head(arrival)
        require(len(arrival.body) <= MAX_BODY_BYTES, 413, f"over {MAX_BODY_BYTES} bytes")
        if not arrival.body:  # like an empty list, a test of the credentials ("Batching")
            return Judgement(Reply(200))
        require(arrival.media_type == "application/json", 400, "Content-Type: application/json")
        events = require_shape(arrival.document, _Envelope).events
        require(len(events) <= MAX_EVENTS, 400, f"{len(events)} events, at most {MAX_EVENTS}")
        return Judgement(Reply(200), [event.id for event in events])

    def _check_head(self, arrival: Arrival) -> None:
        require(arrival.method == "POST", 405, "POST only")
        known = self.token is None or arrival.authorization == f"Bearer {self.token}"
        require(known, 401, "the bearer token is missing or wrong")
        version = arrival.headers.get("braze-currents-version")
        require(version == "1", 400, f"Braze-Currents-Version: 1 is required; found {version}")
