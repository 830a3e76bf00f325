"""DeliverBatches: batches go to their partners; what is left of them flows on.

A delivery error is never raised. On DirectRunner, which has one thread, a bundle does not wait for
its deliveries: they stay in the air and the lane's timer comes back for them. Elsewhere a bundle
waits for what it has sent, side by side; each delivery ends by its own deadlines.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import TimerSpec, on_timer
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from runtime.in_flight import MAX_BYTES_IN_FLIGHT, Flight, Landed
from runtime.ledger import Tally
from runtime.worker import Worker, WorkerSettings, worker_of
from schemas.batch import Token
from schemas.lane import Lane
from transforms.counting import ENTER_EVERY_SECONDS, enter
from transforms.engine import END_OF_INPUT, Engine
from transforms.hold_undelivered import UNDELIVERED
from transforms.lane_batches import LaneBatch
from transforms.signatures import with_known_signatures
from transforms.write_dead_letters import LETTERS

MAX_BATCHES_IN_FLIGHT = 256
MANY_BYTES_IN_FLIGHT = 8_000_000
"""From then on, whoever packs pauses for a moment after each batch: who takes the answers needs Python's
lock for each of them, and gets it every 5 ms otherwise."""
_BREATH_SECONDS = 0.001
_TICK_SECONDS = 0.05
_SLOW_TICK_SECONDS = 0.5
_ROOM_SECONDS = 0.2


@dataclass
class DeliverBatches(beam.PTransform[PCollection[LaneBatch], Any]):
    """(lane, batch) to `UNDELIVERED` (hold lane, batches) and `LETTERS` (stage, letters)."""

    settings: WorkerSettings
    engine: Engine

    def expand(self, batches: PCollection[LaneBatch]) -> Any:
        deliver = _DeliverByTimerFn if self.engine is Engine.DIRECT else _DeliverFn
        return batches | "Deliver" >> beam.ParDo(deliver(self.settings)).with_outputs(
            LETTERS, main=UNDELIVERED
        )


class _Books:
    """What a bundle's landed deliveries did, entered when the bundle is done."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._tokens: list[Token] = []

    def land(self, worker: Worker, flight: Flight) -> Iterator[Any]:
        """Yield what is left of a delivery."""
        landed: Landed = flight.land(worker.receipts)
        self._tally.of(flight.lane.connector).add(landed.tally)
        self._tokens.extend(landed.tokens)
        if landed.holding is not None:
            yield landed.hold_lane, landed.holding
        if landed.letters is not None:
            yield TaggedOutput(LETTERS, ("deliver", landed.letters))

    def enter(self, worker: Worker) -> None:
        enter(worker, self._tally)
        worker.receipts.settle(self._tokens)
        self._tally = Tally()
        self._tokens = []


@with_known_signatures
@beam.typehints.with_output_types(tuple[str, bytes], letters=tuple[str, bytes])
class _DeliverFn(beam.DoFn):
    """Sends all batches of a bundle side by side, and waits for them."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings

    def setup(self) -> None:
        self._worker: Worker = worker_of(self._settings)

    def start_bundle(self) -> None:
        self._flights: list[Flight] = []
        self._size = 0
        self._enter_at = time.monotonic() + ENTER_EVERY_SECONDS
        self._books = _Books()

    def process(self, element: LaneBatch) -> Iterator[Any]:
        key, batch = element
        worker = self._worker
        flight = worker.take_off(key, batch)
        self._flights.append(flight)
        self._size += flight.size
        while self._size > MAX_BYTES_IN_FLIGHT or len(self._flights) > MAX_BATCHES_IN_FLIGHT:
            self._flights[0].delivery.wait()
            yield from self._land_done()
        if self._size > MANY_BYTES_IN_FLIGHT:
            self._flights[0].delivery.wait(_BREATH_SECONDS)
            yield from self._land_done()
        if time.monotonic() >= self._enter_at:
            self._enter_at = time.monotonic() + ENTER_EVERY_SECONDS
            yield from self._land_done()
            self._books.enter(self._worker)

    def finish_bundle(self) -> Iterable[WindowedValue]:
        for flight in self._flights:
            flight.delivery.wait()
        for output in self._land_done():
            yield _windowed(output)
        self._books.enter(self._worker)

    def _land_done(self) -> Iterator[Any]:
        done = [flight for flight in self._flights if flight.delivery.done]
        self._flights = [flight for flight in self._flights if flight not in done]
        for flight in done:
            self._size -= flight.size
            yield from self._books.land(self._worker, flight)


@with_known_signatures
@beam.typehints.with_input_types(LaneBatch)
@beam.typehints.with_output_types(tuple[str, bytes], letters=tuple[str, bytes])
class _DeliverByTimerFn(beam.DoFn):
    """Sends batches and comes back for the outcomes, so that one thread serves all lanes."""

    TICK = TimerSpec("tick", TimeDomain.REAL_TIME)
    DRAIN = TimerSpec("drain", TimeDomain.WATERMARK)

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings

    def setup(self) -> None:
        self._worker: Worker = worker_of(self._settings)

    def start_bundle(self) -> None:
        self._books = _Books()
        self._landed: dict[str, list[Flight]] = {}

    def process(
        self,
        element: LaneBatch,
        tick: Any = beam.DoFn.TimerParam(TICK),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> None:
        key, batch = element
        worker = self._worker
        worker.in_flight.wait_for_room(_ROOM_SECONDS)
        if not worker.in_flight.has(key, batch):
            obstacle = worker.in_flight.obstacle(Lane.of(key))
            flight = worker.take_off(key, batch, obstacle)
            worker.in_flight.add(key, flight)
        tick.set(Engine.DIRECT.now() + _TICK_SECONDS)
        drain.set(END_OF_INPUT)

    @on_timer(TICK)
    def look_after(
        self,
        key: Any = beam.DoFn.KeyParam,
        tick: Any = beam.DoFn.TimerParam(TICK),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> Iterator[Any]:
        flights = self._worker.in_flight.of(key)
        done = [flight for flight in flights if flight.delivery.done]
        yield from self._land(key, done)
        if len(done) < len(flights):
            tick.set(Engine.DIRECT.now() + _tick_seconds(flights))
        else:
            drain.clear()

    @on_timer(DRAIN)
    def input_has_ended(
        self, key: Any = beam.DoFn.KeyParam, tick: Any = beam.DoFn.TimerParam(TICK)
    ) -> Iterator[Any]:
        flights = self._worker.in_flight.of(key)
        for flight in flights:
            flight.delivery.wait()
        yield from self._land(key, flights)
        tick.clear()

    def finish_bundle(self) -> None:
        for key, flights in self._landed.items():
            self._worker.in_flight.remove(key, flights)
        self._books.enter(self._worker)

    def _land(self, key: str, flights: list[Flight]) -> Iterator[Any]:
        landed = self._landed.setdefault(key, [])
        fresh = [flight for flight in flights if flight not in landed]
        landed += fresh
        for flight in fresh:
            yield from self._books.land(self._worker, flight)


def _tick_seconds(flights: list[Flight]) -> float:
    """Look soon after what has just begun, and not so often after what takes its time."""
    youngest = max(flight.delivery.started for flight in flights)
    return _TICK_SECONDS if time.monotonic() - youngest < 1 else _SLOW_TICK_SECONDS


def _windowed(output: Any) -> Any:
    if isinstance(output, TaggedOutput):
        return TaggedOutput(output.tag, _windowed(output.value))
    return WindowedValue(output, MIN_TIMESTAMP, [GlobalWindow()])
