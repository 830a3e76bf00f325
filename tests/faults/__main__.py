"""Every fault at every kind of partner, over files and while events stream: `python -m tests.faults`.

It takes some minutes, prints the matrix, and ends with 1 if something in it does not hold.
`--readme` writes the matrix into the README too.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from tests.faults.bounded import run_bounded
from tests.faults.cases import CASES, NEVER_FAILS, Case
from tests.faults.judging import Trial
from tests.faults.printing import markdown, print_problems, summary, table
from tests.faults.readme import write_matrix
from tests.faults.streamed import run_streamed

WIDTH = 200
"""Of what is printed where there is no terminal."""
CASES_A_STREAM = 22
"""So many are streamed together: DirectRunner has one thread for all lanes."""


def main() -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--readme", action="store_true", help="write the matrix into the README")
    wanted = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    trials = [*_over_files(console), *_streamed(console)]
    console.print(table(CASES, trials))
    console.print(summary(trials))
    is_broken = print_problems(trials, console)
    if wanted.readme:
        write_matrix(markdown(CASES, trials))
    return 1 if is_broken else 0


def _over_files(console: Console) -> Sequence[Trial]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = run_bounded(CASES, Path(folder))
    console.print(
        f"over files: {summary(run.trials)}; {time.monotonic() - began:.0f} s, "
        f"{run.peak_megabytes:.0f} MB at the most"
    )
    return run.trials


def _streamed(console: Console) -> Iterator[Trial]:
    for cases in _portions():
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            run = run_streamed(cases, Path(folder), settle=True)
        calm, disturbed = map(statistics.median, (run.calm, run.disturbed))
        console.print(
            f"streamed: {summary(run.trials)}; {time.monotonic() - began:.0f} s, "
            f"{run.peak_megabytes:.0f} MB at the most; at partners that work after {calm:.2f} s "
            f"while all do, {disturbed:.2f} s while the others fail"
        )
        yield from run.trials


def _portions() -> Iterator[Sequence[Case]]:
    """All cases, and those whose partners work among each portion of them."""
    works = [case for case in CASES if case.name == NEVER_FAILS]
    others = [case for case in CASES if case.name != NEVER_FAILS]
    for first in range(0, len(others), CASES_A_STREAM):
        yield [*works, *others[first : first + CASES_A_STREAM]]


if __name__ == "__main__":
    sys.exit(main())
