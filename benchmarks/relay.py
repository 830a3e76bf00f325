"""Relay: a file of events to a postback, Segment and mParticle, against a bare loop and textbook Beam.

    .venv/bin/python -m benchmarks.relay
    .venv/bin/python -m benchmarks.relay --postbacks_only
    .venv/bin/python -m benchmarks.relay --contenders pipeline --events 100000 1000000

500,000 events of 935 B (line break included) go from a file, written once, to the receiver; the
second form sends them to three postbacks, where nothing is reshaped; the third compares the peak
memory of two sizes. Each contender is a process; in each round every contender runs once, in an order
that rotates, and ratios are taken within a round. All must deliver the same events: the receiver's
counts, and sums over the ids, are compared with what is due.

CPU is that of the program and its children, less start-up, which is a run over a file of one event
just before. Textbook Beam holds its whole input in memory, so it gets `--textbook_events` at the most;
its figures are by copy, so they compare.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.progress import Progress

from benchmarks.events import due_of, write_events
from benchmarks.figures import (
    Ratio,
    Results,
    by_case,
    machine,
    paired,
    present,
    progress,
    rotated,
    row_of,
    spread,
)
from benchmarks.file_runs import (
    Contender,
    FileRun,
    Input,
    measure,
    module_contender,
    pipeline_contender,
    warnings_of,
)
from benchmarks.partners import THREE_KINDS, THREE_POSTBACKS

PIPELINE, LOOP, CHECKED, TEXTBOOK = "pipeline", "bare loop", "bare loop, checked", "textbook Beam"
MOST_MB = 300
COLUMNS = {
    "events_per_second": ("events/s", ",.0f"),
    "copies_per_cpu_second": ("copies per CPU s", ",.0f"),
    "cpu_us_per_copy": ("CPU µs a copy", ",.2f"),
    "startup_cpu_seconds": ("start-up CPU s", ".2f"),
    "peak_mb": ("peak MB", ",.0f"),
    "copies": ("copies", ",.0f"),
    "requests": ("requests", ",.0f"),
    "sent_mb": ("MB", ",.0f"),
    "lost": ("lost", ",.0f"),
    "receiver_cpu_seconds": ("receiver CPU s", ".1f"),
}
NOTES = (
    "events/s and CPU are net of start-up: what a run over one event took, in the same round.",
    "Where the receiver's CPU seconds come near to a run's seconds, events/s is the receiver's.",
)

Case = tuple[Contender, Input]


def main() -> int:
    """Measure, print the tables, and write --json."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name, progress() as bar:
        runs = list(_runs(arguments, Path(name), bar))
    title = "three postbacks" if arguments.postbacks_only else "postback, Segment and mParticle"
    cases = by_case(runs, lambda run: (run.case, run.events))
    rows = [row_of(f"{c}, {n:,} events", found, list(COLUMNS)) for (c, n), found in cases.items()]
    ratios = list(_ratios(cases, arguments.postbacks_only))
    notes = [*NOTES, *warnings_of(runs)]
    results = Results(f"relay to {title}", machine(), notes, rows, ratios, runs)
    present(results, COLUMNS, arguments.json)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="+", default=[500_000])
    parser.add_argument("--textbook_events", type=int, default=50_000)
    parser.add_argument("--postbacks_only", action="store_true")
    parser.add_argument("--contenders", nargs="+", choices=(PIPELINE, LOOP, CHECKED, TEXTBOOK))
    parser.add_argument("--runs", type=int, default=3, help="rounds; medians want at least three")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args()


def _runs(arguments: argparse.Namespace, folder: Path, bar: Progress) -> Iterator[FileRun]:
    kinds = THREE_POSTBACKS if arguments.postbacks_only else THREE_KINDS
    chosen = [
        contender
        for contender in _contenders(arguments.postbacks_only)
        if not arguments.contenders or contender.name in arguments.contenders
    ]
    inputs = _Inputs(folder, kinds, bar)
    cases: list[Case] = [
        (contender, inputs.of(size))
        for contender in chosen
        for size in _sizes(contender, arguments)
    ]
    task = bar.add_task("runs", total=len(cases) * arguments.runs)
    for number in range(arguments.runs):
        for contender, given in rotated(cases, number):
            bar.update(task, description=f"{contender.name}, {given.events:,} events")
            yield measure(contender, inputs.of(1), given, number)
            bar.advance(task)


def _contenders(postbacks_only: bool) -> Sequence[Contender]:
    loop, textbook = "benchmarks.bare_loop", "benchmarks.textbook_beam"
    if not postbacks_only:
        return (
            pipeline_contender(PIPELINE, THREE_KINDS),
            module_contender(LOOP, loop),
            module_contender(TEXTBOOK, textbook, may_lose=True),
        )
    return (
        pipeline_contender(PIPELINE, THREE_POSTBACKS),
        module_contender(LOOP, loop, "--postbacks_only"),
        module_contender(CHECKED, loop, "--postbacks_only", "--checked"),
        module_contender(TEXTBOOK, textbook, "--postbacks_only", may_lose=True),
    )


def _sizes(contender: Contender, arguments: argparse.Namespace) -> Sequence[int]:
    if contender.name == TEXTBOOK:
        return [min(arguments.textbook_events, max(arguments.events))]
    return sorted(set(arguments.events))


class _Inputs:
    """The files of events by size, each written once."""

    def __init__(self, folder: Path, kinds: Mapping[str, str], bar: Progress) -> None:
        self._folder = folder
        self._kinds = kinds
        self._bar = bar
        self._known: dict[int, Input] = {}

    def of(self, size: int) -> Input:
        if size not in self._known:
            path = self._folder / f"events-{size}.ndjson"
            task = self._bar.add_task(f"writing {size:,} events", total=size // 1_000)
            write_events(path, size, lambda: self._bar.advance(task))
            due = due_of(path)
            named = {name: due[kind] for name, kind in self._kinds.items()}
            self._known[size] = Input(path, size, named)
        return self._known[size]


def _ratios(
    cases: Mapping[tuple[str, int], Sequence[FileRun]], postbacks_only: bool
) -> Iterator[Ratio]:
    sizes = sorted(size for name, size in cases if name == PIPELINE)
    if not sizes:
        return
    ours = cases[PIPELINE, sizes[-1]]
    bars = {LOOP: 0.40, CHECKED: 0.40} if postbacks_only else {LOOP: 0.70, TEXTBOOK: 8.0}
    for (name, size), theirs in cases.items():
        if name in bars and (size == sizes[-1] or name == TEXTBOOK):
            found = paired(ours, theirs, "copies_per_cpu_second")
            yield Ratio(f"copies per CPU s against {name}", found, bars[name])
    for size in sizes:
        peaks = spread(run.peak_mb for run in cases[PIPELINE, size])
        yield Ratio(f"peak MB, {size:,} events", peaks, MOST_MB, at_least=False)
    if len(sizes) > 1:
        found = paired(ours, cases[PIPELINE, sizes[0]], "peak_mb")
        yield Ratio(f"peak MB, {sizes[-1]:,} against {sizes[0]:,}", found, 1.1, at_least=False)


if __name__ == "__main__":
    raise SystemExit(main())
