"""What the benchmarks share: the pipeline as a process of its own, and what it took."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from google.cloud import pubsub_v1

TOPIC = "projects/sandbox/topics/events"
SUBSCRIPTION = "projects/sandbox/subscriptions/events"


def run_command(folder: Path, *arguments: str) -> list[str]:
    """`currents run` with all of its files in `folder`."""
    return [
        *(sys.executable, "-m", "pipeline", "run", "--allow_local_partners"),
        *("--connectors", str(folder / "connectors.json"), "--hold", str(folder / "held")),
        *("--dead_letters", str(folder / "dead"), "--report", str(folder / "report.json")),
        *arguments,
    ]


def make_subscription() -> pubsub_v1.PublisherClient:
    """Make topic and subscription; returns a publisher to them."""
    publisher = pubsub_v1.PublisherClient()
    publisher.create_topic(name=TOPIC)
    with pubsub_v1.SubscriberClient() as subscriber:
        subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC, ack_deadline_seconds=60)
    return publisher


def wait_for(process: "subprocess.Popen[bytes]") -> resource.struct_rusage:
    """Wait for the end of a process; returns what it took."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def peak_mb(usage: resource.struct_rusage) -> float:
    """Peak memory in MB of 1,000,000 bytes."""
    return usage.ru_maxrss * 1_024 / 1e6
