"""Shuffle: what GatherPulls saves on an engine that reads message by message, as Dataflow does.

    .venv/bin/python -m benchmarks.shuffle --events 20000

Messages come in bundles of 1, 10 and 100; each app group has ten connectors, so that each event has
ten copies. Measured are the bytes that cross a shuffle and the CPU of our own steps, per event, with
and without GatherPulls; what the engine adds is an element's cost for each element, which are counted.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from runtime.address import PUBLIC_ONLY
from runtime.connectors import Config, parse_config
from runtime.decoding import Decoder
from runtime.keeping import Letters
from runtime.receipts import Receipts
from runtime.routing import Router
from sandbox.samples import sample_events
from schemas.batch import decode_batch, encode_batch
from schemas.limits import MAX_EVENT_BYTES
from schemas.pull import Pull, decode_pull, encode_pull, merge_pulls

CONNECTORS = (10, 100, 1_000)
BUNDLES = (1, 10, 100)
PER_GROUP = 10
NOW_MS = 1_764_064_800_000


class Figures(msgspec.Struct):
    """Per event: bytes and elements that cross a shuffle, microseconds of CPU."""

    connectors: int
    copies: int
    bundle: int
    gathers: bool
    bytes: float
    elements: float
    cpu_us: float


def main() -> int:
    """Measure each case and print a table; the figures go to --json as well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3, help="the median of so many is told")
    parser.add_argument(
        "--pull_events",
        type=int,
        default=1_000,
        help="events that GatherPulls gathers: a megabyte, or what a shard gets in a second",
    )
    parser.add_argument("--json", help="a file for the figures")
    arguments = parser.parse_args()
    cases = list(itertools.product(CONNECTORS, BUNDLES, (False, True)))
    figures = [
        _median(
            [
                measure(
                    connectors, PER_GROUP, bundle, gathers, arguments.events, arguments.pull_events
                )
                for _ in range(arguments.runs)
            ]
        )
        for connectors, bundle, gathers in track(cases, "shuffle", console=Console(stderr=True))
    ]
    Console().print(_table(figures))
    if arguments.json:
        Path(arguments.json).write_bytes(msgspec.json.encode(figures))
    return 0


def _median(runs: Sequence[Figures]) -> Figures:
    return sorted(runs, key=lambda run: run.cpu_us)[len(runs) // 2]


def measure(
    connectors: int, copies: int, bundle: int, gathers: bool, count: int, pull_events: int
) -> Figures:
    """Measure one case: so many connectors, of which each event is for `copies`."""
    config = _config(connectors, copies)
    groups = [f"brand-{number}" for number in range(connectors // copies)]
    events = list(sample_events(count, app_groups=groups))
    bundles = [
        [encode_pull(Pull(NOW_MS, NOW_MS, [event])) for event in run]
        for run in _runs(events, bundle)
    ]
    router = Router(config)
    size = elements = 0
    started = time.process_time()
    if gathers:
        spread = [encode_pull(merge_pulls(map(decode_pull, run))[0]) for run in bundles]
        size, elements = sum(map(len, spread)), len(spread)
        bundles = [
            [encode_pull(merge_pulls(map(decode_pull, run))[0])]
            for run in _runs(spread, max(1, pull_events // bundle))
        ]
    for run in bundles:
        for key, fragment in _fragments(router, run):
            size += len(key) + len(fragment)
            elements += 1
            decode_batch(fragment)  # as the batcher does
    cpu = time.process_time() - started
    return Figures(
        *(connectors, copies, bundle, gathers),
        *(size / count, elements / count, cpu / count * 1e6),
    )


def _fragments(router: Router, bundle: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    decoder = Decoder(router, Receipts(), MAX_EVENT_BYTES)
    for pull in bundle:
        for found in decoder.decode(decode_pull(pull)):
            if not isinstance(found, Letters):
                yield found[0], encode_batch(found[1])
    for key, batch in decoder.flush():
        yield key, encode_batch(batch)


def _runs(items: Sequence[bytes], length: int) -> Iterator[Sequence[bytes]]:
    return (items[start : start + length] for start in range(0, len(items), length))


def _config(connectors: int, copies: int) -> Config:
    hooks = [
        {
            "name": f"hook-{number}",
            "kind": "postback",
            "url": f"https://hook-{number}.example.com/",
            "app_group_ids": [f"brand-{number // copies}"],
        }
        for number in range(connectors)
    ]
    config, problems = parse_config(json.dumps({"connectors": hooks}).encode(), PUBLIC_ONLY)
    if problems:
        raise SystemExit(str(problems))
    return config


def _table(figures: Sequence[Figures]) -> Table:
    table = Table(title=f"shuffle, per event of {PER_GROUP} copies: without and with GatherPulls")
    for column in ("connectors", "bundle", "bytes", "", "elements", "", "CPU us", ""):
        table.add_column(column, justify="right")
    for without, gathered in zip(figures[::2], figures[1::2], strict=True):
        table.add_row(
            f"{without.connectors:,}",
            str(without.bundle),
            f"{without.bytes:,.0f}",
            f"{gathered.bytes:,.0f}",
            f"{without.elements:.2f}",
            f"{gathered.elements:.2f}",
            f"{without.cpu_us:.1f}",
            f"{gathered.cpu_us:.1f}",
        )
    return table


if __name__ == "__main__":
    raise SystemExit(main())
