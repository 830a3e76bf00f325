"""Stream: Pub/Sub to three connectors on DirectRunner, against bare google-cloud-pubsub subscribers.

    .venv/bin/python -m benchmarks.stream

A backlog lies in the embedded Pub/Sub (a process of its own) when the program starts; events/s are
from the first arrival at the receiver to the last, at a batch window of 1 s. CPU is that of the program
less start-up, which is the same over a backlog of one event. The bars do the same three deliveries:
one reads with the client library's streaming pull, one with pull requests, as the pipeline does.
In each round every contender runs once, and ratios are taken within a round.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec

from benchmarks.events import benchmark_events, kinds_of
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
from benchmarks.partners import SECRETS, THREE_KINDS, connectors_of
from benchmarks.processes import Program, Spent
from benchmarks.receiver import Counts, Receiver, receiving
from benchmarks.runs import (
    SUBSCRIPTION,
    balanced_report,
    interrupt,
    run_command,
    serving_pubsub,
    write_connectors,
)
from schemas.event import decode_header

PIPELINE, STREAMING, UNARY = "pipeline", "bare subscriber", "bare subscriber, unary pulls"
CONTENDERS = (PIPELINE, STREAMING, UNARY)
ARRIVE_SECONDS = 600
COLUMNS = {
    "events_per_second": ("events/s", ",.0f"),
    "cpu_us_per_copy": ("CPU µs a copy", ",.1f"),
    "startup_cpu_seconds": ("start-up CPU s", ".2f"),
    "peak_mb": ("peak MB", ",.0f"),
    "copies": ("copies", ",.0f"),
    "requests": ("requests", ",.0f"),
    "pubsub_cpu_seconds": ("Pub/Sub CPU s", ".1f"),
    "receiver_cpu_seconds": ("receiver CPU s", ".1f"),
    "arriving_seconds": ("seconds", ".1f"),
}
NOTE = (
    "Program, Pub/Sub and receiver share the processors: where their CPU adds up to all of them, "
    "events/s is the machine's, and CPU a copy tells more."
)


class StreamRun(msgspec.Struct, kw_only=True):
    """What one run took; times in seconds, memory in MB of 1,000,000 bytes."""

    case: str
    round: int
    events: int
    copies: int
    arriving_seconds: float
    cpu_seconds: float
    startup_cpu_seconds: float
    peak_mb: float
    requests: int
    pubsub_cpu_seconds: float
    receiver_cpu_seconds: float
    events_per_second: float = 0.0
    cpu_us_per_copy: float = 0.0

    def __post_init__(self) -> None:
        self.events_per_second = self.events / max(self.arriving_seconds, 1e-3)
        net = max(self.cpu_seconds - self.startup_cpu_seconds, 1e-3)
        self.cpu_us_per_copy = net / self.copies * 1e6


def main() -> int:
    """Measure, print the tables, and write --json."""
    arguments = _arguments()
    events = list(benchmark_events(arguments.events))
    runs: list[StreamRun] = []
    with progress() as bar:
        task = bar.add_task("stream", total=len(arguments.contenders) * arguments.runs)
        for number in range(arguments.runs):
            for case in rotated(arguments.contenders, number):
                bar.update(task, description=case)
                runs.append(_measure(case, number, events))
                bar.advance(task)
    cases = by_case(runs, lambda run: run.case)
    rows = [row_of(case, cases[case], list(COLUMNS)) for case in arguments.contenders]
    ratios = [
        Ratio(f"events/s against {bar}", paired(cases[PIPELINE], theirs, "events_per_second"), 0.7)
        for bar, theirs in cases.items()
        if bar != PIPELINE and PIPELINE in cases
    ]
    present(Results("stream", machine(), [NOTE], rows, ratios, runs), COLUMNS, arguments.json)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--runs", type=int, default=3, help="rounds; medians want at least three")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args()


def _measure(case: str, number: int, events: list[bytes]) -> StreamRun:
    startup = _run(case, events[:1])
    run = _run(case, events)
    counts = run.counts
    first = min(count.first_at for count in counts.values())
    last = max(count.last_at for count in counts.values())
    return StreamRun(
        case=case,
        round=number,
        events=len(events),
        copies=sum(count.events for count in counts.values()),
        arriving_seconds=last - first,
        cpu_seconds=run.spent.cpu_seconds,
        startup_cpu_seconds=startup.spent.cpu_seconds,
        peak_mb=run.spent.peak_mb,
        requests=sum(count.requests for count in counts.values()),
        pubsub_cpu_seconds=run.pubsub_cpu_seconds,
        receiver_cpu_seconds=run.receiver_cpu_seconds,
    )


class _Run(msgspec.Struct):
    spent: Spent
    counts: Mapping[str, Counts]
    pubsub_cpu_seconds: float
    receiver_cpu_seconds: float


def _run(case: str, events: list[bytes]) -> _Run:
    """One run over a backlog, from the program's start until all has arrived and it has ended."""
    with tempfile.TemporaryDirectory() as name, receiving() as receiver, serving_pubsub() as pubsub:
        folder = Path(name)
        pubsub.publish_all(events)
        before = pubsub.cpu_seconds()
        program = Program(_command(case, folder, receiver), folder / "log", SECRETS)
        try:
            counts = _arrived(program, receiver, events)
            interrupt(program)
            spent = program.wait()
        finally:
            program.kill()
        _check(case, program, folder)
        return _Run(spent, counts, pubsub.cpu_seconds() - before, receiver.cpu_seconds())


def _command(case: str, folder: Path, receiver: Receiver) -> list[str]:
    if case == PIPELINE:
        write_connectors(folder, connectors_of(receiver.url, THREE_KINDS, batch_window="1 s"))
        return run_command(folder, "--subscription", SUBSCRIPTION)
    unary = ["--unary"] if case == UNARY else []
    return [
        *(sys.executable, "-m", "benchmarks.bare_subscriber", SUBSCRIPTION, receiver.url),
        *unary,
    ]


def _arrived(program: Program, receiver: Receiver, events: list[bytes]) -> Mapping[str, Counts]:
    """The counts, once all is there; raises SystemExit where it does not come."""
    kinds = Counter(kind for event in events for kind in kinds_of(decode_header(event).event_type))
    due = {name: kinds[kind] for name, kind in THREE_KINDS.items() if kinds[kind]}

    def is_over(counts: Mapping[str, Counts]) -> bool:
        return _has(counts, due) or not program.is_running

    receiver.wait_for(is_over, ARRIVE_SECONDS)
    counts = receiver.counts()
    refused = sum(count.refused for count in counts.values())
    if refused or not _has(counts, due):
        raise SystemExit(f"due {due}, arrived {counts}:\n{program.said()}")
    return counts


def _has(counts: Mapping[str, Counts], due: Mapping[str, int]) -> bool:
    return all(name in counts and counts[name].events >= count for name, count in due.items())


def _check(case: str, program: Program, folder: Path) -> None:
    if case == PIPELINE:
        balanced_report(folder)
    if program.code != 0:
        raise SystemExit(f"{case} ended with {program.code}:\n{program.said()}")


if __name__ == "__main__":
    raise SystemExit(main())
