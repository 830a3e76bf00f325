"""AdoptLanes: lanes with something held that nobody attends are found, at the start and later."""

import logging
from collections.abc import Iterator, Sequence
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
_FOUND_SECONDS = 0.1
"""How long the background is given before it is asked what it has found."""
_ADOPTION = "adoption"

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
        yield from self._look(look)
        drain.set(END_OF_INPUT)

    @on_timer(LOOK)
    def look_again(self, look: Any = beam.DoFn.TimerParam(LOOK)) -> Iterator[Notice]:
        yield from self._look(look)

    @on_timer(DRAIN)
    def input_has_ended(self, look: Any = beam.DoFn.TimerParam(LOOK)) -> None:
        look.clear()

    def _look(self, look: Any) -> Iterator[Notice]:
        """Yield what is found, and come back: for what the background finds, or after a while."""
        found = self._find()
        for lane in found or ():
            yield lane, ADOPT
        look.set(self._engine.now() + (_FOUND_SECONDS if found is None else LOOK_SECONDS))

    def _find(self) -> Sequence[str] | None:
        """The lanes that nobody attends; None where that is not known yet.

        To list all that a bucket holds takes seconds, for which DirectRunner's one thread does not wait.
        """
        if self._engine is not Engine.DIRECT:
            return _unattended(self._worker)
        background = self._worker.background
        found: Sequence[str] | None = background.outcome(_ADOPTION)
        if found is None:
            background.begin(_ADOPTION, lambda: _unattended(self._worker))
        else:  # a bundle that is retried finds them at the next look
            background.collect(_ADOPTION, found)
        return found


def _unattended(worker: Worker) -> Sequence[str]:
    try:
        return unattended_lanes(worker)
    except StorageError as error:
        _logger.error("which lanes have something held cannot be read: %s", error)
    except Exception as error:  # noqa: BLE001 - nobody would look again
        _logger.error("which lanes have something held is not known: %s", type(error).__name__)
    return []
