"""DecodeAndRoute: pulls in; fragments of lanes and invalid messages out."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from runtime.decoding import Decoder
from runtime.keeping import Letters, encode_letters
from runtime.worker import Worker, WorkerSettings, worker_of
from schemas.batch import Batch, encode_batch
from schemas.pull import decode_pull
from transforms.counting import ENTER_EVERY_SECONDS, enter
from transforms.engine import Engine
from transforms.lane_batches import LaneBatch
from transforms.signatures import with_known_signatures
from transforms.write_dead_letters import LETTERS

FRAGMENTS = "fragments"


@dataclass
class DecodeAndRoute(beam.PTransform[PCollection[bytes], Any]):
    """Pulls to `FRAGMENTS` (lane, fragment) and `LETTERS` (stage, letters).

    Fragments are encoded for the shuffle before BatchByLane; in a bounded run, which has none, they
    stay as they are.
    """

    settings: WorkerSettings
    engine: Engine

    def expand(self, pulls: PCollection[bytes]) -> Any:
        decode = _DecodeFn if self.engine is Engine.BOUNDED else _DecodeForShuffleFn
        return pulls | "Decode" >> beam.ParDo(decode(self.settings)).with_outputs(
            LETTERS, main=FRAGMENTS
        )


@with_known_signatures
@beam.typehints.with_output_types(LaneBatch, letters=tuple[str, bytes])
class _DecodeFn(beam.DoFn):
    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings

    def setup(self) -> None:
        self._worker: Worker = worker_of(self._settings)

    def start_bundle(self) -> None:
        self._decoder: Decoder = self._worker.decoder()
        self._enter_at = time.monotonic() + ENTER_EVERY_SECONDS

    def process(self, pull: bytes) -> Iterator[Any]:
        for found in self._decoder.decode(decode_pull(pull)):
            if isinstance(found, Letters):
                yield TaggedOutput(LETTERS, ("decode", encode_letters(found)))
            else:
                yield self._fragment(*found)
        if time.monotonic() >= self._enter_at:
            self._enter_at = time.monotonic() + ENTER_EVERY_SECONDS
            enter(self._worker, self._decoder.take_tally())

    def finish_bundle(self) -> Iterable[WindowedValue]:
        for key, batch in self._decoder.flush():
            timestamp = Timestamp(micros=batch.oldest_ms * 1_000)
            yield WindowedValue(self._fragment(key, batch), timestamp, [GlobalWindow()])
        self._decoder.finish()
        enter(self._worker, self._decoder.take_tally())

    def _fragment(self, key: str, batch: Batch) -> tuple[str, Any]:
        return key, batch


@with_known_signatures
@beam.typehints.with_output_types(tuple[str, bytes], letters=tuple[str, bytes])
class _DecodeForShuffleFn(_DecodeFn):
    def _fragment(self, key: str, batch: Batch) -> tuple[str, Any]:
        return key, encode_batch(batch)
