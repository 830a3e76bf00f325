"""Requests that are lists of items, each of them encoded from one event."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sinks.fields import Unencodable
from sinks.packing import Envelope, fill
from sinks.sink import HttpRequest, Packed, Unpackable

EncodedT = TypeVar("EncodedT")


@dataclass(frozen=True)
class ItemLimits:
    """What one item and one request may weigh, and how many items a request may hold."""

    max_item_bytes: int
    max_request_bytes: int
    max_items: int


def pack_items(
    events: Sequence[bytes],
    encode: Callable[[bytes], bytes],
    envelope: Envelope,
    limits: ItemLimits,
    url: str,
    headers: Mapping[str, str],
) -> Packed:
    """Encode each event once and put the items into as few requests as the limits allow, in order.

    `encode` raises `Unencodable` for what cannot be expressed.
    """
    room = limits.max_request_bytes - envelope.weigh(0, 1)
    most = min(limits.max_item_bytes, room)
    fitting, items, unpackable = encode_each(events, encode, len, most, "encoded")
    runs = fill(map(len, items), envelope, limits.max_request_bytes, limits.max_items)
    return Packed(
        [
            HttpRequest("POST", url, headers, envelope.wrap(items[start:end]), fitting[start:end])
            for start, end in runs
        ],
        unpackable,
    )


def encode_each(
    events: Sequence[bytes],
    encode: Callable[[bytes], EncodedT],
    weigh: Callable[[EncodedT], int],
    most: int,
    form: str,
) -> tuple[list[bytes], list[EncodedT], list[Unpackable]]:
    """The events that can be sent, what each of them becomes, and those that cannot.

    `encode` raises `Unencodable` for what cannot be expressed; what weighs more than `most` bytes is too
    large, and `form` says as what.
    """
    fitting: list[bytes] = []
    encoded: list[EncodedT] = []
    unpackable: list[Unpackable] = []
    for event in events:
        try:
            made = encode(event)
        except Unencodable as error:
            unpackable.append(Unpackable(event, "unencodable", str(error)))
            continue
        size = weigh(made)
        if size > most:
            detail = f"{size} bytes {form}, at most {most} are taken"
            unpackable.append(Unpackable(event, "too_large", detail, size, most))
            continue
        fitting.append(event)
        encoded.append(made)
    return fitting, encoded, unpackable
