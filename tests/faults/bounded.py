"""The matrix over files: one run while all faults last, and one after they are lifted."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults.cases import Case
from tests.faults.judging import Trial
from tests.faults.partners import Cell
from tests.faults.stage import Stage
from tests.pipeline.running import run_files

EXIT_HELD = 3


def run_bounded(cases: Sequence[Case], folder: Path) -> list[Trial]:
    """Run every case at every kind, all together."""
    with Stage(cases, folder) as stage:
        stage.fail()
        (folder / "events.ndjson").write_bytes(b"\n".join(_interleaved(stage.cells)))
        ended = run_files(folder, folder / "events.ndjson", environment=stage.environment)
        assert ended.returncode == EXIT_HELD, ended.stderr
        before, first = stage.find(), stage.books()
        stage.mend()
        ended = run_files(folder, environment=stage.environment)
        assert ended.returncode == 0, ended.stderr
        after, second = stage.find(), stage.books()
        assert stage.trapped == 0
        return [
            Trial(
                cell=cell,
                ids=cell.ids,
                fate=cell.case.fate,
                before=before[cell.name],
                is_settled=True,
                after=after[cell.name],
                books=(first[cell.name], second[cell.name]),
                most_copies=cell.case.most_copies,
            )
            for cell in stage.cells
        ]


def _interleaved(cells: Sequence[Cell]) -> Iterator[bytes]:
    """An event of each cell, by turns: those whose partners work come last, behind all that fail."""
    behind = sorted(cells, key=lambda cell: cell.case.fault is None)
    for together in zip(*(cell.events for cell in behind), strict=True):
        yield from together
