"""Outage: holding events of a dead partner, probing it, and releasing them; time and memory.

    .venv/bin/python -m benchmarks.outage --events 100000 1000000

A bounded run holds the events; a streaming run adopts them, probes for a while, and releases them
when the partner is back. Memory is the peak of each process, in MB of 1,000,000 bytes.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.runs import SUBSCRIPTION, make_subscription, peak_mb, run_command, wait_for
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.pubsub import EmbeddedPubSub
from sandbox.samples import sample_events

PROBING_SECONDS = 20
COLUMNS = ("events", "held/s", "peak MB", "objects", "CPU s probing", "released/s", "peak MB")


def main() -> int:
    """Measure each size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[100_000])
    table = Table(title="an outage: held by a bounded run, released by a streaming one")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for count in parser.parse_args().events:
        table.add_row(*_measure(count))
    Console().print(table)
    return 0


def _measure(count: int) -> tuple[str, ...]:
    with (
        tempfile.TemporaryDirectory() as name,
        EmbeddedPubSub() as pubsub,
        PartnerSandbox({"hook": PostbackSite()}, keep_bodies=0, keep_ids=False) as partners,
    ):
        folder = Path(name)
        os.environ["PUBSUB_EMULATOR_HOST"] = pubsub.address
        make_subscription().stop()
        connector = {"name": "hook", "kind": "postback", "url": partners.url("hook")}
        (folder / "connectors.json").write_text(json.dumps({"connectors": [connector]}))
        partners.set_fault("hook", Fault(status=503))
        held_seconds, held = _hold(folder, count)
        objects = len(list((folder / "held" / "queue" / "hook").iterdir()))
        probing_cpu, released_seconds, released = _release(folder, partners, count)
        return (
            f"{count:,}",
            f"{count / held_seconds:,.0f}",
            f"{peak_mb(held):.0f}",
            f"{objects:,}",
            f"{probing_cpu:.1f}",
            f"{count / released_seconds:,.0f}",
            f"{peak_mb(released):.0f}",
        )


def _command(folder: Path, *arguments: str) -> list[str]:
    return run_command(folder, "--probe_min", "1 s", "--probe_max", "2 s", *arguments)


def _hold(folder: Path, count: int) -> tuple[float, resource.struct_rusage]:
    with (folder / "events.ndjson").open("wb") as file:
        file.writelines(event + b"\n" for event in sample_events(count))
    started = time.monotonic()
    process = subprocess.Popen(
        _command(folder, "--input", str(folder / "events.ndjson")), stderr=subprocess.DEVNULL
    )
    usage = wait_for(process)
    return time.monotonic() - started, usage


def _release(
    folder: Path, partners: PartnerSandbox, count: int
) -> tuple[float, float, resource.struct_rusage]:
    process = subprocess.Popen(
        _command(folder, "--subscription", SUBSCRIPTION), stderr=subprocess.DEVNULL
    )
    before = partners.counts("hook").requests
    partners.wait_for("hook", lambda counts: counts.requests > before, 60)  # it is attended
    cpu = _cpu_seconds(process.pid)
    time.sleep(PROBING_SECONDS)
    cpu = _cpu_seconds(process.pid) - cpu
    partners.set_fault("hook", None)
    partners.wait_for("hook", lambda counts: counts.accepted > 0, 60)
    started = time.monotonic()
    partners.wait_for("hook", lambda counts: counts.accepted >= count, 600)
    seconds = time.monotonic() - started
    process.send_signal(signal.SIGINT)
    usage = wait_for(process)
    if not json.loads((folder / "report.json").read_text())["balanced"]:
        raise SystemExit("the books do not balance")
    return cpu, seconds, usage


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
