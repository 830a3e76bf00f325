"""The matrix in print: a row for each sort of fault, a column for each kind of partner."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import Console
from rich.table import Table

from tests.faults.cases import Case
from tests.faults.judging import Trial
from tests.faults.partners import KINDS

HOLDS, BROKEN, NOT_RUN = "✓", "✗", ""
HEADINGS = ("fault", "the partner", "in a file run", "in a stream", "copies", *KINDS)


@dataclass(frozen=True)
class Row:
    """Faults that do and mean the same."""

    cases: Sequence[Case]

    @property
    def cells(self) -> list[str]:
        """What is said of them, in Markdown."""
        case = self.cases[0]
        return [
            ", ".join(f"`{each.name}`" for each in self.cases),
            case.does,
            self._in_a_file_run,
            self._in_a_stream,
            f"≤ {case.most_copies}" if case.keeps else "1",
        ]

    @property
    def _in_a_file_run(self) -> str:
        words = {"mixed": "delivered or held", "buried": "that one buried"}
        fate = self.cases[0].fate
        return words.get(fate, fate) + self._reason

    @property
    def _in_a_stream(self) -> str:
        case = self.cases[0]
        if case.fate_streamed == "held":
            return ("held" if case.asks_to_wait else "suspended") + self._reason
        if case.fate_streamed == "buried" and not case.poisoned:
            return "buried, 100 at the most"
        return self._in_a_file_run

    @property
    def _reason(self) -> str:
        reasons = list(dict.fromkeys(case.reason for case in self.cases if case.reason))
        if len(reasons) > 2:
            return ": `status_…`"
        return f": {' or '.join(f'`{reason}`' for reason in reasons)}" if reasons else ""


def rows_of(cases: Iterable[Case]) -> list[Row]:
    """The rows; cases that follow each other and do the same share one."""
    return [Row(list(group)) for _, group in groupby(cases, key=_what_it_is)]


def _what_it_is(case: Case) -> tuple[object, ...]:
    return case.does, case.fate, case.fate_streamed, case.keeps, case.asks_to_wait


def markdown(cases: Sequence[Case], trials: Sequence[Trial] | None = None) -> Iterator[str]:
    """The matrix as lines of a Markdown table; without trials, as it is when all of it holds."""
    yield _line(HEADINGS)
    yield _line(["---"] * len(HEADINGS))
    for row in rows_of(cases):
        marks = [HOLDS] * len(KINDS) if trials is None else _marks(row, trials)
        yield _line([*row.cells, *marks])


def table(cases: Sequence[Case], trials: Sequence[Trial]) -> Table:
    """The matrix for a terminal."""
    printed = Table(*HEADINGS, show_lines=False)
    for row in rows_of(cases):
        cells = [cell.replace("`", "") for cell in row.cells]
        printed.add_row(*cells, *_marks(row, trials))
    return printed


def summary(trials: Sequence[Trial]) -> str:
    """What all cells come to."""
    events = sum(len(trial.cell.ids) for trial in trials)
    lost = sum(len(trial.lost) for trial in trials)
    strays = sum(len(trial.strays) for trial in trials)
    buried = sum(len(trial.after.dead_ids) for trial in trials)
    twice = sum(trial.duplicates for trial in trials)
    heard = sum(trial.duplicates for trial in trials if not trial.cell.case.keeps)
    return (
        f"{len(trials)} cells, {events} events: {lost} lost, {strays} misdelivered, {buried} buried, "
        f"{twice} duplicates, {heard} of them where every answer was heard"
    )


def print_problems(trials: Sequence[Trial], console: Console) -> bool:
    """Print what is wrong; whether something is."""
    broken = [(trial.cell.name, problem) for trial in trials for problem in trial.problems]
    for name, problem in broken:
        console.print(f"{name}: {problem}", style="red", highlight=False, markup=False)
    return bool(broken)


def _marks(row: Row, trials: Sequence[Trial]) -> list[str]:
    return [
        _mark([t for t in trials if t.cell.case in row.cases and t.cell.kind == k]) for k in KINDS
    ]


def _mark(trials: Sequence[Trial]) -> str:
    if not trials:
        return NOT_RUN
    return BROKEN if any(trial.problems for trial in trials) else HOLDS


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
