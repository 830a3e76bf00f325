"""Filling requests under limits: check before adding, envelope weighed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Envelope:
    """The bytes of a request that are not events."""

    prefix: bytes
    suffix: bytes
    separator: bytes = b","

    def wrap(self, parts: Iterable[bytes]) -> bytes:
        return self.prefix + self.separator.join(parts) + self.suffix

    def weigh(self, body_bytes: int, count: int) -> int:
        """The size of a request of `count` parts that weigh `body_bytes` together."""
        separators = len(self.separator) * max(0, count - 1)
        return len(self.prefix) + body_bytes + separators + len(self.suffix)


def fill(
    sizes: Iterable[int], envelope: Envelope, max_bytes: int, max_count: int
) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of runs of parts that fit a request each, in order.

    A part that fits no request by itself must not be among `sizes`: see `fits_alone`.
    """
    start, end, body_bytes = 0, 0, 0
    for size in sizes:
        count = end - start
        full = count == max_count or envelope.weigh(body_bytes + size, count + 1) > max_bytes
        if count and full:
            yield start, end
            start, body_bytes = end, 0
        body_bytes += size
        end += 1
    if end > start:
        yield start, end


def fits_alone(size: int, envelope: Envelope, max_bytes: int) -> bool:
    """Whether a part of `size` bytes fits a request of its own."""
    return envelope.weigh(size, 1) <= max_bytes
