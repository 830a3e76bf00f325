"""What the hold knows of a lane that has something held: its breaker, and when it is tried again.

Pure: a `Watch` is a value in the engine's state, and what happens makes a new one of it.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from runtime.answers import MOST_ASKED_SECONDS
from runtime.hold.objects import Blame, HeldBatch

REPEATED = 2
"""So many failures in a row suspend a lane."""
FIRST_TRY_MS = 5_000
"""What failed once is tried again within this time, before the lane is suspended for it."""
MAX_REJECTED = 100
"""So many rejected events are buried with none accepted in between; then it is the lane's fault."""
REJECTS_EVERYTHING = "rejects_everything"
MOST_ASKED_MS = int(MOST_ASKED_SECONDS * 1_000)
"""Also of what was held with a later time in it: an odd one must not strand a lane for years."""


class Watch(msgspec.Struct, array_like=True, frozen=True):
    """The state of a lane of the hold; times in ms since the epoch."""

    version: int
    state: Literal["holding", "suspended", "resuming"]
    reason: str
    status: int | None
    answer: str
    since_ms: int
    failures: int
    """In a row."""
    next_try_ms: int
    rejected: int = 0
    """Events that were buried as rejected since one was accepted."""
    failed_ms: int = 0
    """When it last failed."""


VERSION = 1

encode_watch = msgspec.msgpack.Encoder().encode
decode_watch = msgspec.msgpack.Decoder(Watch).decode


@dataclass(frozen=True)
class ProbePace:
    """How long a suspended lane waits for its next probe."""

    min_ms: int
    max_ms: int
    between: Callable[[float, float], float] = random.uniform

    def wait_ms(self, failures: int) -> int:
        """Somewhere between `min_ms` and a bound that doubles with each failure (full jitter)."""
        bound = min(self.max_ms, self.min_ms * 2 ** min(failures, 30))
        return int(self.between(min(self.min_ms, bound), bound))

    def soon_ms(self) -> int:
        """The wait for the next try of what failed once."""
        return int(self.between(0, min(FIRST_TRY_MS, self.min_ms)))


class Failure(msgspec.Struct, array_like=True, frozen=True):
    """Why a try did not deliver, or was not made."""

    reason: str
    blame: Blame
    status: int | None = None
    answer: str = ""
    retry_at_ms: int = 0


encode_failure = msgspec.msgpack.Encoder().encode
decode_failure = msgspec.msgpack.Decoder(Failure).decode


def first_watch(now_ms: int, reason: str = "adopted") -> Watch:
    """Of a lane that has something held, of which nothing else is known: it is tried at once."""
    return Watch(VERSION, "holding", reason, None, "", now_ms, 0, now_ms)


def noted(watch: Watch | None, failure: Failure, now_ms: int, pace: ProbePace) -> Watch:
    """The watch when undelivered batches have been written to the lane's queue."""
    if watch is None:
        next_try_ms = now_ms + pace.soon_ms()
        watch = Watch(VERSION, "holding", failure.reason, None, "", now_ms, 0, next_try_ms)
    if watch.state == "suspended" or failure.blame == "none":
        return watch
    if failure.blame == "events":
        return msgspec.structs.replace(watch, reason=failure.reason)
    return failed(watch, failure, now_ms, pace)


def failed(watch: Watch, failure: Failure, now_ms: int, pace: ProbePace) -> Watch:
    """The watch when a batch or a probe has failed."""
    failures = watch.failures + 1
    suspends = failure.blame == "lane" or watch.state == "suspended" or failures >= REPEATED
    if suspends:
        state: Literal["holding", "suspended"] = "suspended"
        wait_ms = pace.wait_ms(failures - 1)
    else:
        state = "holding"
        wait_ms = pace.soon_ms()
    return msgspec.structs.replace(
        watch,
        state=state,
        reason=failure.reason,
        status=failure.status,
        answer=failure.answer,
        since_ms=watch.since_ms if watch.state == state else now_ms,
        failed_ms=now_ms,
        failures=failures,
        next_try_ms=max(now_ms + wait_ms, min(failure.retry_at_ms, now_ms + MOST_ASKED_MS)),
    )


def accepted(watch: Watch, now_ms: int) -> Watch:
    """The watch when the partner has taken something that was held."""
    since_ms = watch.since_ms if watch.state == "resuming" else now_ms
    return msgspec.structs.replace(
        watch, state="resuming", since_ms=since_ms, failures=0, next_try_ms=now_ms, rejected=0
    )


def rejected(watch: Watch, count: int, now_ms: int) -> Watch:
    """The watch when events were buried as rejected, and none was accepted since."""
    return msgspec.structs.replace(watch, rejected=watch.rejected + count, next_try_ms=now_ms)


def is_due(watch: Watch, now_ms: int) -> bool:
    """Whether it is time for a try; also when the clock was put back, for it may be far off then."""
    return now_ms >= watch.next_try_ms or now_ms < watch.failed_ms


def worst_of(batches: Sequence[HeldBatch]) -> Failure:
    """What the batches say of their lane."""
    order: tuple[Blame, ...] = ("lane", "try", "events", "none")
    worst = min(batches, key=lambda batch: order.index(batch.blame))
    retry_at_ms = max(batch.retry_at_ms for batch in batches)
    return Failure(worst.reason, worst.blame, worst.status, worst.answer, retry_at_ms)
