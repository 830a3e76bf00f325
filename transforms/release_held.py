"""ReleaseHeld: a bounded run delivers first what earlier runs left in the hold."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection

from runtime.hold.bounded_release import held_lanes, release_lane
from runtime.worker import Worker, WorkerSettings, worker_of
from transforms.counting import enter
from transforms.signatures import with_known_signatures

_LANES_AT_ONCE = 16


@dataclass
class ReleaseHeld(beam.PTransform[PBegin, PCollection[str]]):
    """Nothing to the lanes that were tried, once all of them were."""

    settings: WorkerSettings

    def expand(self, begin: PBegin) -> PCollection[str]:
        return (
            begin
            | "Once" >> beam.Create(["once"], reshuffle=False)
            | "Release" >> beam.ParDo(_ReleaseFn(self.settings))
        )


@with_known_signatures
@beam.typehints.with_output_types(str)
class _ReleaseFn(beam.DoFn):
    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings

    def process(self, element: str) -> Iterator[str]:  # noqa: ARG002
        worker: Worker = worker_of(self._settings)
        lanes = held_lanes(worker)
        with ThreadPoolExecutor(_LANES_AT_ONCE) as threads:
            tallies = threads.map(lambda lane: release_lane(worker, lane), lanes)
            for lane, tally in zip(lanes, tallies, strict=True):
                enter(worker, tally)
                yield lane
