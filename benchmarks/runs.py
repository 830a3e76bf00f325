"""What the benchmarks share of the pipeline: its command, its report, and its subscription."""

import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.cloud import pubsub_v1

from benchmarks.partners import SECRETS
from benchmarks.processes import Program, cpu_seconds_of, serve_module

TOPIC = "projects/sandbox/topics/events"
SUBSCRIPTION = "projects/sandbox/subscriptions/events"
START_SECONDS = 60
_SETTINGS = pubsub_v1.types.BatchSettings(max_messages=500, max_bytes=1_000_000, max_latency=0.01)


def run_command(folder: Path, *arguments: str) -> list[str]:
    """`currents run` with all of its files in `folder`."""
    return [
        *(sys.executable, "-m", "pipeline", "run", "--allow_local_partners"),
        *("--connectors", str(folder / "connectors.json"), "--hold", str(folder / "held")),
        *("--dead_letters", str(folder / "dead"), "--report", str(folder / "report.json")),
        *arguments,
    ]


def write_connectors(folder: Path, connectors: Sequence[Mapping[str, Any]]) -> None:
    """Write the connectors file of a folder."""
    (folder / "connectors.json").write_text(json.dumps({"connectors": connectors}))


def balanced_report(folder: Path) -> Mapping[str, Any]:
    """The report of a run that has ended; raises SystemExit where its books do not balance."""
    report = json.loads((folder / "report.json").read_text())
    if not report["balanced"]:
        raise SystemExit(f"the books do not balance: {report}")
    return report


def make_subscription() -> pubsub_v1.PublisherClient:
    """Make topic and subscription; returns a publisher to them."""
    publisher = pubsub_v1.PublisherClient(_SETTINGS)
    publisher.create_topic(name=TOPIC)
    with pubsub_v1.SubscriberClient() as subscriber:
        subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC, ack_deadline_seconds=60)
    return publisher


class PubSub:
    """The embedded Pub/Sub in a process of its own, with the subscription and a publisher to it."""

    def __init__(self, pid: int, publisher: pubsub_v1.PublisherClient) -> None:
        self._pid = pid
        self.publisher = publisher

    def cpu_seconds(self) -> float:
        """What it has taken so far."""
        return cpu_seconds_of(self._pid)

    def publish_all(self, events: Iterable[bytes]) -> None:
        """Publish events, and wait until they are there."""
        for future in [self.publisher.publish(TOPIC, event) for event in events]:
            future.result(timeout=60)

    def publish_at(self, rate: float, events: Iterable[bytes]) -> None:
        """Publish at so many a second; each event is taken at the moment when it is published."""
        waiting = iter(events)
        begun = time.monotonic()
        for number in itertools.count():
            wait = begun + number / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            event = next(waiting, None)
            if event is None:
                return
            self.publisher.publish(TOPIC, event)


@contextlib.contextmanager
def serving_pubsub() -> Iterator[PubSub]:
    """An embedded Pub/Sub for as long as we need it; all clients of this process find it."""
    with serve_module("benchmarks.pubsub_server") as said:
        os.environ["PUBSUB_EMULATOR_HOST"] = said["address"]
        publisher = make_subscription()
        try:
            yield PubSub(said["pid"], publisher)
        finally:
            publisher.stop()
            publisher.transport.close()


@contextlib.contextmanager
def streaming(folder: Path, *arguments: str) -> Iterator[Program]:
    """The pipeline on the subscription, from its first report on; it is ended when we leave."""
    command = run_command(folder, "--subscription", SUBSCRIPTION, *arguments)
    program = Program(command, folder / "log", SECRETS)
    try:
        wait_for_report(program, folder)
        yield program
    finally:
        program.kill()


def wait_for_report(program: Program, folder: Path) -> None:
    """Wait until a streaming run has begun; raises SystemExit where it does not."""
    until = time.monotonic() + START_SECONDS
    while not (folder / "report.json").exists():
        if not program.is_running or time.monotonic() > until:
            raise SystemExit(f"the pipeline did not start:\n{program.said()}")
        time.sleep(0.05)


def interrupt(program: Program) -> None:
    """Ask a streaming program to end."""
    program.signal(signal.SIGINT)
