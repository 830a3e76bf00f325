"""AdoptLanes: lanes with something held that nobody attends are found, at the start and later."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import TimerSpec, on_timer

from runtime.hold.adoption import unattended_lanes
from runtime.storage import StorageError
from runtime.worker import Worker, WorkerSettings, worker_of
from transforms.attend_lanes import ADOPT, Notice
from transforms.engine import END_OF_INPUT, Engine
from transforms.signatures import with_known_signatures

LOOK_SECONDS = 60.0

_logger = logging.getLogger(__name__)


@dataclass
class AdoptLanes(beam.PTransform[PCollection[Notice], PCollection[Notice]]):
    """(hold lane, `ADOPT`) of what nobody attends, for as long as the given collection may grow.

    What begins by itself has ended as soon as it began, and with it the timer that would look again.
    """

    settings: WorkerSettings
    engine: Engine

    def expand(self, stream: PCollection[Notice]) -> PCollection[Notice]:
        # A Create has a line number of Beam in the name of its step: no job could be updated.
        start = stream.pipeline | "Start" >> beam.Impulse()
        once = start | "Once" >> beam.ParDo(_OnceFn())
        never = stream | "UntilTheEnd" >> beam.ParDo(_NothingFn())
        return (
            (once, never)
            | "OnceUntilTheEnd" >> beam.Flatten()
            | "Find" >> beam.ParDo(_FindFn(self.settings, self.engine))
        )


@with_known_signatures
@beam.typehints.with_input_types(bytes)
@beam.typehints.with_output_types(tuple[str, bytes])
class _OnceFn(beam.DoFn):
    def process(self, element: bytes) -> Iterator[Notice]:  # noqa: ARG002
        yield "hold", b""


@with_known_signatures
@beam.typehints.with_input_types(tuple[str, bytes])
@beam.typehints.with_output_types(tuple[str, bytes])
class _NothingFn(beam.DoFn):
    """Hands on how far its input is, and nothing of it."""

    def process(self, element: Notice) -> Iterator[Notice]:  # noqa: ARG002
        return iter(())


@with_known_signatures
@beam.typehints.with_input_types(tuple[str, bytes])
@beam.typehints.with_output_types(tuple[str, bytes])
class _FindFn(beam.DoFn):
    LOOK = TimerSpec("look", TimeDomain.REAL_TIME)
    DRAIN = TimerSpec("drain", TimeDomain.WATERMARK)

    def __init__(self, settings: WorkerSettings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine

    def setup(self) -> None:
        self._worker: Worker = worker_of(self._settings)

    def process(
        self,
        element: Notice,  # noqa: ARG002
        look: Any = beam.DoFn.TimerParam(LOOK),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> Iterator[Notice]:
        yield from self._find()
        look.set(self._engine.now() + LOOK_SECONDS)
        drain.set(END_OF_INPUT)

    @on_timer(LOOK)
    def look_again(self, look: Any = beam.DoFn.TimerParam(LOOK)) -> Iterator[Notice]:
        yield from self._find()
        look.set(self._engine.now() + LOOK_SECONDS)

    @on_timer(DRAIN)
    def input_has_ended(self, look: Any = beam.DoFn.TimerParam(LOOK)) -> None:
        look.clear()

    def _find(self) -> Iterator[Notice]:
        try:
            lanes = unattended_lanes(self._worker)
        except StorageError as error:
            _logger.error("which lanes have something held cannot be read: %s", error)
            return
        for lane in lanes:
            yield lane, ADOPT
