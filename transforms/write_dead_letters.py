"""WriteDeadLetters: what was given up becomes Avro files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from runtime.keeping import decode_letters
from runtime.ledger import Tally
from runtime.worker import Worker, WorkerSettings
from transforms.engine import Engine
from transforms.gather_and_write import FileWriter, GatherAndWrite, Keyed, Written

LETTERS = "letters"


@dataclass
class WriteDeadLetters(beam.PTransform[PCollection[Keyed], PCollection[Any]]):
    """(stage, letters) to files."""

    settings: WorkerSettings
    engine: Engine

    def expand(self, letters: PCollection[Keyed]) -> PCollection[Any]:
        return letters | "Bury" >> GatherAndWrite(self.settings, self.engine, _LetterWriter())


class _LetterWriter(FileWriter):
    name = "bury"
    window_seconds = 5

    def write(self, worker: Worker, key: str, parts: Sequence[bytes]) -> Written:  # noqa: ARG002
        gathered = [decode_letters(part) for part in parts]
        letters = [letter for part in gathered for letter in part.letters]
        worker.write_letters(letters)
        tally = Tally()
        for letter in letters:
            if letter.connector:  # an invalid message is offered to no connector
                tally.of(letter.connector).dead[letter.reason] += 1
        return Written(tally, [token for part in gathered for token in part.tokens])
