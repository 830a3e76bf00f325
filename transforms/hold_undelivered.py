"""HoldUndelivered: what could not be delivered goes into the hold, lane by lane."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from runtime.hold import gather
from runtime.keeping import decode_holding
from runtime.ledger import Tally
from runtime.worker import Worker, WorkerSettings
from schemas.lane import connector_of
from transforms.engine import Engine
from transforms.gather_and_write import FileWriter, GatherAndWrite, Keyed, Written

UNDELIVERED = "undelivered"


@dataclass
class HoldUndelivered(beam.PTransform[PCollection[Keyed], PCollection[Any]]):
    """(hold lane, undelivered batches) to objects in the hold."""

    settings: WorkerSettings
    engine: Engine

    def expand(self, undelivered: PCollection[Keyed]) -> PCollection[Any]:
        return undelivered | "Hold" >> GatherAndWrite(self.settings, self.engine, _HoldWriter())


class _HoldWriter(FileWriter):
    window_seconds = 1

    def write(self, worker: Worker, key: str, parts: Sequence[bytes]) -> Written:
        gathered = [decode_holding(part) for part in parts]
        batches = [batch for part in gathered for batch in part.batches]
        for group in gather(batches):
            worker.hold.put(key, group)
        tally = Tally()
        tally.of(connector_of(key)).held += sum(len(batch.events) for batch in batches)
        return Written(tally, [token for part in gathered for token in part.tokens])
