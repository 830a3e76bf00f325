"""Ctrl-C in a run over files or dead letters: reading stops, and what was read meets its end."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.dead_letters import write_letters
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.samples import sample_events
from tests.pipeline.running import (
    command,
    eventually,
    held_events,
    ids_of,
    report_of,
    write_connectors,
)
from tests.runtime.test_dead_letters import letter_of

EVENTS = list(sample_events(60_000, seed=5))


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite(), "down": PostbackSite()}) as running:
        running.set_fault("hook", Fault(delay_seconds=0.1))
        running.set_fault("down", Fault(status=503))
        yield running


@pytest.fixture
def folder(tmp_path: Path, sandbox: PartnerSandbox) -> Path:
    write_connectors(
        tmp_path,
        [
            {"name": name, "kind": "postback", "url": sandbox.url(name), "max_events": 20}
            for name in ("hook", "down")
        ],
    )
    return tmp_path


def stop_when(process: "subprocess.Popen[bytes]", sandbox: PartnerSandbox, number: int) -> int:
    """Send a signal once something has arrived; returns the exit code."""
    assert sandbox.wait_for("hook", lambda counts: counts.accepted >= 100, 60)
    process.send_signal(number)
    return process.wait(timeout=120)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_over_files_loses_nothing_of_what_it_read(
    folder: Path, sandbox: PartnerSandbox, number: int
) -> None:
    (folder / "events.ndjson").write_bytes(b"\n".join(EVENTS))
    started = command(folder, "--input", str(folder / "events.ndjson"))
    with subprocess.Popen(started, stderr=subprocess.DEVNULL) as process:
        assert stop_when(process, sandbox, number) == 1
    report = report_of(folder)
    assert report["balanced"]
    assert 0 < report["received"] < len(EVENTS)
    hook, down = report["connectors"]["hook"], report["connectors"]["down"]
    assert hook["delivered"] + hook["held"] == report["received"]
    assert down["held"] == report["received"]
    arrived = set(sandbox.accepted_ids("hook")) | set(ids_of(held_events(folder, "hook")))
    assert len(arrived) == report["received"]
    assert len(set(ids_of(held_events(folder, "down")))) == report["received"]


def test_a_stopped_replay_settles_nothing_and_the_next_one_replays_all(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    events = EVENTS[:3_000]
    write_letters(str(folder / "dead"), [letter_of(event, connector="hook") for event in events])
    started = command(folder, "--rate", "500")
    started[started.index("run")] = "replay"
    with subprocess.Popen(started, stderr=subprocess.DEVNULL) as process:
        assert stop_when(process, sandbox, signal.SIGINT) == 1
    assert report_of(folder)["balanced"]
    assert len(set(sandbox.accepted_ids("hook"))) < len(events)
    sandbox.set_fault("hook", None)
    again = [argument for argument in started if argument not in ("--rate", "500")]
    ended = subprocess.run(again, capture_output=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert eventually(lambda: set(sandbox.accepted_ids("hook")) == set(ids_of(events)))
    assert json.loads((folder / "report.json").read_text())["received"] == len(events)
