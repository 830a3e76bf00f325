"""BatchByLane: fragments of a lane wait until they are a batch, or the lane's window is over."""

import time
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
from apache_beam.transforms.window import GlobalWindow

from runtime.worker import Worker, WorkerSettings, worker_of
from schemas.batch import decode_batch, encode_batch, merge_batches
from schemas.lane import Lane
from transforms.engine import Engine

_LOOK_AGAIN_SECONDS = 5.0
"""While messages wait for their acknowledgement, a lane looks this often whether to flush early."""

LaneBytes = tuple[str, bytes]


@dataclass
class BatchByLane(beam.PTransform[PCollection[LaneBytes], PCollection[LaneBytes]]):
    """(lane, fragment) to (lane, batch); in a bounded run fragments are batches already."""

    settings: WorkerSettings
    engine: Engine

    def expand(self, fragments: PCollection[LaneBytes]) -> PCollection[LaneBytes]:
        if self.engine is Engine.BOUNDED:
            return fragments
        return fragments | "Gather" >> beam.ParDo(_BatchFn(self.settings))


class _Waiting(msgspec.Struct, array_like=True, frozen=True):
    """What a lane has in its bag, and when it is flushed (seconds since the epoch)."""

    version: int
    count: int
    size: int
    due: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Waiting).decode
_END_OF_INPUT = GlobalWindow().end


@beam.typehints.with_input_types(tuple[str, bytes])
@beam.typehints.with_output_types(tuple[str, bytes])
class _BatchFn(beam.DoFn):
    BAG = BagStateSpec("fragments", BytesCoder())
    WAITING = ReadModifyWriteStateSpec("waiting", BytesCoder())
    WINDOW = TimerSpec("window", TimeDomain.REAL_TIME)
    DRAIN = TimerSpec("drain", TimeDomain.WATERMARK)

    def __init__(self, settings: WorkerSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock

    def setup(self) -> None:
        self._worker: Worker = worker_of(self._settings)

    def process(
        self,
        element: LaneBytes,
        bag: Any = beam.DoFn.StateParam(BAG),
        waiting: Any = beam.DoFn.StateParam(WAITING),
        window: Any = beam.DoFn.TimerParam(WINDOW),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> Iterator[LaneBytes]:
        key, encoded = element
        fragment = decode_batch(encoded)
        before = _read(waiting)
        limits = self._limits_of(key)
        count = (before.count if before else 0) + fragment.count
        size = (before.size if before else 0) + len(fragment.lines)
        due = before.due if before else self._clock() + limits.window_seconds
        if count >= limits.count or size >= limits.size or self._worker.receipts.is_pressed:
            bag.add(encoded)
            yield key, _flush(bag, waiting)
            if before:
                window.clear()
                drain.clear()
            return
        bag.add(encoded)
        waiting.write(_encode(_Waiting(1, count, size, due)))
        if not before:
            window.set(self._look_at(due, bool(fragment.tokens)))
            drain.set(_END_OF_INPUT)

    @on_timer(WINDOW)
    def window_is_over(
        self,
        key: Any = beam.DoFn.KeyParam,
        bag: Any = beam.DoFn.StateParam(BAG),
        waiting: Any = beam.DoFn.StateParam(WAITING),
        window: Any = beam.DoFn.TimerParam(WINDOW),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> Iterator[LaneBytes]:
        found = _read(waiting)
        if found is None:
            return
        if self._clock() < found.due and not self._worker.receipts.is_pressed:
            window.set(self._look_at(found.due, has_tokens=True))
            return
        yield key, _flush(bag, waiting)
        drain.clear()

    @on_timer(DRAIN)
    def input_has_ended(
        self,
        key: Any = beam.DoFn.KeyParam,
        bag: Any = beam.DoFn.StateParam(BAG),
        waiting: Any = beam.DoFn.StateParam(WAITING),
        window: Any = beam.DoFn.TimerParam(WINDOW),
    ) -> Iterator[LaneBytes]:
        if _read(waiting) is not None:
            yield key, _flush(bag, waiting)
        window.clear()

    def _look_at(self, due: float, has_tokens: bool) -> float:
        return min(due, self._clock() + _LOOK_AGAIN_SECONDS) if has_tokens else due

    def _limits_of(self, key: str) -> "_Limits":
        entry = self._worker.config.current().connectors.get(Lane.of(key).connector)
        if entry is None:  # removed meanwhile: on it goes, to the hold
            return _Limits(0, 0, 0)
        sink = entry.sink
        return _Limits(sink.max_events, sink.max_request_bytes, sink.batch_window_seconds)


@dataclass(frozen=True)
class _Limits:
    """What makes a lane's batch full."""

    count: int
    size: int
    window_seconds: float


def _read(waiting: Any) -> _Waiting | None:
    encoded = waiting.read()
    return _decode(encoded) if encoded else None


def _flush(bag: Any, waiting: Any) -> bytes:
    batch = merge_batches(map(decode_batch, bag.read()))
    bag.clear()
    waiting.clear()
    return encode_batch(batch)
