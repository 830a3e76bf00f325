"""BatchByLane: fragments of a lane wait until they are a batch, and a batch until it has a token."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.coders import BytesCoder
from apache_beam.pvalue import PCollection
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import (
    BagStateSpec,
    ReadModifyWriteStateSpec,
    TimerSpec,
    on_timer,
)

from runtime.batching import (
    LOOK_SECONDS,
    Target,
    Waiting,
    decode_waiting,
    encode_waiting,
    flush,
    next_look,
    nothing_yet,
    target_of,
)
from runtime.token_bucket import TokenBucket, bucket_at, encode_bucket
from runtime.worker import Worker, WorkerSettings, worker_of
from schemas.batch import decode_batch, encode_batch
from transforms.engine import END_OF_INPUT, Engine
from transforms.lane_batches import LaneBatch
from transforms.signatures import with_known_signatures


@dataclass
class BatchByLane(beam.PTransform[PCollection[Any], PCollection[LaneBatch]]):
    """(lane, encoded fragment) to (lane, batch); in a bounded run fragments are batches already."""

    settings: WorkerSettings
    engine: Engine
    clock: Callable[[], float] | None = None
    """What timers go by, where it is not the engine's own."""

    def expand(self, fragments: PCollection[Any]) -> PCollection[LaneBatch]:
        if self.engine is Engine.BOUNDED:
            return fragments
        # Only DirectRunner acknowledges by receipts, which must not wait for a long window.
        hurries = self.engine is Engine.DIRECT
        return fragments | "Gather" >> beam.ParDo(
            _BatchFn(self.settings, hurries, self.clock or self.engine.now)
        )


@with_known_signatures
@beam.typehints.with_input_types(tuple[str, bytes])
@beam.typehints.with_output_types(LaneBatch)
class _BatchFn(beam.DoFn):
    BAG = BagStateSpec("fragments", BytesCoder())
    WAITING = ReadModifyWriteStateSpec("waiting", BytesCoder())
    BUCKET = ReadModifyWriteStateSpec("bucket", BytesCoder())
    WINDOW = TimerSpec("window", TimeDomain.REAL_TIME)
    DRAIN = TimerSpec("drain", TimeDomain.WATERMARK)

    def __init__(self, settings: WorkerSettings, hurries: bool, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._hurries = hurries
        self._clock = clock

    def setup(self) -> None:
        self._worker: Worker = worker_of(self._settings)

    def process(
        self,
        element: tuple[str, bytes],
        bag: Any = beam.DoFn.StateParam(BAG),
        waiting: Any = beam.DoFn.StateParam(WAITING),
        bucket: Any = beam.DoFn.StateParam(BUCKET),
        window: Any = beam.DoFn.TimerParam(WINDOW),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> Iterator[LaneBatch]:
        key, encoded = element
        lane = self._lane(key, _Kept(bag, waiting, bucket, window, drain))
        fragment = decode_batch(encoded)
        found = _read(waiting)
        if found and found.size + fragment.size > lane.target.most_bytes:
            yield from lane.let_out(found, at_once=True)
            found = None
        bag.add(encoded)
        gathered = found or nothing_yet(lane.target, lane.now)
        yield from self._look(lane, gathered.with_fragment(fragment))

    @on_timer(WINDOW)
    def look_after(
        self,
        key: Any = beam.DoFn.KeyParam,
        bag: Any = beam.DoFn.StateParam(BAG),
        waiting: Any = beam.DoFn.StateParam(WAITING),
        bucket: Any = beam.DoFn.StateParam(BUCKET),
        window: Any = beam.DoFn.TimerParam(WINDOW),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> Iterator[LaneBatch]:
        lane = self._lane(key, _Kept(bag, waiting, bucket, window, drain))
        found = _read(waiting)
        if found is None:
            lane.rest(lane.bucket())
        else:
            yield from self._look(lane, msgspec.structs.replace(found, look_at=math.inf))

    @on_timer(DRAIN)
    def input_has_ended(
        self,
        key: Any = beam.DoFn.KeyParam,
        bag: Any = beam.DoFn.StateParam(BAG),
        waiting: Any = beam.DoFn.StateParam(WAITING),
        bucket: Any = beam.DoFn.StateParam(BUCKET),
        window: Any = beam.DoFn.TimerParam(WINDOW),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> Iterator[LaneBatch]:
        kept = _Kept(bag, waiting, bucket, window, drain)
        found = _read(waiting)
        if found is not None:
            yield from self._lane(key, kept).let_out(found, at_once=True)
        kept.forget()

    def _lane(self, key: str, kept: "_Kept") -> "_Lane":
        worker = self._worker
        target = target_of(key, worker.config.current(), worker.suspensions)
        return _Lane(key, kept, target, self._clock(), self._hurries)

    def _look(self, lane: "_Lane", waiting: Waiting) -> Iterator[LaneBatch]:
        is_pressed = lane.target.is_pressed(self._worker.receipts)
        if is_pressed or waiting.is_due(lane.target, lane.now):
            yield from lane.let_out(waiting, at_once=is_pressed)
        else:
            lane.wait(waiting)


@dataclass(frozen=True)
class _Kept:
    """The state and the timers of one lane."""

    bag: Any
    waiting: Any
    bucket: Any
    window: Any
    drain: Any

    def forget(self) -> None:
        for kept in (self.bag, self.waiting, self.bucket, self.window, self.drain):
            kept.clear()


@dataclass(frozen=True)
class _Lane:
    """One lane at one moment."""

    key: str
    kept: _Kept
    target: Target
    now: float
    hurries: bool

    def let_out(self, waiting: Waiting, at_once: bool) -> Iterator[LaneBatch]:
        """Yield the batches that may leave; what stays, waits for its token."""
        kept, bucket = self.kept, self.bucket()
        if bucket is not None and not bucket.has_token and not at_once:
            self.wait(waiting, bucket)
            return
        fragments = [decode_batch(encoded) for encoded in kept.bag.read()]
        flushed = flush(fragments, self.target, bucket, at_once)
        for batch in flushed.batches:
            yield self.key, batch
        kept.bag.clear()
        for fragment in flushed.rest:
            kept.bag.add(encode_batch(fragment))
        if flushed.rest:
            self.wait(waiting.with_only(flushed.rest), flushed.bucket)
        else:
            self.rest(flushed.bucket)

    def wait(self, waiting: Waiting, bucket: TokenBucket | None = None) -> None:
        """Keep what waits, for its window to end or, where there is a bucket, for a token."""
        look_at = next_look(waiting, self.target, bucket, self.now, self.hurries)
        if look_at < waiting.look_at:
            self.kept.window.set(look_at)
            self.kept.drain.set(END_OF_INPUT)
        self.kept.waiting.write(encode_waiting(waiting.seen(self.target, self.now, look_at)))
        if bucket is not None:
            self.kept.bucket.write(encode_bucket(bucket))

    def rest(self, bucket: TokenBucket | None) -> None:
        """Nothing waits: leave nothing behind, or a bucket that is forgotten when it is full."""
        if bucket is None or bucket.is_full:
            self.kept.forget()
            return
        self.kept.waiting.clear()
        self.kept.bucket.write(encode_bucket(bucket))
        # Not as soon as it is full: the next fragment may be here before the timer is.
        self.kept.window.set(max(bucket.full_at, self.now + LOOK_SECONDS))
        self.kept.drain.set(END_OF_INPUT)

    def bucket(self) -> TokenBucket | None:
        """The lane's bucket as it is now, where its connector has a limit."""
        rate = self.target.rate
        return None if rate is None else bucket_at(self.kept.bucket.read(), rate, self.now)


def _read(waiting: Any) -> Waiting | None:
    encoded = waiting.read()
    return decode_waiting(encoded) if encoded else None
