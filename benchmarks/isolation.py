"""Isolation: what one failing connector of five costs the other four, on DirectRunner.

    .venv/bin/python -m benchmarks.isolation

Two scenes for each way of failing, and for none:

- a backlog in Pub/Sub, as fast as it goes: copies a second that arrive at the four, from the first to
  the last. What the failing one does not cost is free for the four, so this may grow;
- a steady rate of events: what arrives at the four a second, until the last of it is there, and how
  long after its publishing, once `--warm` seconds are over.

All are postbacks with a batch window of 0.5 s. The four are at the receiver, and the fifth too where
it works; where it fails it is a strict stand-in with a fault, or a name that does not resolve. Ratios
are taken within a round, against the run in which all five work.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.events import Timed, benchmark_events
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
from benchmarks.partners import connectors_of
from benchmarks.processes import Program
from benchmarks.receiver import Counts, Receiver, receiving
from benchmarks.runs import (
    SUBSCRIPTION,
    PubSub,
    balanced_report,
    interrupt,
    run_command,
    serving_pubsub,
    streaming,
    write_connectors,
)
from sandbox.partners import Fault, PartnerSandbox, PostbackSite

FAILING = "failing"
HEALTHY = ("one", "two", "three", "four")
WORKS, DNS = "none", "dns"
FAULTS: dict[str, Fault | None] = {
    WORKS: None,
    "503": Fault(status=503),
    "401": Fault(status=401),
    "hang": Fault(hang=True),
    "reset": Fault(reset=True),
    "drip": Fault(drip=True),
    DNS: None,
}
WINDOW = "500 ms"
ARRIVE_SECONDS = 300
HELD = 3
COLUMNS = {
    "backlog_copies_per_second": ("copies/s of a backlog", ",.0f"),
    "steady_copies_per_second": ("copies/s at a steady rate", ",.0f"),
    "p50_seconds": ("p50 s", ".3f"),
    "p99_seconds": ("p99 s", ".3f"),
}


class IsolationRun(msgspec.Struct, kw_only=True):
    """What the four got in one round; the percentiles are those of the one where they are highest."""

    fault: str
    round: int
    backlog_copies_per_second: float
    steady_copies_per_second: float
    p50_seconds: float
    p99_seconds: float


def main() -> int:
    """Measure, print the tables, and write --json."""
    arguments = _arguments()
    runs: list[IsolationRun] = []
    with progress() as bar:
        task = bar.add_task("isolation", total=len(arguments.faults) * arguments.runs)
        for number in range(arguments.runs):
            for fault in rotated(arguments.faults, number):
                bar.update(task, description=f"the fifth: {fault}")
                runs.append(_measure(fault, number, arguments))
                bar.advance(task)
    cases = by_case(runs, lambda run: run.fault)
    rows = [
        row_of(f"the fifth: {fault}", cases[fault], list(COLUMNS)) for fault in arguments.faults
    ]
    results = Results("isolation", machine(), (), rows, list(_ratios(cases)), runs)
    present(results, COLUMNS, arguments.json)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=50_000, help="events of the backlog")
    parser.add_argument(
        "--rate", type=int, default=300, help="events a second, of the steady scene"
    )
    parser.add_argument("--warm", type=float, default=10, help="seconds that do not count")
    parser.add_argument("--seconds", type=float, default=20, help="seconds that count")
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--runs", type=int, default=3, help="rounds; medians want at least three")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args()


def _ratios(cases: Mapping[str, Sequence[IsolationRun]]) -> Iterator[Ratio]:
    if WORKS not in cases:
        return
    for fault, found in cases.items():
        if fault != WORKS:
            for scene in ("backlog", "steady"):
                figure = f"{scene}_copies_per_second"
                yield Ratio(f"{scene}: {fault}", paired(found, cases[WORKS], figure), 0.95)


def _measure(fault: str, number: int, arguments: argparse.Namespace) -> IsolationRun:
    backlog = _backlog(fault, list(benchmark_events(arguments.events)))
    begun, counts = _steady(fault, arguments.rate, arguments.warm, arguments.seconds)
    seconds = max(count.last_at for count in counts) - begun
    return IsolationRun(
        fault=fault,
        round=number,
        backlog_copies_per_second=backlog,
        steady_copies_per_second=sum(count.timed for count in counts) / seconds,
        p50_seconds=max(count.p50_seconds for count in counts),
        p99_seconds=max(count.p99_seconds for count in counts),
    )


def _backlog(fault: str, events: list[bytes]) -> float:
    """Copies a second that arrive at the four."""

    def scene(folder: Path, receiver: Receiver, pubsub: PubSub) -> float:
        pubsub.publish_all(events)
        program = Program(run_command(folder, "--subscription", SUBSCRIPTION), folder / "log")
        try:
            counts = _arrived(receiver, lambda count: count.events >= len(events))
            _end(program, folder)
        finally:
            program.kill()
        first = min(count.first_at for count in counts)
        last = max(count.last_at for count in counts)
        return len(HEALTHY) * len(events) / max(last - first, 1e-3)

    return _with_fault(fault, scene)


def _steady(fault: str, rate: int, warm: float, seconds: float) -> tuple[float, Sequence[Counts]]:
    """When publishing in earnest began, and what the four got of it."""

    def scene(folder: Path, receiver: Receiver, pubsub: PubSub) -> tuple[float, Sequence[Counts]]:
        events = [
            Timed(event, place)
            for place, event in enumerate(benchmark_events(round(rate * seconds)))
        ]
        with streaming(folder) as program:
            pubsub.publish_at(rate, benchmark_events(round(rate * warm), seed=2))
            begun = time.monotonic()
            pubsub.publish_at(rate, (event.published_now() for event in events))
            counts = _arrived(receiver, lambda count: count.timed >= len(events))
            _end(program, folder)
        return begun, counts

    return _with_fault(fault, scene)


def _with_fault(fault: str, scene: Callable[[Path, Receiver, PubSub], Any]) -> Any:
    """What a scene returns, with connectors of which the fifth fails."""
    with (
        tempfile.TemporaryDirectory() as name,
        receiving() as receiver,
        serving_pubsub() as pubsub,
        PartnerSandbox({FAILING: PostbackSite()}, keep_bodies=0, keep_ids=False) as partners,
    ):
        partners.set_fault(FAILING, FAULTS[fault])
        names = dict.fromkeys((*HEALTHY, FAILING), "postback")
        connectors = [
            dict(entry) for entry in connectors_of(receiver.url, names, batch_window=WINDOW)
        ]
        if fault == DNS:
            connectors[-1]["url"] = "http://nowhere.invalid/"
        elif fault != WORKS:
            connectors[-1]["url"] = partners.url(FAILING)
        write_connectors(Path(name), connectors)
        return scene(Path(name), receiver, pubsub)


def _arrived(receiver: Receiver, holds: Callable[[Counts], bool]) -> Sequence[Counts]:
    """What the four have got, once it is all there; raises SystemExit where it does not come."""

    def is_there(counts: Mapping[str, Counts]) -> bool:
        return all(name in counts and holds(counts[name]) for name in HEALTHY)

    if not receiver.wait_for(is_there, ARRIVE_SECONDS):
        raise SystemExit(f"not all has arrived: {receiver.counts()}")
    counts = receiver.counts()
    return [counts[name] for name in HEALTHY]


def _end(program: Program, folder: Path) -> None:
    interrupt(program)
    program.wait()
    balanced_report(folder)
    if program.code not in (0, HELD):
        raise SystemExit(f"the pipeline ended with {program.code}:\n{program.said()}")


if __name__ == "__main__":
    raise SystemExit(main())
