"""Filling requests under limits: check before adding, envelope weighed."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from typing_extensions import Buffer


@dataclass(frozen=True, slots=True)
class Envelope:
    """The bytes of a request that are not events."""

    prefix: bytes
    suffix: bytes
    separator: bytes = b","

    def wrap(self, parts: Iterable[Buffer]) -> bytes:
        """The request; it is put together at once, for what is large costs most when it is copied."""
        pieces = list(parts)
        if len(pieces) < 2:
            return b"".join((self.prefix, *pieces, self.suffix))
        pieces[0] = b"".join((self.prefix, pieces[0]))
        pieces[-1] = b"".join((pieces[-1], self.suffix))
        return self.separator.join(pieces)

    def weigh(self, body_bytes: int, count: int) -> int:
        """The size of a request of `count` parts that weigh `body_bytes` together."""
        separators = len(self.separator) * max(0, count - 1)
        return len(self.prefix) + body_bytes + separators + len(self.suffix)


def fill(
    sizes: Iterable[int], envelope: Envelope, max_bytes: int, max_count: int
) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of runs of parts that fit a request each, in order.

    A part that fits no request (see `fits_alone`) becomes a run of its own.
    """
    separator = len(envelope.separator)
    ends = [0, *accumulate(size + separator for size in sizes)]
    return cut(ends, envelope, max_bytes, max_count)


def cut(
    ends: Sequence[int], envelope: Envelope, max_bytes: int, max_count: int
) -> Iterator[tuple[int, int]]:
    """The same for parts that lie one after the other already.

    `ends` are where each part ends with the separator behind it, after where the first begins.
    """
    room = max_bytes - envelope.weigh(0, 1) + len(envelope.separator)
    start, last = 0, len(ends) - 1
    while start < last:
        fitting = bisect_right(ends, ends[start] + room, start + 2) - 1
        end = min(fitting, start + max_count)
        yield start, end
        start = end


def fits_alone(size: int, envelope: Envelope, max_bytes: int) -> bool:
    """Whether a part of `size` bytes fits a request of its own."""
    return envelope.weigh(size, 1) <= max_bytes
