"""Fragments and batches: events of one lane on their way to it, as bytes with a small header.

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


class Batch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Events of one lane; `lines` holds one JSON object per line, times are ms since the epoch."""

    version: int
    count: int
    oldest_ms: int
    newest_ms: int
    tokens: list[Token]
    lines: bytes
    replays: int = 0
    """How often its events were replayed from dead letters; the same for all of them."""
    hold_reason: str = ""
    """Why it goes to the hold without a try; empty for what is to be delivered."""

    @property
    def events(self) -> list[bytes]:
        return self.lines.split(b"\n")


VERSION = 1

encode_batch = msgspec.msgpack.Encoder().encode
decode_batch = msgspec.msgpack.Decoder(Batch).decode


def make_batch(
    events: Sequence[bytes],
    oldest_ms: int,
    newest_ms: int,
    tokens: Sequence[Token] = (),
    replays: int = 0,
) -> Batch:
    """Gather events, none of which holds a line break, into a batch."""
    lines = b"\n".join(events)
    return Batch(VERSION, len(events), oldest_ms, newest_ms, list(tokens), lines, replays)


def merge_batches(batches: Iterable[Batch]) -> Batch:
    """One batch of the events of several (at least one), in order."""
    parts = list(batches)
    if len(parts) == 1:
        return parts[0]
    return Batch(
        VERSION,
        sum(part.count for part in parts),
        min(part.oldest_ms for part in parts),
        max(part.newest_ms for part in parts),
        [token for part in parts for token in part.tokens],
        b"\n".join(part.lines for part in parts),
        max(part.replays for part in parts),
    )
