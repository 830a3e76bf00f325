"""Fragments and batches: events of one lane on their way to it, with a small header.

A fragment was gathered within a bundle, a batch across bundles; both have the same shape. What
crosses a shuffle or lies in state is the encoded form, whose first item is its version.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec


class Token(NamedTuple):
    """One share of a pull: settled when the events it stands for have met their end."""

    receipt: int
    reading: int
    """How often the pull had been decoded before, for a bundle may be retried."""
    ordinal: str


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Events of one lane, none of which holds a line break; times are ms since the epoch."""

    oldest_ms: int
    newest_ms: int
    tokens: list[Token]
    events: list[bytes]
    size: int
    """What the events weigh as lines."""
    replays: int = 0
    """How often its events were replayed from dead letters; the same for all of them."""
    hold_reason: str = ""
    """Why it goes to the hold without a try; empty for what is to be delivered."""

    @property
    def count(self) -> int:
        return len(self.events)


class _Encoded(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The encoded form; `lines` holds one JSON object per line."""

    version: int
    count: int
    oldest_ms: int
    newest_ms: int
    tokens: list[Token]
    lines: bytes
    replays: int = 0
    hold_reason: str = ""


VERSION = 1

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Encoded).decode


def encode_batch(batch: Batch) -> bytes:
    """The batch as bytes, the same for the same batch."""
    return _encode(
        _Encoded(
            VERSION,
            batch.count,
            batch.oldest_ms,
            batch.newest_ms,
            batch.tokens,
            b"\n".join(batch.events),
            batch.replays,
            batch.hold_reason,
        )
    )


def decode_batch(encoded: bytes) -> Batch:
    """The batch that was encoded, by this version or an earlier one."""
    found = _decode(encoded)
    return Batch(
        found.oldest_ms,
        found.newest_ms,
        found.tokens,
        found.lines.split(b"\n"),
        len(found.lines),
        found.replays,
        found.hold_reason,
    )


def make_batch(
    events: Sequence[bytes],
    oldest_ms: int,
    newest_ms: int,
    tokens: Sequence[Token] = (),
    replays: int = 0,
) -> Batch:
    """Gather events, at least one, none of which holds a line break, into a batch."""
    size = sum(map(len, events)) + len(events) - 1
    return Batch(oldest_ms, newest_ms, list(tokens), list(events), size, replays)


def merge_batches(batches: Iterable[Batch]) -> Batch:
    """One batch of the events of several (at least one), in order."""
    parts = list(batches)
    if len(parts) == 1:
        return parts[0]
    return make_batch(
        [event for part in parts for event in part.events],
        min(part.oldest_ms for part in parts),
        max(part.newest_ms for part in parts),
        [token for part in parts for token in part.tokens],
        max(part.replays for part in parts),
    )
