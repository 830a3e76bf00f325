"""Treasure Data's stand-in: the Postback API, which stores one row for each request.

Source: Treasure Data, "Postback API" (legacy) and "Postback v2".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from sandbox.partners.site import Arrival, Judgement, Reply, Site, require

MAX_V2_BODY_BYTES = 1_048_064

_PATH = re.compile(r"/postback/v3/event/[A-Za-z0-9_]+/[A-Za-z0-9_]+")


@dataclass(frozen=True)
class TreasureDataSite(Site):
    """Answers 200 to a wrong key too, for the partner checks keys later; such a row is not kept.

    A missing key is answered like a wrong one: when the documented 403 is sent, nobody publishes.
    """

    kind = "treasure_data"
    id_path = ("events", "id")

    write_key: str = field(repr=False)
    version: Literal["legacy", "v2"] = "legacy"

    @property
    def credentials(self) -> Sequence[str]:
        return [self.write_key]

    def examine(self, arrival: Arrival) -> Judgement:
        require(arrival.method == "POST", 405, "POST only")
        require(bool(_PATH.fullmatch(arrival.path)), 400, "/postback/v3/event/{database}/{table}")
        require(arrival.media_type == "application/json", 400, "Content-Type: application/json")
        fits = self.version == "legacy" or len(arrival.body) <= MAX_V2_BODY_BYTES
        require(fits, 413, f"over {MAX_V2_BODY_BYTES} bytes")
        require(isinstance(arrival.document, dict), 400, "the body is no JSON object")
        if self._key(arrival) != self.write_key:
            return Judgement(Reply(200), refused=True)
        return Judgement(Reply(200), self.event_ids(arrival), row=_row(arrival.body))

    def _key(self, arrival: Arrival) -> str | None:
        header = arrival.headers.get("x-td-write-key")
        if self.version == "legacy":
            return arrival.query.get("td_write_key") if header is None else header
        scheme, _, key = (arrival.authorization or "").partition(" ")
        return key if scheme == "TD1" else header


def _row(body: bytes) -> dict[str, str]:
    """Every top-level field is a column, and every value a text."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return {name: _text(bytes(value)) for name, value in fields.items()}


def _text(value: bytes) -> str:
    return msgspec.json.decode(value, type=str) if value.startswith(b'"') else value.decode()
