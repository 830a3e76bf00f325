"""Load: an hour of traffic in as few minutes as the machine takes, 1,000 connectors, bursts of ten times.

    .venv/bin/python -m benchmarks.load

360,000 events, an hour at 100 a second, go through the embedded Pub/Sub (a process of its own) and the
pipeline on DirectRunner to 1,000 postbacks with a batch window of 1 s. Nine in ten are of one app group
and so of one connector; the others are of 999 app groups. How fast it goes is found first: a backlog of
`--backlog` events is drained, and `--share` of that rate is what is published in quiet. Every
`--every` seconds comes a burst: `--burst` seconds of ten times as many, which is more than the machine
takes at once.

Memory is resident memory, looked at each second; its slope is that of a straight line through all that
was seen after the first quarter. An event is late from the call of `publish` until its request is at
the receiver; what is published in a burst is told apart from what comes within `--after` seconds of one,
which waits behind it, and from the rest.
"""

import argparse
import itertools
import statistics
import tempfile
import threading
import time
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.events import Timed
from benchmarks.figures import Ratio, Results, machine, present, progress, row_of, spread
from benchmarks.partners import connectors_of
from benchmarks.processes import Program
from benchmarks.receiver import Arrival, Counts, Receiver, receiving
from benchmarks.runs import (
    TOPIC,
    PubSub,
    balanced_report,
    interrupt,
    serving_pubsub,
    streaming,
    write_connectors,
)
from sandbox.samples import sample_events

HOT = "hot"
HOT_SHARE = 0.9
TIMES = 10
"""How much more comes in a burst."""
WINDOW = "1 s"
DIFFERENT_EVENTS = 20_000
LOOK_SECONDS = 1.0
ARRIVE_SECONDS = 300
QUIET_SECONDS = 3.0
"""Nothing has come for so long: more than the batch window."""
MOST_MB_A_MINUTE = 1.0
MOST_P99_SECONDS = 2.5
COLUMNS = {
    "events": ("events", ",.0f"),
    "minutes": ("minutes", ".1f"),
    "backlog_per_second": ("backlog/s", ",.0f"),
    "quiet_per_second": ("quiet/s", ",.0f"),
    "burst_per_second": ("burst/s", ",.0f"),
    "repeated": ("repeated", ",.0f"),
    "cpu_share": ("CPU", ".0%"),
    "early_mb": ("MB early", ",.0f"),
    "late_mb": ("MB late", ",.0f"),
    "peak_mb": ("peak MB", ",.0f"),
    "mb_a_minute": ("MB a minute", "+.2f"),
    "quiet_p50": ("quiet p50 s", ".2f"),
    "quiet_p99": ("p99 s", ".2f"),
    "burst_p50": ("burst p50 s", ".2f"),
    "burst_p99": ("p99 s", ".2f"),
    "after_p50": ("after p50 s", ".2f"),
    "after_p99": ("p99 s", ".2f"),
    "longest": ("longest s", ".2f"),
}


class LoadRun(msgspec.Struct, kw_only=True):
    """What one run found; latencies in seconds, memory in MB of 1,000,000 bytes."""

    events: int
    connectors: int
    minutes: float
    backlog_per_second: float
    quiet_per_second: float
    burst_per_second: float
    """What was really published in bursts."""
    repeated: int
    """What came once more: a lease ended before it was extended, on a machine that is too busy."""
    cpu_share: float
    early_mb: float
    """The median of the second quarter."""
    late_mb: float
    """That of the last one."""
    peak_mb: float
    mb_a_minute: float
    quiet_p50: float
    quiet_p99: float
    burst_p50: float
    burst_p99: float
    after_p50: float
    after_p99: float
    longest: float
    load_before: float
    """What else ran on the machine: its load average when the run began."""
    resident_mb: Sequence[float]


def main() -> int:
    """Measure, print the tables, and write --json."""
    arguments = _arguments()
    runs: list[LoadRun] = []
    with progress() as bar:
        task = bar.add_task("load", total=arguments.runs)
        for _ in range(arguments.runs):
            runs.append(_measure(arguments))
            bar.advance(task)
    rows = [row_of(f"{arguments.connectors:,} connectors", runs, list(COLUMNS))]
    ratios = [
        Ratio(
            "MB a minute",
            spread(run.mb_a_minute for run in runs),
            MOST_MB_A_MINUTE,
            at_least=False,
        ),
        Ratio(
            "p99 s, in quiet",
            spread(run.quiet_p99 for run in runs),
            MOST_P99_SECONDS,
            at_least=False,
        ),
    ]
    loads = ", ".join(f"{run.load_before:.1f}" for run in runs)
    notes = [f"Load average of the machine when a run began: {loads}."]
    present(Results("load", machine(), notes, rows, ratios, runs), COLUMNS, arguments.json)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=360_000, help="of the hour")
    parser.add_argument("--connectors", type=int, default=1_000)
    parser.add_argument("--backlog", type=int, default=20_000, help="events to find the rate with")
    parser.add_argument("--share", type=float, default=0.3, help="of that rate, in quiet")
    parser.add_argument("--every", type=float, default=30, help="seconds from burst to burst")
    parser.add_argument("--burst", type=float, default=2, help="seconds of a burst")
    parser.add_argument("--after", type=float, default=10, help="seconds that it is felt")
    parser.add_argument("--runs", type=int, default=1, help="rounds; medians want at least three")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args()


def _measure(arguments: argparse.Namespace) -> LoadRun:
    load_before = machine()["load"][0]
    groups = [HOT, *(f"group-{number}" for number in range(1, arguments.connectors))]
    events = _events(groups)
    with tempfile.TemporaryDirectory() as name, receiving() as receiver, serving_pubsub() as pubsub:
        folder = Path(name)
        _write_connectors(folder, receiver, groups)
        with streaming(folder) as program:
            traffic = _Traffic(pubsub, receiver, events)
            backlog_per_second = traffic.drain(arguments.backlog)
            begun = time.monotonic()
            cpu = program.cpu_seconds()
            with _Memory(program) as memory:
                quiet = backlog_per_second * arguments.share
                traffic.flow(arguments.events, _Pace(quiet, arguments.every, arguments.burst))
                published_seconds = time.monotonic() - begun
                traffic.wait_until_arrived()
            cpu = program.cpu_seconds() - cpu
            seconds = time.monotonic() - begun
            interrupt(program)
            spent = program.wait()
        balanced_report(folder)
        if program.code:
            raise SystemExit(f"the pipeline ended with {program.code}:\n{program.said()}")
        by_partner = receiver.arrivals()
        repeated = traffic.repeated(by_partner)
        arrivals = [
            one for each in by_partner.values() for one in each if one.published_at >= begun
        ]
    latencies = _latencies(arrivals, traffic.bursts, arguments.after)
    quarter = len(memory.seen) // 4
    return LoadRun(
        events=arguments.events,
        connectors=arguments.connectors,
        minutes=published_seconds / 60,
        backlog_per_second=backlog_per_second,
        quiet_per_second=quiet,
        burst_per_second=traffic.burst_per_second,
        repeated=repeated,
        cpu_share=cpu / seconds,
        early_mb=statistics.median(memory.seen[quarter : 2 * quarter] or memory.seen),
        late_mb=statistics.median(memory.seen[-quarter:]),
        peak_mb=spent.peak_mb,
        mb_a_minute=_slope(memory.seen[quarter:]) * 60 / LOOK_SECONDS,
        **latencies,
        longest=max(arrival.latency for arrival in arrivals),
        load_before=load_before,
        resident_mb=memory.seen,
    )


def _events(groups: Sequence[str]) -> list[Timed]:
    """Events to be published again and again: nine in ten of the first group."""
    others = groups[1:]
    hot = round(len(others) * HOT_SHARE / (1 - HOT_SHARE))
    dealt = (*itertools.repeat(groups[0], hot), *others)
    events = sample_events(DIFFERENT_EVENTS, app_groups=dealt, anonymous_share=0)
    return [Timed(event, number) for number, event in enumerate(events)]


def _write_connectors(folder: Path, receiver: Receiver, groups: Sequence[str]) -> None:
    entries = connectors_of(receiver.url, dict.fromkeys(groups, "postback"), batch_window=WINDOW)
    write_connectors(folder, [{**entry, "app_group_ids": [entry["name"]]} for entry in entries])


class _Pace(NamedTuple):
    """How many events a second come: in quiet, and ten times as many in bursts."""

    quiet: float
    every_seconds: float
    burst_seconds: float

    def is_burst(self, seconds: float) -> bool:
        """Whether there is a burst so long after the start; each interval ends with one."""
        return seconds % self.every_seconds >= self.every_seconds - self.burst_seconds

    def rate(self, seconds: float) -> float:
        return self.quiet * (TIMES if self.is_burst(seconds) else 1)


class _Traffic:
    """What is published, and what each partner is due of it."""

    def __init__(self, pubsub: PubSub, receiver: Receiver, events: Sequence[Timed]) -> None:
        self.bursts: list[tuple[float, float]] = []
        """When each began and ended."""
        self._pubsub = pubsub
        self._receiver = receiver
        self._waiting = itertools.cycle(events)
        self._published: dict[str, list[int]] = {}
        self._count = 0
        self._in_bursts = 0

    @property
    def burst_per_second(self) -> float:
        seconds = sum(end - begin for begin, end in self.bursts)
        return self._in_bursts / seconds if seconds else 0.0

    def drain(self, count: int) -> float:
        """How many events a second arrive of a backlog."""
        self._pubsub.publish_all(self._next() for _ in range(count))
        self.wait_until_arrived()
        counts = self._receiver.totals().values()
        first = min(each.first_at for each in counts)
        return count / (max(each.last_at for each in counts) - first)

    def flow(self, count: int, pace: _Pace) -> None:
        """Publish so many events at a pace."""
        begun = due = time.monotonic()
        for _ in range(count):
            now = time.monotonic()
            if due > now:
                time.sleep(due - now)
            self._note_burst(pace.is_burst(due - begun))
            self._pubsub.publisher.publish(TOPIC, self._next())
            due = max(due, now - 1) + 1 / pace.rate(due - begun)
        self._note_burst(False)

    def _note_burst(self, is_burst: bool) -> None:
        now = time.monotonic()
        in_burst = bool(self.bursts) and self.bursts[-1][1] == 0
        if is_burst and not in_burst:
            self.bursts.append((now, 0))
        elif in_burst and not is_burst:
            self.bursts[-1] = (self.bursts[-1][0], now)
        self._in_bursts += is_burst

    def _next(self) -> bytes:
        event = next(self._waiting)
        published = event.published_now()
        self._published.setdefault(event.app_group, []).append(event.published_ns)
        self._count += 1
        return published

    def wait_until_arrived(self) -> None:
        """Wait until as much is there as was published, and for what is there twice no more comes.

        Raises SystemExit where something does not come.
        """

        def is_there(counts: Mapping[str, Counts]) -> bool:
            return _arrived(counts) >= self._count

        if not self._receiver.wait_for(is_there, ARRIVE_SECONDS):
            arrived = _arrived(self._receiver.totals())
            raise SystemExit(f"{arrived} of {self._count} have arrived after {ARRIVE_SECONDS} s")
        arrived = -1
        while arrived != (arrived := _arrived(self._receiver.totals())):
            time.sleep(QUIET_SECONDS)

    def repeated(self, arrivals: Mapping[str, Sequence[Arrival]]) -> int:
        """How many came once more; raises SystemExit where a partner lacks one, or has another's."""
        for name, published in self._published.items():
            arrived = {round(one.published_at * 1e9) for one in arrivals.get(name, ())}
            lost, foreign = set(published) - arrived, arrived - set(published)
            if lost or foreign:
                raise SystemExit(f"{name}: {len(lost)} are lost, {len(foreign)} are not its own")
        return sum(map(len, arrivals.values())) - self._count


def _arrived(counts: Mapping[str, Counts]) -> int:
    return sum(count.events for count in counts.values())


class _Memory:
    """Looks at a program's memory for as long as the block lasts."""

    def __init__(self, program: Program) -> None:
        self.seen: list[float] = []
        self._program = program
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        self.seen.append(self._program.resident_mb())
        while not self._over.wait(LOOK_SECONDS):
            self.seen.append(self._program.resident_mb())


def _slope(seen: Sequence[float]) -> float:
    """The rise from one look to the next, of a straight line through all."""
    if len(seen) < 2:
        return 0.0
    return statistics.linear_regression(range(len(seen)), seen).slope


def _latencies(
    arrivals: Sequence[Arrival],
    bursts: Sequence[tuple[float, float]],
    after_seconds: float,
) -> Mapping[str, float]:
    """The percentiles of what was published in quiet, in a burst, and soon after one."""
    found: dict[str, list[float]] = {"quiet": [], "burst": [], "after": []}
    begins = [begin for begin, _ in bursts]
    for published_at, latency in arrivals:
        place = bisect(begins, published_at) - 1
        end = bursts[place][1] if place >= 0 else -after_seconds
        when = "burst" if published_at <= end else "after"
        found[when if published_at <= end + after_seconds else "quiet"].append(latency)
    return dict(_percentiles(found))


def _percentiles(found: Mapping[str, list[float]]) -> Iterator[tuple[str, float]]:
    for name, latencies in found.items():
        latencies.sort()
        for percent in (50, 99):
            place = len(latencies) * percent // 100
            yield f"{name}_p{percent}", latencies[place] if latencies else 0.0


if __name__ == "__main__":
    raise SystemExit(main())
