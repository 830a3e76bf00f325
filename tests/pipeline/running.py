"""Running `currents run` as a process of its own, on real Pub/Sub and real partners."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fastavro
from google.cloud import pubsub_v1

TOPIC = "projects/sandbox/topics/events"
SUBSCRIPTION = "projects/sandbox/subscriptions/events"


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether the condition becomes true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def write_connectors(folder: Path, connectors: list[dict[str, Any]]) -> Path:
    path = folder / "connectors.json"
    path.write_text(json.dumps({"connectors": connectors}))
    return path


def command(folder: Path, *arguments: str) -> list[str]:
    return [
        *(sys.executable, "-m", "pipeline", "run", "--allow_local_partners"),
        *("--connectors", str(folder / "connectors.json"), "--hold", str(folder / "held")),
        *("--dead_letters", str(folder / "dead"), "--report", str(folder / "report.json")),
        *arguments,
    ]


def run_files(
    folder: Path, *inputs: Path | str, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """A bounded run, to its end; options follow the inputs."""
    patterns = ["--input", *map(str, inputs)] if inputs else []
    return subprocess.run(
        command(folder, *patterns),
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextlib.contextmanager
def streaming(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    """A streaming run, which is killed if it still runs when we leave."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            command(folder, "--subscription", SUBSCRIPTION, *arguments),
            env={**os.environ, **(environment or {})},
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def interrupt(process: "subprocess.Popen[bytes]") -> int:
    """Ask the run to end, as Ctrl-C does; returns its exit code."""
    process.send_signal(signal.SIGINT)
    return process.wait(timeout=60)


def make_subscription() -> pubsub_v1.PublisherClient:
    publisher = pubsub_v1.PublisherClient()
    publisher.create_topic(name=TOPIC)
    with pubsub_v1.SubscriberClient() as subscriber:
        subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC, ack_deadline_seconds=10)
    return publisher


def publish(publisher: pubsub_v1.PublisherClient, messages: list[bytes]) -> None:
    for future in [publisher.publish(TOPIC, message) for message in messages]:
        future.result(timeout=30)


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def dead_letters(folder: Path) -> list[dict[str, Any]]:
    return letters_in(folder / "dead")


def letters_in(folder: Path) -> list[dict[str, Any]]:
    letters: list[dict[str, Any]] = []
    for path in sorted(folder.rglob("*.avro")):
        with path.open("rb") as file:
            letters += [dict(record) for record in fastavro.reader(file)]
    return letters


def held_events(folder: Path, lane: str) -> list[bytes]:
    """The events that a lane of the hold has, read as a person would: lines that have an id."""
    queue = folder / "held" / "queue" / lane
    whole = sorted(queue.glob("[!.]*"))  # not what is being written
    lines = [line for path in whole for line in path.read_bytes().splitlines()]
    return [line for line in lines if b'"event_type"' in line]


def ids_of(events: list[bytes]) -> list[str]:
    return [json.loads(event)["id"] for event in events]
