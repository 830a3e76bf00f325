"""The events of all benchmarks: of sandbox.samples, 935 B each on average, and what is due of them.

What a partner is due is known beforehand: how many events, and a sum over their ids that does not
depend on their order. So no contender of a benchmark can be fast by leaving something out.
"""

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.shapes import plan_of
from sandbox.samples import sample_events
from schemas.event import decode_header

APP_GROUPS = ("5f1e7c0a9b3d4e6f8a2c1b0d", "60a2d8e4c7b1f35290ed46ab")
"""As long as the platform's own: with them an event and its line break are 935 B on average."""


class Due(NamedTuple):
    """What a partner is to get: a number of events, and the sum of their ids' checksums."""

    events: int
    ids: int


def benchmark_events(count: int, seed: int = 1) -> Iterator[bytes]:
    """Events of users who all have an `external_user_id`, so that all partners get most of them."""
    return sample_events(count, seed, app_groups=APP_GROUPS, anonymous_share=0)


def sum_of_ids(ids: Iterable[str]) -> int:
    """The same in any order; the partners' receiver counts it too."""
    return sum(zlib.crc32(event_id.encode()) for event_id in ids)


def write_events(path: Path, count: int, tick: Callable[[], object] = lambda: None) -> None:
    """Write events, one a line; `tick` is called after each thousand."""
    with path.open("wb") as file:
        for number, event in enumerate(benchmark_events(count), 1):
            file.write(event + b"\n")
            if number % 1_000 == 0:
                tick()


def due_of(path: Path) -> Mapping[str, Due]:
    """What of a file's events a connector of each kind is due."""
    counts = dict.fromkeys(("postback", "segment", "mparticle"), 0)
    sums = dict(counts)
    with path.open("rb") as lines:
        for line in lines:
            header = decode_header(line)
            checksum = sum_of_ids([header.id])
            for kind in kinds_of(header.event_type):
                counts[kind] += 1
                sums[kind] += checksum
    return {kind: Due(counts[kind], sums[kind]) for kind in counts}


def kinds_of(event_type: str) -> Iterator[str]:
    """The kinds of connectors that get such events."""
    plan = plan_of(event_type)
    yield "postback"
    if plan.track_name:
        yield "segment"
    if plan.event_name:
        yield "mparticle"


class Timed:
    """An event that says in its id when it was published, for the receiver to read."""

    def __init__(self, event: bytes, number: int) -> None:
        header = decode_header(event)
        self.kinds = tuple(kinds_of(header.event_type))
        self.app_group = header.app_group_id or ""
        self.published_ns = 0
        """When it was last published, on the monotonic clock."""
        self._number = number
        self._before, _, self._after = event.partition(header.id.encode())

    def published_now(self) -> bytes:
        """The event, published at this moment; its id is as long as it was."""
        self.published_ns = time.monotonic_ns()
        event_id = b"at-%020d-%012d" % (self.published_ns, self._number)
        return self._before + event_id + self._after
