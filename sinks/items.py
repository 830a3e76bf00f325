"""Requests that are lists of items, each of them made of one event."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from sinks.fields import Unencodable, append_json
from sinks.packing import Envelope, cut
from sinks.sink import HttpRequest, Packed, Unpackable

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class ItemLimits:
    """What one item and one request may weigh, and how many items a request may hold."""

    max_item_bytes: int
    max_request_bytes: int
    max_items: int


class Items:
    """Items as JSON, one after the other, with a comma behind each; and what became none.

    Requests are cut out of this one text: thousands of items that are kept apart until they are joined
    take a fifth longer.
    """

    def __init__(self, most: int, form: str) -> None:
        """An item weighs `most` bytes at the most; `form` says as what."""
        self.events: list[bytes] = []
        """Of each item the event that it was made of."""
        self.unpackable: list[Unpackable] = []
        self.text = bytearray()
        self.ends = [0]
        """Where each item's comma ends, after where the first item begins."""
        self._most = most
        self._form = form

    def weights(self) -> list[int]:
        """What each item weighs, in bytes, without its comma."""
        return [end - begin - 1 for begin, end in pairwise(self.ends)]

    def add(self, event: bytes, make: Callable[[bytes], ItemT]) -> ItemT | None:
        """Add what an event becomes, which is returned; None for an event that cannot be sent.

        `make` raises `Unencodable` for what cannot be expressed.
        """
        begin = self.ends[-1]
        try:
            item = make(event)
            append_json(item, self.text)
        except Unencodable as error:
            self.unpackable.append(Unpackable(event, "unencodable", str(error)))
            return None
        size = len(self.text) - begin
        if size > self._most:
            del self.text[begin:]
            detail = f"{size} bytes {self._form}, at most {self._most} are taken"
            self.unpackable.append(Unpackable(event, "too_large", detail, size, self._most))
            return None
        self.text += b","
        self.ends.append(begin + size + 1)
        self.events.append(event)
        return item


def pack_items(
    events: Sequence[bytes],
    make: Callable[[bytes], object],
    envelope: Envelope,
    limits: ItemLimits,
    url: str,
    headers: Mapping[str, str],
) -> Packed:
    """Make an item of each event and put them into as few requests as the limits allow, in order.

    `make` raises `Unencodable` for what cannot be expressed.
    """
    room = limits.max_request_bytes - envelope.weigh(0, 1)
    items = Items(min(limits.max_item_bytes, room), "encoded")
    for event in events:
        items.add(event, make)
    view = memoryview(items.text)
    requests = []
    for start, end in cut(items.ends, envelope, limits.max_request_bytes, limits.max_items):
        body = envelope.wrap([view[items.ends[start] : items.ends[end] - 1]])
        requests.append(HttpRequest("POST", url, headers, body, items.events[start:end]))
    return Packed(requests, items.unpackable)
