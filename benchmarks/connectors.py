"""Connectors: what a delivered copy costs with 10, 100 and 1,000 connectors over the same events.

    .venv/bin/python -m benchmarks.connectors

All connectors are postbacks, the cheapest kind, so that what a connector costs shows the most. Two
shapes:

- `fan_out`: every connector takes every event. The same 1,000 events come again and again, until
  `--copies` are due; so each run delivers the same number of copies.
- `tenants`: events of 100 app groups, each of which has ten connectors. With 1,000 connectors each
  names one app group, with 100 ten of them, with 10 all; so each run delivers the same copies of the
  same events, and only the number of connectors differs.

Start-up, which is taken out, is a run with the same connectors over one event that none of them takes:
reading the connectors file is in it, a connector's first request is not.
"""

import argparse
import itertools
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.events import APP_GROUPS, Due, benchmark_events, sum_of_ids
from benchmarks.figures import (
    Ratio,
    Results,
    Row,
    by_case,
    machine,
    paired,
    present,
    progress,
    rotated,
    row_of,
)
from benchmarks.file_runs import Contender, FileRun, Input, measure, warnings_of
from benchmarks.partners import connectors_of
from benchmarks.receiver import Receiver
from benchmarks.runs import run_command, write_connectors
from sandbox.samples import sample_events
from schemas.event import decode_header

SIZES = (10, 100, 1_000)
DIFFERENT_EVENTS = 1_000
GROUPS = tuple(f"group{number:03d}{'0' * 16}" for number in range(100))
OFTEN = 10
"""How many connectors each app group has."""
NOTE = "CPU is net of start-up: a run with these connectors over an event that none takes."
COLUMNS = {
    "cpu_us_per_copy": ("CPU µs a copy", ",.2f"),
    "copies_per_cpu_second": ("copies per CPU s", ",.0f"),
    "startup_cpu_seconds": ("start-up CPU s", ".2f"),
    "events": ("events", ",.0f"),
    "copies": ("copies", ",.0f"),
    "requests": ("requests", ",.0f"),
    "peak_mb": ("peak MB", ",.0f"),
}


def main() -> int:
    """Measure, print the tables, and write --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connectors", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--copies", type=int, default=2_000_000, help="due in each run")
    parser.add_argument("--shapes", nargs="+", choices=_SHAPES, default=list(_SHAPES))
    parser.add_argument("--runs", type=int, default=3, help="rounds; medians want at least three")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    runs = list(_runs(arguments))
    cases = by_case(runs, lambda run: run.case)
    rows: list[Row] = [row_of(case, found, list(COLUMNS)) for case, found in cases.items()]
    ratios = list(_ratios(cases, arguments.shapes, arguments.connectors))
    notes = [NOTE, *warnings_of(runs)]
    results = Results("connectors", machine(), notes, rows, ratios, runs)
    present(results, COLUMNS, arguments.json)
    return 0


def _runs(arguments: argparse.Namespace) -> Iterator[FileRun]:
    cases = list(itertools.product(arguments.shapes, arguments.connectors))
    with tempfile.TemporaryDirectory() as name, progress() as bar:
        task = bar.add_task("connectors", total=len(cases) * arguments.runs)
        nothing = _nothing_due(Path(name))
        inputs = {
            (shape, size): _SHAPES[shape](Path(name), size, arguments.copies)
            for shape, size in cases
        }
        for number in range(arguments.runs):
            for shape, size in rotated(cases, number):
                bar.update(task, description=_case(shape, size))
                given, groups = inputs[shape, size]
                yield measure(_pipeline(_case(shape, size), groups), nothing, given, number)
                bar.advance(task)


def _case(shape: str, size: int) -> str:
    return f"{shape}, {size:,} connectors"


Groups = Mapping[str, Sequence[str]]
"""The app groups of each connector."""


def _pipeline(case: str, groups: Groups) -> Contender:
    def command(folder: Path, events: Path, receiver: Receiver) -> list[str]:
        connectors: list[Mapping[str, Any]] = [
            {**connector, "app_group_ids": list(groups[str(connector["name"])])}
            for connector in connectors_of(receiver.url, dict.fromkeys(groups, "postback"))
        ]
        write_connectors(folder, connectors)
        return run_command(folder, "--input", str(events))

    return Contender(case, command)


def _nothing_due(folder: Path) -> Input:
    """One event of an app group that no connector names."""
    path = folder / "nothing.ndjson"
    path.write_bytes(next(sample_events(1, app_groups=["nobodys"])) + b"\n")
    return Input(path, 1, {})


def _fan_out(folder: Path, size: int, copies: int) -> tuple[Input, Groups]:
    """The same thousand events, as often as it takes; fewer where fewer do."""
    wanted = math.ceil(copies / size)
    events = list(benchmark_events(min(DIFFERENT_EVENTS, wanted)))
    path = folder / f"fan-out-{size}.ndjson"
    with path.open("wb") as file:
        for event in itertools.islice(itertools.cycle(events), wanted):
            file.write(event + b"\n")
    due = _due_of(path)
    groups = {f"hook-{number}": APP_GROUPS for number in range(size)}
    return Input(path, wanted, {name: _sum(due, groups[name]) for name in groups}), groups


def _tenants(folder: Path, size: int, copies: int) -> tuple[Input, Groups]:
    """The same events for every size; app groups are dealt to sets of ten connectors."""
    wanted = math.ceil(copies / OFTEN)
    path = folder / "tenants.ndjson"
    if not path.exists():
        with path.open("wb") as file:
            file.writelines(
                event + b"\n"
                for event in sample_events(wanted, app_groups=GROUPS, anonymous_share=0)
            )
    due = _due_of(path)
    sets = max(1, size // OFTEN)
    groups = {f"hook-{number}": GROUPS[number % sets :: sets] for number in range(size)}
    return Input(path, wanted, {name: _sum(due, groups[name]) for name in groups}), groups


_SHAPES = {"fan_out": _fan_out, "tenants": _tenants}


def _due_of(path: Path) -> Mapping[str, Due]:
    """What each app group has in a file."""
    found: dict[str, Due] = {}
    with path.open("rb") as lines:
        for line in lines:
            header = decode_header(line)
            group = header.app_group_id or ""
            so_far = found.get(group, Due(0, 0))
            found[group] = Due(so_far.events + 1, so_far.ids + sum_of_ids([header.id]))
    return found


def _sum(due: Mapping[str, Due], groups: Sequence[str]) -> Due:
    chosen = [due[group] for group in groups if group in due]
    return Due(sum(one.events for one in chosen), sum(one.ids for one in chosen))


def _ratios(
    cases: Mapping[str, Sequence[FileRun]], shapes: Sequence[str], sizes: Sequence[int]
) -> Iterator[Ratio]:
    if len(sizes) < 2:
        return
    few, many = min(sizes), max(sizes)
    for shape in shapes:
        found = paired(cases[_case(shape, many)], cases[_case(shape, few)], "cpu_us_per_copy")
        yield Ratio(f"{shape}: CPU a copy, {many:,} against {few:,}", found, 1.3, at_least=False)


if __name__ == "__main__":
    raise SystemExit(main())
