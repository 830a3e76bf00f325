"""Isolation: what one failing connector of five costs the other four, on DirectRunner.

    .venv/bin/python -m benchmarks.isolation --rate 400 --seconds 25

Events are published at a steady rate; the latency of an event is measured from its publishing to
its arrival at the partner, from the tenth second on, for the four connectors that do not fail.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from google.cloud import pubsub_v1
from rich.console import Console
from rich.table import Table

from benchmarks.runs import SUBSCRIPTION, TOPIC, make_subscription, run_command
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.pubsub import EmbeddedPubSub
from sandbox.samples import sample_events

NAMES = ("failing", "one", "two", "three", "four")
FAULTS: dict[str, Fault | None] = {
    "none": None,
    "503": Fault(status=503),
    "hang": Fault(hang=True),
    "reset": Fault(reset=True),
    "drip": Fault(drip=True),
    "dns": None,
}
WARM_SECONDS = 10


class Figures(msgspec.Struct):
    """What the other four got after the first ten seconds."""

    fault: str
    arrived_per_second: float
    p50_seconds: float
    p99_seconds: float


def main() -> int:
    """Measure each fault and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=400, help="events published a second")
    parser.add_argument("--seconds", type=int, default=25)
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    arguments = parser.parse_args()
    table = Table(title="the four that do not fail")
    for column in ("fifth", "arrived/s", "p50 s", "p99 s"):
        table.add_column(column, justify="right")
    for fault in arguments.faults:
        found = _measure(fault, arguments.rate, arguments.seconds)
        row = (found.arrived_per_second, found.p50_seconds, found.p99_seconds)
        table.add_row(found.fault, f"{row[0]:,.0f}", f"{row[1]:.2f}", f"{row[2]:.2f}")
    Console().print(table)
    return 0


def _measure(fault: str, rate: int, seconds: int) -> Figures:
    sites = {name: PostbackSite() for name in NAMES}
    with (
        tempfile.TemporaryDirectory() as name,
        EmbeddedPubSub() as pubsub,
        PartnerSandbox(sites, keep_bodies=0) as partners,
    ):
        os.environ["PUBSUB_EMULATOR_HOST"] = pubsub.address
        partners.set_fault("failing", FAULTS[fault])
        _write_connectors(Path(name), partners, fault)
        with _pipeline(Path(name)) as publisher:
            published = _publish(publisher, rate, seconds)
            partners.wait_for("four", lambda counts: counts.accepted >= len(published), 60)
        return _figures(fault, partners, published, seconds)


def _write_connectors(folder: Path, partners: PartnerSandbox, fault: str) -> None:
    connectors = [
        {"name": name, "kind": "postback", "url": partners.url(name), "batch_window": "500 ms"}
        for name in NAMES
    ]
    if fault == "dns":
        connectors[0]["url"] = "http://nowhere.invalid/"
    (folder / "connectors.json").write_text(json.dumps({"connectors": connectors}))


@contextmanager
def _pipeline(folder: Path) -> Iterator[pubsub_v1.PublisherClient]:
    publisher = make_subscription()
    command = run_command(folder, "--subscription", SUBSCRIPTION)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=dict(os.environ))
    try:
        while not (folder / "report.json").exists() and process.poll() is None:
            time.sleep(0.1)
        yield publisher
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        publisher.stop()


def _publish(publisher: pubsub_v1.PublisherClient, rate: int, seconds: int) -> dict[str, float]:
    """Publish at a steady rate; returns when each event was published, by id."""
    published: dict[str, float] = {}
    begun = time.monotonic()
    for number, event in enumerate(sample_events(rate * seconds, seed=41)):
        wait = begun + number / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        published[msgspec.json.decode(event)["id"]] = time.monotonic()
        publisher.publish(TOPIC, event)
    return published


def _figures(
    fault: str, partners: PartnerSandbox, published: dict[str, float], seconds: int
) -> Figures:
    begun = min(published.values())
    late = [
        request.at - published[event_id]
        for name in NAMES[1:]
        for request in partners.requests(name)
        for event_id in request.event_ids
        if published[event_id] - begun >= WARM_SECONDS
    ]
    late.sort()
    per_second = len(late) / (seconds - WARM_SECONDS)
    return Figures(fault, per_second, late[len(late) // 2], late[int(len(late) * 0.99)])


if __name__ == "__main__":
    sys.exit(main())
