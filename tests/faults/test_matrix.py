"""Whatever way a partner fails, nothing is lost, nothing goes astray, and it is put right by itself."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.bounded import run_bounded
from tests.faults.cases import CASES, NEVER_FAILS
from tests.faults.judging import Trial
from tests.faults.partners import KINDS
from tests.faults.printing import markdown
from tests.faults.readme import read_matrix
from tests.faults.streamed import run_streamed

STREAMED = (
    NEVER_FAILS,
    "302 elsewhere",
    "401",
    "400",
    "422 to one",
    "503",
    "60",
    "refused",
    "TLS expired",
    "gigabyte",
    "cut short",
    "two answers",
    "hangs, kept",
    "drips",
    "503 or 200",
)
"""What the short form streams; `python -m tests.faults` streams all."""

MOST_MEGABYTES = 500
"""Of a run in which ten partners answer with a gigabyte."""

MOST_DELAY_SECONDS = 15.0
"""What 70 lanes that begin to fail together may cost an event on its way to a partner that works, by
the median: a second on two cores that have little else to do. To wait for those that hang takes longer."""


def problems(trials: Sequence[Trial]) -> dict[str, list[str]]:
    return {trial.cell.name: trial.problems for trial in trials if trial.problems}


@pytest.mark.slow
def test_every_fault_at_every_kind_over_files(tmp_path: Path) -> None:
    run = run_bounded(CASES, tmp_path)
    assert len(run.trials) == len(CASES) * len(KINDS)
    assert problems(run.trials) == {}
    assert run.peak_megabytes < MOST_MEGABYTES


@pytest.mark.slow
def test_faults_of_each_sort_at_every_kind_while_events_stream(tmp_path: Path) -> None:
    run = run_streamed([case for case in CASES if case.name in STREAMED], tmp_path, settle=False)
    assert len(run.trials) == len(STREAMED) * len(KINDS)
    assert problems(run.trials) == {}
    assert run.peak_megabytes < MOST_MEGABYTES
    assert run.delay < MOST_DELAY_SECONDS


def test_the_readme_shows_the_faults_that_there_are_and_that_all_of_it_holds() -> None:
    assert read_matrix() == list(markdown(CASES))
