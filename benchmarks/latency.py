"""Latency: from publishing to arrival at the partner, through Pub/Sub on DirectRunner.

    .venv/bin/python -m benchmarks.latency

Events are published at a steady rate, 100 and 1,000 a second, to the embedded Pub/Sub (a process of
its own); the pipeline delivers them to a postback, Segment and mParticle with a batch window of 1 s.
An event's id says when `publish` was called, and the receiver takes the time at which its request was
there: so the publisher's own batching (10 ms) is in it. The first `--warm` seconds do not count.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from benchmarks.events import Timed, benchmark_events
from benchmarks.figures import (
    Ratio,
    Results,
    by_case,
    machine,
    present,
    progress,
    rotated,
    row_of,
    spread,
)
from benchmarks.partners import THREE_KINDS, connectors_of
from benchmarks.receiver import Counts, Receiver, receiving
from benchmarks.runs import (
    balanced_report,
    interrupt,
    serving_pubsub,
    streaming,
    write_connectors,
)

WINDOW = "1 s"
MOST_P99_SECONDS = 1.3
ARRIVE_SECONDS = 60
COLUMNS = {
    "hook_p50": ("postback p50 s", ".3f"),
    "hook_p99": ("p99 s", ".3f"),
    "analytics_p50": ("Segment p50 s", ".3f"),
    "analytics_p99": ("p99 s", ".3f"),
    "mobile_p50": ("mParticle p50 s", ".3f"),
    "mobile_p99": ("p99 s", ".3f"),
    "cpu_share": ("CPU of the program", ".0%"),
    "timed": ("copies timed", ",.0f"),
}


class LatencyRun(msgspec.Struct, kw_only=True):
    """What one run found; latencies in seconds, the program's CPU as a share of one processor."""

    rate: int
    round: int
    timed: int
    cpu_share: float
    hook_p50: float
    hook_p99: float
    analytics_p50: float
    analytics_p99: float
    mobile_p50: float
    mobile_p99: float

    @property
    def worst_p99(self) -> float:
        """The 99th percentile of the partner where it is the highest."""
        return max(self.hook_p99, self.analytics_p99, self.mobile_p99)


def main() -> int:
    """Measure, print the tables, and write --json."""
    arguments = _arguments()
    runs: list[LatencyRun] = []
    with progress() as bar:
        task = bar.add_task("latency", total=len(arguments.rates) * arguments.runs)
        for number in range(arguments.runs):
            for rate in rotated(arguments.rates, number):
                bar.update(task, description=f"{rate:,} events/s")
                runs.append(_measure(rate, number, arguments.warm, arguments.seconds))
                bar.advance(task)
    cases = by_case(runs, lambda run: run.rate)
    rows = [row_of(f"{rate:,} events/s", cases[rate], list(COLUMNS)) for rate in arguments.rates]
    ratios = [
        Ratio(
            f"p99 s, {rate:,} events/s, the slowest of the three",
            spread(run.worst_p99 for run in found),
            MOST_P99_SECONDS,
            at_least=False,
        )
        for rate, found in cases.items()
    ]
    notes = [f"The batch window is {WINDOW}: an event waits for half of it on average."]
    present(Results("latency", machine(), notes, rows, ratios, runs), COLUMNS, arguments.json)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=int, nargs="+", default=[100, 1_000])
    parser.add_argument("--warm", type=float, default=10, help="seconds that do not count")
    parser.add_argument("--seconds", type=float, default=30, help="seconds that count")
    parser.add_argument("--runs", type=int, default=3, help="rounds; medians want at least three")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args()


def _measure(rate: int, number: int, warm: float, seconds: float) -> LatencyRun:
    with tempfile.TemporaryDirectory() as name, receiving() as receiver, serving_pubsub() as pubsub:
        folder = Path(name)
        connectors = connectors_of(receiver.url, THREE_KINDS, batch_window=WINDOW)
        write_connectors(folder, connectors)
        with streaming(folder) as program:
            pubsub.publish_at(rate, benchmark_events(round(rate * warm), seed=2))
            events = [
                Timed(event, place)
                for place, event in enumerate(benchmark_events(round(rate * seconds)))
            ]
            before, begun = program.cpu_seconds(), time.monotonic()
            pubsub.publish_at(rate, (event.published_now() for event in events))
            cpu_share = (program.cpu_seconds() - before) / (time.monotonic() - begun)
            counts = _arrived(receiver, events)
            interrupt(program)
            program.wait()
        balanced_report(folder)
        return LatencyRun(
            rate=rate,
            round=number,
            timed=sum(count.timed for count in counts.values()),
            cpu_share=cpu_share,
            **dict(_latencies(counts)),
        )


def _arrived(receiver: Receiver, events: list[Timed]) -> Mapping[str, Counts]:
    """The counts, once all that was timed is there; raises SystemExit where it does not come."""
    due = Counter(kind for event in events for kind in event.kinds)

    def is_there(counts: Mapping[str, Counts]) -> bool:
        return all(
            name in counts and counts[name].timed >= due[kind] for name, kind in THREE_KINDS.items()
        )

    if not receiver.wait_for(is_there, ARRIVE_SECONDS):
        raise SystemExit(f"not all has arrived: due {due}, arrived {receiver.counts()}")
    return receiver.counts()


def _latencies(counts: Mapping[str, Counts]) -> Iterator[tuple[str, float]]:
    for name, count in counts.items():
        yield f"{name}_p50", count.p50_seconds
        yield f"{name}_p99", count.p99_seconds


if __name__ == "__main__":
    raise SystemExit(main())
