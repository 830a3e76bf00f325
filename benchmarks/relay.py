"""Relay: a file of events to a postback, Segment and mParticle; time and peak memory by input size.

    .venv/bin/python -m benchmarks.relay --events 20000 100000

The pipeline is a process of its own; the partners are the sandbox's strict stand-ins, in this one.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.runs import peak_mb, run_command, wait_for
from sandbox.partners import MParticleSite, PartnerSandbox, PostbackSite, SegmentSite
from sandbox.samples import sample_events

KEYS = {"WRITE_KEY": "write-key", "FEED_KEY": "feed-key", "FEED_SECRET": "feed-secret"}
FEEDS = ("ios", "android", "web", "unbound")
SITES = {
    "hook": PostbackSite(),
    "analytics": SegmentSite(write_key=KEYS["WRITE_KEY"]),
    "mobile": MParticleSite(
        feeds=dict.fromkeys(FEEDS, (KEYS["FEED_KEY"], KEYS["FEED_SECRET"])),
    ),
}
COLUMNS = ("events", "copies", "seconds", "copies/s", "CPU s", "peak MB", "requests", "MB sent")


class Figures(msgspec.Struct):
    """What one run took; times in seconds, sizes in MB of 1,000,000 bytes."""

    events: int
    copies: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    requests: int
    sent_mb: float


def main() -> int:
    """Measure each size and print a table; the figures go to --json as well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--runs", type=int, default=1, help="runs of each size")
    parser.add_argument("--json", help="a file for the figures")
    arguments = parser.parse_args()
    sizes = [size for _ in range(arguments.runs) for size in arguments.events]
    figures = [_measure(size) for size in track(sizes, "relay", console=Console(stderr=True))]
    Console().print(_table(figures))
    if arguments.json:
        Path(arguments.json).write_bytes(msgspec.json.encode(figures))
    return 0


def _measure(count: int) -> Figures:
    with (
        tempfile.TemporaryDirectory() as name,
        PartnerSandbox(SITES, keep_bodies=0, keep_ids=False) as partners,
    ):
        folder = Path(name)
        _write_input(folder / "events.ndjson", count)
        _write_connectors(folder / "connectors.json", partners)
        return _run(folder, count)


def _write_input(path: Path, count: int) -> None:
    with path.open("wb") as file:
        file.writelines(event + b"\n" for event in sample_events(count, anonymous_share=0))


def _write_connectors(path: Path, partners: PartnerSandbox) -> None:
    feed = {"key": "env:FEED_KEY", "secret": "env:FEED_SECRET"}
    connectors: list[dict[str, Any]] = [
        {"name": "hook", "kind": "postback", "url": partners.url("hook")},
        {
            "name": "analytics",
            "kind": "segment",
            "write_key": "env:WRITE_KEY",
            "endpoint": partners.url("analytics"),
        },
        {
            "name": "mobile",
            "kind": "mparticle",
            "feeds": dict.fromkeys(FEEDS, feed),
            "endpoint": partners.url("mobile"),
        },
    ]
    path.write_text(json.dumps({"connectors": connectors}))


def _run(folder: Path, count: int) -> Figures:
    command = run_command(folder, "--input", str(folder / "events.ndjson"))
    started = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, **KEYS}, stderr=subprocess.DEVNULL)
    usage = wait_for(process)
    seconds = time.monotonic() - started
    report = json.loads((folder / "report.json").read_text())
    if process.returncode or not report["balanced"] or report["received"] != count:
        raise SystemExit(f"the run ended with {process.returncode}: {report}")
    return _figures(count, seconds, usage, report["connectors"].values())


def _figures(
    count: int,
    seconds: float,
    usage: resource.struct_rusage,
    connectors: Sequence[Mapping[str, Any]],
) -> Figures:
    return Figures(
        events=count,
        copies=sum(connector["delivered"] for connector in connectors),
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_mb=peak_mb(usage),
        requests=sum(connector["requests"] for connector in connectors),
        sent_mb=sum(connector["bytes"] for connector in connectors) / 1e6,
    )


def _table(figures: Sequence[Figures]) -> Table:
    table = Table(title="relay: file to postback, Segment and mParticle")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for one in figures:
        table.add_row(
            f"{one.events:,}",
            f"{one.copies:,}",
            f"{one.seconds:.1f}",
            f"{one.copies / one.seconds:,.0f}",
            f"{one.cpu_seconds:.1f}",
            f"{one.peak_mb:.0f}",
            f"{one.requests:,}",
            f"{one.sent_mb:.0f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
