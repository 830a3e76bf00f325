"""The matrix over files: one run while all faults last, and one after they are lifted."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.cases import Case
from tests.faults.judging import Trial
from tests.faults.partners import REQUESTS_AT_ONCE, Cell
from tests.faults.stage import Stage, peak_megabytes
from tests.pipeline.running import command

EXIT_HELD = 3
PATIENCE_SECONDS = 240


@dataclass(frozen=True)
class Bounded:
    """What the two runs have shown."""

    trials: Sequence[Trial]
    peak_megabytes: float
    """The most memory that the run with the faults had."""


def run_bounded(cases: Sequence[Case], folder: Path) -> Bounded:
    """Run every case at every kind, all together."""
    with Stage(cases, folder) as stage:
        stage.fail()
        (folder / "events.ndjson").write_bytes(b"\n".join(_interleaved(stage.cells)))
        peak = _run(stage, EXIT_HELD, "--input", str(folder / "events.ndjson"))
        before, first = stage.find(), stage.books()
        stage.mend()
        _run(stage, 0)
        after, second = stage.find(), stage.books()
        assert stage.trapped == 0
        trials = [
            Trial(
                cell=cell,
                ids=cell.ids,
                fate=cell.case.fate,
                before=before[cell.name],
                is_settled=True,
                after=after[cell.name],
                books=(first[cell.name], second[cell.name]),
                most_copies=cell.case.most_copies,
                most_refused=REQUESTS_AT_ONCE if cell.case.stops_at_once else None,
            )
            for cell in stage.cells
        ]
        return Bounded(trials, peak)


def _interleaved(cells: Sequence[Cell]) -> Iterator[bytes]:
    """An event of each cell, by turns: those whose partners work come last, behind all that fail."""
    behind = sorted(cells, key=lambda cell: cell.case.fault is None)
    for together in zip(*(cell.events for cell in behind), strict=True):
        yield from together


def _run(stage: Stage, code: int, *arguments: str) -> float:
    """Run it to its end, with this exit code; returns its peak memory in megabytes."""
    with (stage.folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command(stage.folder, *arguments),
            env={**os.environ, **stage.environment},
            stdout=log,
            stderr=log,
        )
        peak = _watch(process)
    assert process.returncode == code, (stage.folder / "log").read_text()
    return peak


def _watch(process: "subprocess.Popen[bytes]") -> float:
    """Wait for its end; returns its peak memory.

    What `wait4` tells of that begins before the program does: with the memory of this process.
    """
    peak, patience = 0.0, time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None:
        peak = max(peak, peak_megabytes(process.pid))
        if time.monotonic() > patience:
            process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    return peak
