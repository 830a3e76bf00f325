"""AttendLanes: each lane of the hold is tried, released and buried when that is due.

The engine's state holds a lane's breaker and nothing else; a timer comes back for it while something
is held. What is done is done by the process's attendants, on threads of their own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder
from apache_beam.pvalue import PCollection
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer

from runtime.hold.attendant import Outcome
from runtime.hold.attendants import attendants_of
from runtime.hold.watch import Watch, decode_failure, decode_watch, encode_watch, first_watch, noted
from runtime.ledger import Tally
from runtime.worker import Worker, WorkerSettings, worker_of
from transforms.counting import enter
from transforms.engine import END_OF_INPUT, Engine
from transforms.signatures import with_known_signatures

ADOPT = b""
"""In place of a failure: the lane was found with something held."""
_AGAIN_SECONDS = 0.1
"""How long a turn is given before it is looked at; a turn that takes longer is looked at less often."""
_SLOW_AGAIN_SECONDS = 1.0
_LATEST_SECONDS = 60.0
"""A turn is begun after this time at the latest: when the next is due was said by a clock that may have
been put back since, and then it would be hours away."""
_DRAIN_SECONDS = 60.0

Notice = tuple[str, bytes]


@dataclass
class AttendLanes(beam.PTransform[PCollection[Notice], PCollection[Any]]):
    """(hold lane, failure) to nothing: what is held leaves by the attendants."""

    settings: WorkerSettings
    engine: Engine
    clock: Callable[[], float] | None = None
    """What timers go by, where it is not the engine's own."""
    patience_seconds: float = 0
    """How long a bundle waits for a turn: not at all, unless the clock is not the real one."""

    def expand(self, notices: PCollection[Notice]) -> PCollection[Any]:
        attend = _AttendFn(self.settings, self.clock or self.engine.now, self.patience_seconds)
        return notices | "Attend" >> beam.ParDo(attend)


@with_known_signatures
@beam.typehints.with_input_types(tuple[str, bytes])
class _AttendFn(beam.DoFn):
    WATCH = ReadModifyWriteStateSpec("watch", BytesCoder())
    TICK = TimerSpec("tick", TimeDomain.REAL_TIME)
    DRAIN = TimerSpec("drain", TimeDomain.WATERMARK)

    def __init__(
        self, settings: WorkerSettings, clock: Callable[[], float], patience_seconds: float
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._patience_seconds = patience_seconds

    def setup(self) -> None:
        self._worker: Worker = worker_of(self._settings)
        self._attendants = attendants_of(self._worker)

    def start_bundle(self) -> None:
        self._outcomes: dict[str, Outcome] = {}
        self._tallies: list[Tally] = []

    def process(
        self,
        notice: Notice,
        watch: Any = beam.DoFn.StateParam(WATCH),
        tick: Any = beam.DoFn.TimerParam(TICK),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> None:
        lane, encoded = notice
        before = _read(watch)
        now = self._worker.now_ms()
        if encoded == ADOPT:
            after = before or first_watch(now)
        else:
            after = noted(before, decode_failure(encoded), now, self._worker.probe_pace)
        watch.write(encode_watch(after))
        self._attendants.begin(lane, after)
        tick.set(self._clock() + _AGAIN_SECONDS)
        drain.set(END_OF_INPUT)

    @on_timer(TICK)
    def look_after(
        self,
        lane: Any = beam.DoFn.KeyParam,
        watch: Any = beam.DoFn.StateParam(WATCH),
        tick: Any = beam.DoFn.TimerParam(TICK),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> None:
        before = _read(watch)
        if before is None:
            drain.clear()
            return
        outcome = self._outcome(lane)
        if outcome is None:
            self._attendants.begin(lane, before)
            outcome = self._outcome(lane, self._patience_seconds)
        if outcome is None:
            tick.set(self._clock() + _SLOW_AGAIN_SECONDS)
            return
        after = outcome.merged(before, self._attendants.has_written(lane))
        if after is None:
            watch.clear()
            drain.clear()
            return
        watch.write(encode_watch(after))
        wait_ms = outcome.next_ms - self._worker.now_ms() if after == outcome.after else 0
        tick.set(self._clock() + min(max(_AGAIN_SECONDS, wait_ms / 1_000), _LATEST_SECONDS))

    @on_timer(DRAIN)
    def input_has_ended(
        self,
        lane: Any = beam.DoFn.KeyParam,
        watch: Any = beam.DoFn.StateParam(WATCH),
        tick: Any = beam.DoFn.TimerParam(TICK),
    ) -> None:
        tick.clear()
        before = _read(watch)
        if before is None:
            return
        outcome = self._outcome(lane, _DRAIN_SECONDS)
        after = outcome.merged(before, written=True) if outcome else before
        self._tallies.append(self._attendants.leave(lane, after or before))
        watch.clear()

    def finish_bundle(self) -> Iterator[Any]:
        for lane, outcome in self._outcomes.items():
            enter(self._worker, outcome.tally)
            self._attendants.collect(lane, outcome)
        for tally in self._tallies:
            enter(self._worker, tally)
        return iter(())

    def _outcome(self, lane: str, wait_seconds: float = 0) -> Outcome | None:
        """What the last turn did; to be counted when the bundle is done, for it may be retried."""
        if lane in self._outcomes:
            return None
        outcome = self._attendants.outcome(lane, wait_seconds)
        if outcome is not None:
            self._outcomes[lane] = outcome
        return outcome


def _read(watch: Any) -> Watch | None:
    encoded = watch.read()
    return decode_watch(encoded) if encoded else None
