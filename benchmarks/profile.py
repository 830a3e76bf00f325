"""Profile: where each microsecond of an event goes, by stage.

    .venv/bin/python -m benchmarks.profile --plot profile.svg

The stages of the relay (a file to a postback, Segment and mParticle) are run one by one in this
process, without Beam, on the events of a file, and their CPU time is taken (`time.process_time`, so
that threads and the kernel's part of sending are in it). Then the whole pipeline runs over the same
file; its CPU less start-up, less the stages, is what Beam, threads and bookkeeping take. All figures
are µs of CPU for each event of the file, not for each copy.

- read: the file's blocks to pulls, encoded and decoded again as they cross Beam;
- decode: the header of each message, which is all that routing reads;
- route: finding the connectors, and gathering lines by lane;
- pack: the partner's requests, of each kind;
- send: the requests of each kind, one at a time over kept-alive connections.
"""

import argparse
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import msgspec

from benchmarks.events import due_of, write_events
from benchmarks.figures import Results, Row, Spread, machine, present, progress, spread
from benchmarks.file_runs import FileRun, Input, measure, pipeline_contender, warnings_of
from benchmarks.partners import SECRETS, THREE_KINDS, connectors_of
from benchmarks.receiver import receiving
from runtime.address import AddressPolicy
from runtime.connectors import Config, parse_config
from runtime.decoding import Decoder
from runtime.exchange import HttpExchange
from runtime.files import expand_patterns, read_range
from runtime.keeping import Letters
from runtime.receipts import Receipts
from runtime.routing import Router
from schemas.batch import Batch
from schemas.event import decode_event
from schemas.lane import Lane
from schemas.limits import MAX_EVENT_BYTES
from schemas.pull import Pull, decode_pull, encode_pull
from sinks.sink import HttpRequest

KINDS = tuple(THREE_KINDS.values())
STAGES = (
    *("read", "decode", "route"),
    *(f"pack {kind}" for kind in KINDS),
    *(f"send {kind}" for kind in KINDS),
)
REST = "Beam, threads, bookkeeping"
WHOLE = "the whole run"
COLUMNS = {"us_per_event": ("CPU µs an event", ",.2f"), "share": ("of the whole", ".0%")}


class Profile(msgspec.Struct):
    """One round: µs of CPU for each event, by stage, with the rest and the whole."""

    us_per_event: dict[str, float]
    copies_per_event: dict[str, float]
    """By kind: not every partner takes every event."""
    requests_per_event: dict[str, float]
    """By kind, of the stages that were run one by one."""


def main() -> int:
    """Measure, print the table, write --json and --plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3, help="rounds; medians want at least three")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--plot", type=Path, help="an SVG file for the plot")
    arguments = parser.parse_args()
    profiles, whole = measure_stages(arguments.events, arguments.runs)
    rows = [_row(stage, profiles) for stage in (*STAGES, REST, WHOLE)]
    results = Results("profile", machine(), warnings_of(whole), rows, runs=profiles)
    present(results, COLUMNS, arguments.json)
    if arguments.plot:
        arguments.plot.write_text(_plot(rows))
    return 0


def measure_stages(events: int, rounds: int) -> tuple[list[Profile], list[FileRun]]:
    """The stages, round by round, and the whole runs beside them."""
    with tempfile.TemporaryDirectory() as name, progress() as bar:
        task = bar.add_task("profile", total=2 * rounds)
        one, given = (_input(Path(name), size) for size in (1, events))
        pipeline = pipeline_contender("pipeline", THREE_KINDS)
        profiles: list[Profile] = []
        whole: list[FileRun] = []
        for number in range(rounds):
            stages = _stages(given.path)
            bar.advance(task)
            whole.append(measure(pipeline, one, given, number))
            bar.advance(task)
            run = whole[-1]
            net = run.cpu_seconds - run.startup_cpu_seconds
            taken = {stage: stages.seconds[stage] / events * 1e6 for stage in STAGES}
            total = net / events * 1e6
            profiles.append(
                Profile(
                    {**taken, REST: total - sum(taken.values()), WHOLE: total},
                    {kind: count / events for kind, count in stages.copies.items()},
                    {kind: count / events for kind, count in stages.requests.items()},
                )
            )
        return profiles, whole


def _input(folder: Path, size: int) -> Input:
    path = folder / f"events-{size}.ndjson"
    write_events(path, size)
    due = due_of(path)
    return Input(path, size, {name: due[kind] for name, kind in THREE_KINDS.items()})


def _row(stage: str, profiles: Sequence[Profile]) -> Row:
    taken = spread(one.us_per_event[stage] for one in profiles)
    share = spread(one.us_per_event[stage] / one.us_per_event[WHOLE] for one in profiles)
    return Row(stage, len(profiles), {"us_per_event": taken, "share": share})


# The stages, one by one


class _Watch:
    """CPU seconds of this process by stage."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()

    @contextlib.contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Count what is done meanwhile."""
        begun = time.process_time()
        yield
        self.taken[stage] += time.process_time() - begun  # type: ignore[assignment]


class _Stages(NamedTuple):
    """CPU seconds by stage; copies and requests by kind."""

    seconds: Mapping[str, float]
    copies: Mapping[str, int]
    requests: Mapping[str, int]


class _Line:
    """The stages in a row, as the pipeline has them, with the connectors of the relay."""

    def __init__(self, receiver: str) -> None:
        policy = AddressPolicy(allow_local=True)
        content = msgspec.json.encode({"connectors": connectors_of(receiver, THREE_KINDS)})
        self._config: Config = parse_config(content, policy)[0]
        self._decoder = Decoder(Router(self._config), Receipts(), MAX_EVENT_BYTES)
        self._secrets = {f"env:{name}": value for name, value in SECRETS.items()}
        self._exchange = HttpExchange(policy, 8)
        self.watch = _Watch()
        self.copies: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()

    def take(self, pulls: Iterator[Pull]) -> None:
        """Deliver all events of the pulls."""
        while (pull := self._read(pulls)) is not None:
            with self.watch.on("decode"):
                for message in pull.messages:
                    decode_event(message, MAX_EVENT_BYTES)
            with self.watch.on("decode and route"):
                found = list(self._decoder.decode(pull))
            self._deliver_all(found)
        with self.watch.on("decode and route"):
            rest = list(self._decoder.flush())
        self._deliver_all(rest)

    def close(self) -> None:
        self._exchange.close()

    def _read(self, pulls: Iterator[Pull]) -> Pull | None:
        with self.watch.on("read"):
            pull = next(pulls, None)
            return None if pull is None else decode_pull(encode_pull(pull))

    def _deliver_all(self, found: Sequence[Letters | tuple[str, Batch]]) -> None:
        for one in found:
            if isinstance(one, Letters):
                raise SystemExit("an event of the benchmark is not valid")
            self._deliver(*one)

    def _deliver(self, key: str, batch: Batch) -> None:
        lane = Lane.of(key)
        entry = self._config.connectors[lane.connector]
        with self.watch.on(f"pack {entry.settings.kind}"):
            packed = entry.sink.pack(batch.events, lane.part, self._secrets)
        self.copies[entry.settings.kind] += batch.count
        self.requests[entry.settings.kind] += len(packed.requests)
        with self.watch.on(f"send {entry.settings.kind}"):
            for request in packed.requests:
                self._send(request)

    def _send(self, request: object) -> None:
        if not isinstance(request, HttpRequest):
            raise SystemExit("a request of the benchmark is no HTTP request")
        answer = self._exchange.send(request, 10)
        if answer.status not in (200, 202):
            raise SystemExit(f"a partner answered {answer}")


def _stages(path: Path) -> _Stages:
    with receiving() as receiver:
        line = _Line(receiver.url)
        try:
            line.take(pull for part in expand_patterns([str(path)]) for pull in read_range(part))
        finally:
            line.close()
    taken = line.watch.taken
    seconds = {**taken, "route": taken["decode and route"] - taken["decode"]}
    return _Stages(seconds, line.copies, line.requests)


# The plot

_BAR, _GAP, _LEFT, _WIDTH = 22, 8, 210, 900


def _plot(rows: Sequence[Row]) -> str:
    """A bar for each stage, the range as a line, as SVG."""
    spreads = {row.case: row.figures["us_per_event"] for row in rows if row.case != WHOLE}
    scale = (_WIDTH - _LEFT - 120) / max(found.high for found in spreads.values())
    height = (len(spreads) + 1) * (_BAR + _GAP) + 20
    whole = next(row.figures["us_per_event"] for row in rows if row.case == WHOLE)
    title = f"CPU µs for each event, {whole.median:,.1f} in all (median and range)"
    bars = [
        _bar_of(stage, found, 20 + (place + 1) * (_BAR + _GAP), scale)
        for place, (stage, found) in enumerate(spreads.items())
    ]
    size = f'width="{_WIDTH}" height="{height + 10}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="10" y="26" font-weight="bold" font-size="14">{escape(title)}</text>',
            *bars,
            "</svg>\n",
        ]
    )


def _bar_of(stage: str, found: Spread, top: int, scale: float) -> str:
    middle = top + _BAR / 2
    low, high = (_LEFT + max(0.0, value) * scale for value in (found.low, found.high))
    return (
        f'<text x="{_LEFT - 8}" y="{middle + 4:.0f}" text-anchor="end" font-size="13">{escape(stage)}</text>'
        f'<rect x="{_LEFT}" y="{top}" width="{max(0.0, found.median) * scale:.1f}"'
        f' height="{_BAR}" fill="#4878a8"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="black"/>'
        f'<text x="{high + 8:.1f}" y="{middle + 4:.0f}" font-size="13">{found.median:,.2f}</text>'
    )


if __name__ == "__main__":
    raise SystemExit(main())
