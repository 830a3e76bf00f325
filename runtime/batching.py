"""When a lane's fragments are a batch, and which batches of them may leave."""

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from runtime.connectors import Config, ConnectorEntry
from runtime.delivery import hold_lane_of, obstacle_of
from runtime.hold.suspensions import Suspensions
from runtime.receipts import Receipts
from runtime.token_bucket import TokenBucket, lane_share
from schemas.batch import Batch, merge_batches
from schemas.lane import Lane

LARGE_BYTES = 8_000_000
"""Of a batch for the hold, and of what may wait for a token."""
LARGE_WINDOW_SECONDS = 60.0
HOLD_WINDOWS = 6
"""What is bound for the hold is gathered for so many batch windows: for the large one by default, and
for less where a connector is asked to be quick."""
LOOK_SECONDS = 5.0
"""So often a lane looks whether to flush early: for the receipts' sake, or because it resumes."""
RATE_LIMIT = "rate_limit"
"""The reason for which a batch is held that could not wait for its token."""


@dataclass(frozen=True)
class Target:
    """What makes a lane's batch full, and the pace at which its batches leave."""

    entry: ConnectorEntry | None
    rate: float | None
    for_hold: bool
    """Whether the batch will not be sent but held: then it is large, and at no pace."""

    @property
    def max_count(self) -> int:
        return sys.maxsize if self.for_hold or not self.entry else self.entry.sink.max_events

    @property
    def max_bytes(self) -> int:
        if self.for_hold or not self.entry:
            return LARGE_BYTES
        return self.entry.sink.max_request_bytes

    @property
    def most_bytes(self) -> int:
        """What a lane gathers at the most."""
        return max(LARGE_BYTES, self.max_bytes)

    @property
    def window_seconds(self) -> float:
        if not self.entry:
            return LARGE_WINDOW_SECONDS
        window_seconds = self.entry.sink.batch_window_seconds
        if not self.for_hold:
            return window_seconds
        return min(max(HOLD_WINDOWS * window_seconds, LOOK_SECONDS), LARGE_WINDOW_SECONDS)

    def is_filled_by(self, count: int, size: int) -> bool:
        return count >= self.max_count or size >= self.max_bytes

    def is_pressed(self, receipts: Receipts) -> bool:
        """Whether unacknowledged messages are so many that the lane must not wait.

        One that is bound for the hold gives way first, so that others can fill their batches.
        """
        return receipts.is_filling if self.for_hold else receipts.is_pressed

    def units(self, batch: Batch) -> int:
        """What it costs to send the batch."""
        return self.entry.sink.rate_units(batch.events) if self.entry else 0


def target_of(key: str, config: Config, suspensions: Suspensions) -> Target:
    """The target of a lane as things are now."""
    lane = Lane.of(key)
    entry = config.connectors.get(lane.connector)
    if entry is None or obstacle_of(entry) is not None:
        return Target(entry, None, for_hold=True)
    state = suspensions.state_of(hold_lane_of(lane, entry))
    if state == "suspended":
        return Target(entry, None, for_hold=True)
    return Target(entry, lane_share(entry, state == "resuming"), for_hold=False)


class Waiting(msgspec.Struct, array_like=True, frozen=True):
    """What a lane has in its bag; times in seconds since the epoch."""

    version: int
    count: int
    size: int
    since: float
    for_hold: bool
    """What its target was when it was last looked at."""
    look_at: float = math.inf
    """When its timer fires; infinite where none is set."""

    def with_fragment(self, fragment: Batch) -> "Waiting":
        return msgspec.structs.replace(
            self, count=self.count + fragment.count, size=self.size + fragment.size
        )

    def with_only(self, rest: Sequence[Batch]) -> "Waiting":
        return msgspec.structs.replace(
            self,
            count=sum(fragment.count for fragment in rest),
            size=sum(fragment.size for fragment in rest),
        )

    def seen(self, target: Target, now: float, look_at: float) -> "Waiting":
        """The same when it has been looked at, and will be again: then, or before."""
        return msgspec.structs.replace(
            self,
            since=min(self.since, now),
            for_hold=target.for_hold,
            look_at=min(look_at, self.look_at),
        )

    def is_due(self, target: Target, now: float) -> bool:
        """Whether it is to leave, if its pace allows."""
        return target.is_filled_by(self.count, self.size) or now >= self.due_at(target, now)

    def due_at(self, target: Target, now: float) -> float:
        """When its window is over: at once, if the lane has resumed while it was gathered."""
        if self.for_hold and not target.for_hold:
            return now
        return min(self.since, now) + target.window_seconds  # the clock may have been put back


VERSION = 1

encode_waiting = msgspec.msgpack.Encoder().encode
decode_waiting = msgspec.msgpack.Decoder(Waiting).decode


def nothing_yet(target: Target, now: float) -> Waiting:
    """What a lane has that begins to gather."""
    return Waiting(VERSION, 0, 0, now, target.for_hold)


@dataclass(frozen=True)
class Flushed:
    """What leaves of a lane, what stays for want of tokens, and the bucket after it."""

    batches: Sequence[Batch]
    rest: Sequence[Batch]
    bucket: TokenBucket | None


def flush(
    fragments: Sequence[Batch], target: Target, bucket: TokenBucket | None, at_once: bool
) -> Flushed:
    """Let batches leave while there are tokens; where all has to leave `at_once`, the rest is held.

    Without a bucket all of it is one batch. With one, a batch is no larger than what makes it full:
    a long queue does not go out in one burst.
    """
    if bucket is None:
        return Flushed([merge_batches(fragments)], (), None)
    batches: list[Batch] = []
    rest: list[Batch] = []
    for run in _runs(fragments, target):
        if not bucket.has_token:
            rest += run
            continue
        batch = merge_batches(run)
        bucket = bucket.paid(target.units(batch))
        batches.append(batch)
    if rest and at_once:
        held = msgspec.structs.replace(merge_batches(rest), hold_reason=RATE_LIMIT)
        return Flushed([*batches, held], (), bucket)
    return Flushed(batches, rest, bucket)


def next_look(
    waiting: Waiting, target: Target, bucket: TokenBucket | None, now: float, hurries: bool
) -> float:
    """When to look at what waits, at the latest: for a token, where it waits for one.

    Often where it `hurries`, for receipts wait; and where it is bound for the hold, for it may
    resume.
    """
    if bucket is not None:
        return min(bucket.token_at, now + LOOK_SECONDS)
    due_at = waiting.due_at(target, now)
    return min(due_at, now + LOOK_SECONDS) if hurries or target.for_hold else due_at


def _runs(fragments: Iterable[Batch], target: Target) -> Iterator[list[Batch]]:
    """Fragments in order, in runs that are full, and one of what is left."""
    run: list[Batch] = []
    count = size = 0
    for fragment in fragments:
        run.append(fragment)
        count, size = count + fragment.count, size + fragment.size
        if target.is_filled_by(count, size):
            yield run
            run, count, size = [], 0, 0
    if run:
        yield run
