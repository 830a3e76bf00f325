"""HoldUndelivered: what could not be delivered goes into the hold, and its lane is attended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from runtime.hold.attendants import attendants_of
from runtime.hold.watch import encode_failure, worst_of
from runtime.keeping import decode_holding
from runtime.ledger import Tally
from runtime.worker import Worker, WorkerSettings
from schemas.lane import connector_of
from transforms.adopt_lanes import AdoptLanes
from transforms.attend_lanes import AttendLanes
from transforms.engine import Engine
from transforms.gather_and_write import FileWriter, GatherAndWrite, Keyed, Written

UNDELIVERED = "undelivered"


@dataclass
class HoldUndelivered(beam.PTransform[PCollection[Keyed], PCollection[Any]]):
    """(hold lane, undelivered batches) to objects in the hold, which are released from there.

    A bounded run only writes them: it has neither state nor timers, and the next run releases.
    """

    settings: WorkerSettings
    engine: Engine

    def expand(self, undelivered: PCollection[Keyed]) -> PCollection[Any]:
        written = undelivered | "Hold" >> GatherAndWrite(self.settings, self.engine, _HoldWriter())
        if self.engine is Engine.BOUNDED:
            return written
        adopted = undelivered | "AdoptLanes" >> AdoptLanes(self.settings, self.engine)
        return (
            (written, adopted)
            | "WrittenAndAdopted" >> beam.Flatten()
            | "AttendLanes" >> AttendLanes(self.settings, self.engine)
        )


class _HoldWriter(FileWriter):
    name = "hold"
    window_seconds = 1

    def write(self, worker: Worker, key: str, parts: Sequence[bytes]) -> Written:
        gathered = [decode_holding(part) for part in parts]
        batches = [batch for part in gathered for batch in part.batches]
        worker.hold.put_all(key, batches)
        attendants_of(worker).wrote(key)
        tally = Tally()
        tally.of(connector_of(key)).held += sum(len(batch.events) for batch in batches)
        tokens = [token for part in gathered for token in part.tokens]
        return Written(tally, tokens, [(key, encode_failure(worst_of(batches)))])
