"""GatherPulls: the few messages of each of Dataflow's bundles become pulls of a megabyte.

Routing copies an event to each of its connectors. Were it done bundle by bundle, each event would
cross the shuffle once for each connector, nearly alone; so messages are shuffled once, before, and
what a lane gets then are fragments of hundreds of events. The engine acknowledges what it has read
when it has committed what is gathered here.
"""

import random
from collections.abc import Callable, Iterable, Iterator
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
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from schemas.pull import Pull, decode_pull, encode_pull, merge_pulls
from transforms.engine import END_OF_INPUT, Engine
from transforms.signatures import with_known_signatures

SHARDS = 16
"""Keys that messages are spread over. More of them share the work of more workers, and each gathers
less in its second."""
TARGET_BYTES = 1_000_000
WINDOW_SECONDS = 1.0


@dataclass
class GatherPulls(beam.PTransform[PCollection[bytes], PCollection[bytes]]):
    """Small pulls, encoded, to large ones."""

    engine: Engine
    clock: Callable[[], float] | None = None
    """What timers go by, where it is not the engine's own."""

    def expand(self, pulls: PCollection[bytes]) -> PCollection[bytes]:
        return (
            pulls
            | "Spread" >> beam.ParDo(_SpreadFn())
            | "Gather" >> beam.ParDo(_GatherPullsFn(self.clock or self.engine.now))
        )


@with_known_signatures
@beam.typehints.with_input_types(bytes)
@beam.typehints.with_output_types(tuple[str, bytes])
class _SpreadFn(beam.DoFn):
    """What a bundle has read crosses the shuffle as one element."""

    def start_bundle(self) -> None:
        self._pulls: list[Pull] = []
        self._size = 0

    def process(self, encoded: bytes) -> Iterator[tuple[str, bytes]]:
        self._pulls.append(decode_pull(encoded))
        self._size += len(encoded)
        if self._size >= TARGET_BYTES:
            for pull in self._take():
                yield _shard(), encode_pull(pull)

    def finish_bundle(self) -> Iterable[WindowedValue]:
        for pull in self._take():
            timestamp = Timestamp(micros=pull.oldest_ms * 1_000)
            yield WindowedValue((_shard(), encode_pull(pull)), timestamp, [GlobalWindow()])

    def _take(self) -> list[Pull]:
        merged = merge_pulls(self._pulls)
        self._pulls, self._size = [], 0
        return merged


def _shard() -> str:
    return f"pulls-{random.randrange(SHARDS)}"  # noqa: S311 - to spread work, no secret


class _Gathered(msgspec.Struct, array_like=True, frozen=True):
    version: int
    size: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Gathered).decode


@with_known_signatures
@beam.typehints.with_input_types(tuple[str, bytes])
@beam.typehints.with_output_types(bytes)
class _GatherPullsFn(beam.DoFn):
    BAG = BagStateSpec("pulls", BytesCoder())
    GATHERED = ReadModifyWriteStateSpec("gathered", BytesCoder())
    WINDOW = TimerSpec("window", TimeDomain.REAL_TIME)
    DRAIN = TimerSpec("drain", TimeDomain.WATERMARK)

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def process(
        self,
        element: tuple[str, bytes],
        bag: Any = beam.DoFn.StateParam(BAG),
        gathered: Any = beam.DoFn.StateParam(GATHERED),
        window: Any = beam.DoFn.TimerParam(WINDOW),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> Iterator[bytes]:
        _, encoded = element
        before = gathered.read()
        size = len(encoded) + (_decode(before).size if before else 0)
        bag.add(encoded)
        if size >= TARGET_BYTES:
            yield from _let_out(bag, gathered)
            window.clear()
            drain.clear()
            return
        gathered.write(_encode(_Gathered(1, size)))
        if not before:
            window.set(self._clock() + WINDOW_SECONDS)
            drain.set(END_OF_INPUT)

    @on_timer(WINDOW)
    def window_is_over(
        self,
        bag: Any = beam.DoFn.StateParam(BAG),
        gathered: Any = beam.DoFn.StateParam(GATHERED),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> Iterator[bytes]:
        yield from _let_out(bag, gathered)
        drain.clear()

    @on_timer(DRAIN)
    def input_has_ended(
        self,
        bag: Any = beam.DoFn.StateParam(BAG),
        gathered: Any = beam.DoFn.StateParam(GATHERED),
        window: Any = beam.DoFn.TimerParam(WINDOW),
    ) -> Iterator[bytes]:
        window.clear()
        yield from _let_out(bag, gathered)


def _let_out(bag: Any, gathered: Any) -> Iterator[bytes]:
    for pull in merge_pulls(decode_pull(encoded) for encoded in bag.read()):
        yield encode_pull(pull)
    bag.clear()
    gathered.clear()
