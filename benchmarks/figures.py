"""Figures: medians with their ranges, ratios against what must be reached, as a table and as JSON."""

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table


class Spread(msgspec.Struct, frozen=True):
    """A median, and the lowest and highest of the runs behind it."""

    median: float
    low: float
    high: float

    def shown(self, form: str, between: str = "\n") -> str:
        """The median and the range as text; without the range where it is one figure."""
        median, low, high = (format(one, form) for one in (self.median, self.low, self.high))
        return median if low == high else f"{median}{between}[dim]{low} to {high}[/]"


class Row(msgspec.Struct, frozen=True):
    """What the runs of one case took."""

    case: str
    runs: int
    figures: Mapping[str, Spread]


class Ratio(msgspec.Struct, frozen=True):
    """Something that must be reached: a figure against another of the same round, or by itself."""

    what: str
    found: Spread
    must: float
    at_least: bool = True
    """Else it must be at most that."""

    @property
    def holds(self) -> bool:
        """Whether the median reaches it."""
        if self.at_least:
            return self.found.median >= self.must
        return self.found.median <= self.must


class Results(msgspec.Struct):
    """All that a benchmark found."""

    benchmark: str
    machine: Mapping[str, Any]
    notes: Sequence[str]
    rows: Sequence[Row]
    ratios: Sequence[Ratio] = ()
    runs: Sequence[Any] = ()
    """The figures of each run, as they were measured."""


def machine() -> Mapping[str, Any]:
    """Where the figures are from."""
    return {
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def spread(values: Iterable[float]) -> Spread:
    """The median of at least one value, with the range."""
    found = list(values)
    return Spread(statistics.median(found), min(found), max(found))


def row_of(case: str, runs: Sequence[Any], figures: Sequence[str]) -> Row:
    """One row of the runs of a case, with these of their attributes."""
    return Row(
        case,
        len(runs),
        {name: spread(float(getattr(run, name)) for run in runs) for name in figures},
    )


def paired(ours: Sequence[Any], theirs: Sequence[Any], figure: str) -> Spread:
    """The ratio of a figure, round by round: what the machine did to a round, it did to both."""
    return spread(
        getattr(one, figure) / getattr(other, figure)
        for one, other in zip(ours, theirs, strict=True)
    )


def rotated(cases: Sequence[Any], round_number: int) -> list[Any]:
    """The cases in an order that differs from round to round, so that none is always the first."""
    start = round_number % len(cases)
    return [*cases[start:], *cases[:start]]


def progress() -> Progress:
    """A bar on standard error, so that standard output has the results only."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def present(
    results: Results, columns: Mapping[str, tuple[str, str]], json_path: Path | None
) -> None:
    """Print the tables, and write the JSON where a path is given.

    `columns` are titles and number formats by figure.
    """
    console = _console()
    console.print(_table(results, columns))
    if results.ratios:
        console.print(_ratios(results.ratios))
    for note in results.notes:
        console.print(note, style="dim", highlight=False)
    if json_path:
        text = msgspec.json.format(msgspec.json.encode(results), indent=1)
        json_path.write_bytes(text + b"\n")


def _console() -> Console:
    """As wide as the tables are where nobody looks at it."""
    console = Console()
    return console if console.is_terminal else Console(width=200)


def _table(results: Results, columns: Mapping[str, tuple[str, str]]) -> Table:
    runs = max(row.runs for row in results.rows)
    table = Table(title=f"{results.benchmark}: median and range of {runs}")
    table.add_column("")
    for title, _ in columns.values():
        table.add_column(title, justify="right")
    for row in results.rows:
        cells = [
            row.figures[name].shown(form) if name in row.figures else ""
            for name, (_, form) in columns.items()
        ]
        table.add_row(row.case, *cells)
    return table


def _ratios(ratios: Sequence[Ratio]) -> Table:
    table = Table(title="what must be reached")
    for title in ("", "found", "must", ""):
        table.add_column(title, justify="left" if not title else "right")
    for ratio in ratios:
        sign = "≥" if ratio.at_least else "≤"
        holds = "[green]yes[/]" if ratio.holds else "[red]no[/]"
        table.add_row(ratio.what, ratio.found.shown(",.2f", "  "), f"{sign} {ratio.must:,g}", holds)
    return table


def by_case(runs: Iterable[Any], case: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    """Runs by case, in the order in which the cases first came."""
    found: dict[Any, list[Any]] = {}
    for run in runs:
        found.setdefault(case(run), []).append(run)
    return found
