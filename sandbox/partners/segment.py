"""Segment's stand-in: `/v1/batch` of the HTTP API, which answers 200 to nearly everything.

Source: Segment, "HTTP API source" and "Spec: Common fields"; glossary of Braze, Segment tabs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from sandbox.partners.site import (
    Arrival,
    Judgement,
    NonEmpty,
    Reply,
    Site,
    has_shape,
    require,
    require_shape,
)

# Whether a KB is 1,000 or 1,024 bytes is not published; the smaller is the stricter.
MAX_BODY_BYTES = 500_000
MAX_ITEM_BYTES = 32_000
MAX_ITEMS = 2_500

_SUCCESS = Reply(200, b'{"success": true}', {"Content-Type": "application/json"})
_ISO_8601 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")


class _Context(msgspec.Struct):
    device: dict[str, Any]
    traits: dict[str, Any]


class _Track(msgspec.Struct, rename="camel"):
    type: Literal["track"]
    event: NonEmpty
    message_id: Annotated[str, msgspec.Meta(min_length=1, max_length=99)]
    timestamp: str
    context: _Context
    user_id: str | None = None
    anonymous_id: str | None = None
    properties: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not self.user_id and not self.anonymous_id:
            raise ValueError("neither userId nor anonymousId")
        if not _is_iso_8601(self.timestamp):
            raise ValueError(f"no ISO-8601 timestamp: {self.timestamp}")


class _Body(msgspec.Struct, rename="camel"):
    batch: list[Any]
    write_key: str | None = None


@dataclass(frozen=True)
class SegmentSite(Site):
    """Drops without a word: everything for a wrong key or too many items, else single items.

    Repeated message ids are all accepted, so that duplicates stay visible.
    """

    kind = "segment"
    id_path = ("batch", "messageId")

    write_key: str = field(repr=False)

    @property
    def credentials(self) -> Sequence[str]:
        return [self.write_key]

    def examine(self, arrival: Arrival) -> Judgement:
        require(arrival.method == "POST", 405, "POST only")
        require(arrival.path == "/v1/batch", 404, "no such path")
        require(arrival.media_type == "application/json", 400, "Content-Type: application/json")
        require(len(arrival.body) <= MAX_BODY_BYTES, 400, f"over {MAX_BODY_BYTES} bytes")
        body = require_shape(arrival.document, _Body)
        largest = max((len(msgspec.json.encode(item)) for item in body.batch), default=0)
        require(largest <= MAX_ITEM_BYTES, 400, f"an item is over {MAX_ITEM_BYTES} bytes")
        accepted = self._accepted(body, arrival)
        return Judgement(_SUCCESS, accepted, refused=bool(body.batch) and not accepted)

    def _accepted(self, body: _Body, arrival: Arrival) -> list[str]:
        # The colon is part of the scheme: the key is the user, the password is empty.
        known = arrival.basic == (self.write_key, "") or body.write_key == self.write_key
        if not known or len(body.batch) > MAX_ITEMS:
            return []
        return [item["messageId"] for item in body.batch if has_shape(item, _Track)]


def _is_iso_8601(text: str) -> bool:
    match = _ISO_8601.fullmatch(text)
    try:
        return bool(match and datetime.fromisoformat(match[1]))
    except ValueError:
        return False
