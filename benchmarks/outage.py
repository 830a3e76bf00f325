"""Outage: holding events of a dead partner, probing it, and releasing them; time and memory.

    .venv/bin/python -m benchmarks.outage

A bounded run holds the events (100,000 and 1,000,000); a streaming run adopts them, probes for a
while, and releases them when the partner is back. The partner is a strict stand-in that answers 503
until then. Held a second counts the whole bounded run, start-up included; released a second counts
from the first event that arrives to the last. Memory must not grow with what is held.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.events import write_events
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
)
from benchmarks.processes import Spent, run_program
from benchmarks.runs import (
    balanced_report,
    interrupt,
    run_command,
    serving_pubsub,
    streaming,
    write_connectors,
)
from sandbox.partners import Counts, Fault, PartnerSandbox, PostbackSite

PACE = ("--probe_min", "1 s", "--probe_max", "2 s")
HELD = 3
"""The exit code of a run that holds something."""
ARRIVE_SECONDS = 60
COLUMNS = {
    "held_per_second": ("held/s", ",.0f"),
    "holding_mb": ("peak MB", ",.0f"),
    "files": ("files", ",.0f"),
    "probing_cpu_share": ("CPU while probing", ".1%"),
    "released_per_second": ("released/s", ",.0f"),
    "releasing_mb": ("peak MB", ",.0f"),
}


class OutageRun(msgspec.Struct, kw_only=True):
    """What one run took; times in seconds, memory in MB of 1,000,000 bytes."""

    events: int
    round: int
    holding_seconds: float
    held_per_second: float
    holding_cpu_seconds: float
    holding_mb: float
    files: int
    probing_cpu_share: float
    """Of one processor."""
    releasing_seconds: float
    released_per_second: float
    releasing_mb: float


def main() -> int:
    """Measure, print the tables, and write --json."""
    arguments = _arguments()
    runs: list[OutageRun] = []
    with progress() as bar:
        task = bar.add_task("outage", total=len(arguments.events) * arguments.runs)
        for number in range(arguments.runs):
            for size in rotated(arguments.events, number):
                bar.update(task, description=f"{size:,} events held")
                runs.append(_measure(size, number, arguments.probing))
                bar.advance(task)
    cases = by_case(runs, lambda run: run.events)
    rows = [row_of(f"{size:,} events", cases[size], list(COLUMNS)) for size in arguments.events]
    results = Results("outage", machine(), (), rows, list(_ratios(cases)), runs)
    present(results, COLUMNS, arguments.json)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--probing", type=float, default=20, help="seconds of probing")
    parser.add_argument("--runs", type=int, default=3, help="rounds; medians want at least three")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args()


def _ratios(cases: Mapping[int, Sequence[OutageRun]]) -> Iterator[Ratio]:
    if len(cases) < 2:
        return
    few, many = min(cases), max(cases)
    for figure, when in (("holding_mb", "holding"), ("releasing_mb", "releasing")):
        found = paired(cases[many], cases[few], figure)
        yield Ratio(f"peak MB {when}, {many:,} against {few:,}", found, 1.1, at_least=False)


def _measure(size: int, number: int, probing_seconds: float) -> OutageRun:
    with (
        tempfile.TemporaryDirectory() as name,
        serving_pubsub(),
        PartnerSandbox({"hook": PostbackSite()}, keep_bodies=0, keep_ids=False) as partners,
    ):
        folder = Path(name)
        write_connectors(
            folder, [{"name": "hook", "kind": "postback", "url": partners.url("hook")}]
        )
        partners.set_fault("hook", Fault(status=503))
        holding = _hold(folder, size)
        files = len(list((folder / "held" / "queue" / "hook").iterdir()))
        share, seconds, releasing = _release(folder, partners, size, probing_seconds)
        return OutageRun(
            events=size,
            round=number,
            holding_seconds=holding.seconds,
            held_per_second=size / holding.seconds,
            holding_cpu_seconds=holding.cpu_seconds,
            holding_mb=holding.peak_mb,
            files=files,
            probing_cpu_share=share,
            releasing_seconds=seconds,
            released_per_second=size / max(seconds, 1e-3),
            releasing_mb=releasing.peak_mb,
        )


def _hold(folder: Path, size: int) -> Spent:
    events = folder / "events.ndjson"
    write_events(events, size)
    command = run_command(folder, *PACE, "--input", str(events))
    spent = run_program(command, folder / "log", codes=[HELD])
    balanced_report(folder)
    (folder / "report.json").unlink()
    events.unlink()
    return spent


def _release(
    folder: Path, partners: PartnerSandbox, size: int, probing_seconds: float
) -> tuple[float, float, Spent]:
    """The share of CPU while probing, the seconds of releasing, and what the run took."""
    before = partners.counts("hook").requests
    with streaming(folder, *PACE) as program:
        _wait(partners, lambda counts: counts.requests > before)  # it is attended
        cpu = program.cpu_seconds()
        time.sleep(probing_seconds)
        cpu = program.cpu_seconds() - cpu
        partners.set_fault("hook", None)
        _wait(partners, lambda counts: counts.accepted > 0)
        started = time.monotonic()
        _wait(partners, lambda counts: counts.accepted >= size, 10 * ARRIVE_SECONDS)
        seconds = time.monotonic() - started
        interrupt(program)
        spent = program.wait()
    balanced_report(folder)
    return cpu / probing_seconds, seconds, spent


def _wait(
    partners: PartnerSandbox, holds: Callable[[Counts], bool], seconds: float = ARRIVE_SECONDS
) -> None:
    if not partners.wait_for("hook", holds, seconds):
        raise SystemExit(f"the partner has got {partners.counts('hook')} after {seconds} s")


if __name__ == "__main__":
    raise SystemExit(main())
