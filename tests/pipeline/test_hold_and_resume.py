"""Holding, resuming and expiring while events stream: real partners, real Pub/Sub, short settings."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud import pubsub_v1

from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.pubsub import EmbeddedPubSub
from sandbox.samples import sample_events
from tests.pipeline.running import (
    SUBSCRIPTION,
    dead_letters,
    eventually,
    held_events,
    ids_of,
    interrupt,
    publish,
    report_of,
    run_files,
    streaming,
    write_connectors,
)

QUICK = ("--probe_min", "200 ms", "--probe_max", "400 ms", "--config_refresh", "200 ms")


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite(token="right"), "other": PostbackSite()}) as running:
        yield running


def connect(folder: Path, sandbox: PartnerSandbox, **changes: Any) -> None:
    """Write the connectors file: `hook`, changed as asked, and `other`."""
    (folder / "token").exists() or (folder / "token").write_text("right")
    hook = {"token": f"file:{folder / 'token'}", **changes}
    write_connectors(
        folder,
        [
            {"kind": "postback", "url": sandbox.url(name), "batch_window": "200 ms", **more}
            for name, more in (("hook", {"name": "hook", **hook}), ("other", {"name": "other"}))
        ],
    )


def status_of(folder: Path, lane: str = "hook") -> dict[str, Any]:
    """What `status.json` says; empty where nothing is held."""
    try:
        status: dict[str, Any] = json.loads(
            (folder / "held" / "status" / f"{lane}.json").read_text()
        )
    except FileNotFoundError:
        return {}
    return status


def held_ids(folder: Path) -> list[str]:
    return sorted(ids_of(held_events(folder, "hook")))


def arrived(sandbox: PartnerSandbox, events: list[bytes]) -> bool:
    return set(sandbox.accepted_ids("hook")) >= set(ids_of(events))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(status=503), "status_503"),
        (Fault(reset=True), "network"),
        (Fault(hang=True), "timeout"),
    ],
    ids=["503", "reset", "hang"],
)
def test_an_outage_is_held_and_the_lane_resumes_by_itself(
    fault: Fault,
    reason: str,
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    connect(tmp_path, sandbox, timeout="500 ms")
    sandbox.set_fault("hook", fault)
    events = list(sample_events(400, seed=21))
    with streaming(tmp_path, *QUICK) as process:
        publish(publisher, events[:300])
        assert sandbox.wait_for("other", lambda counts: counts.accepted >= 300, 30)
        assert eventually(lambda: pubsub.outstanding(SUBSCRIPTION) == 0, 90)
        assert eventually(lambda: status_of(tmp_path).get("state") == "suspended")
        assert status_of(tmp_path)["reason"] == reason
        assert status_of(tmp_path)["attended_by"]
        assert (tmp_path / "held" / "suspended" / "hook").exists()
        sandbox.set_fault("hook", None)
        publish(publisher, events[300:])
        assert eventually(lambda: arrived(sandbox, events), 90)
        assert eventually(lambda: status_of(tmp_path) == {})
        assert interrupt(process) == 0
    assert not (tmp_path / "held" / "suspended" / "hook").exists()
    assert held_ids(tmp_path) == []
    report = report_of(tmp_path)
    assert report["balanced"]
    assert report["connectors"]["hook"]["delivered"] == 400
    assert report["connectors"]["hook"]["held"] == 0


def test_a_refused_key_is_held_until_the_secret_changes(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    (tmp_path / "token").write_text("wrong")
    connect(tmp_path, sandbox)
    events = list(sample_events(200, seed=22))
    with streaming(tmp_path, "--probe_min", "1 h", "--probe_max", "1 h") as process:
        publish(publisher, events)
        assert eventually(lambda: status_of(tmp_path).get("reason") == "status_401")
        assert eventually(lambda: pubsub.outstanding(SUBSCRIPTION) == 0, 90)
        (tmp_path / "token").write_text("right")
        assert eventually(lambda: arrived(sandbox, events), 90)
        assert interrupt(process) == 0
    assert sorted(sandbox.accepted_ids("hook")) == sorted(ids_of(events))
    assert b"wrong" not in (tmp_path / "log").read_bytes()
    assert report_of(tmp_path)["balanced"]


def test_kill_9_while_a_thousand_events_are_held_loses_none(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    connect(tmp_path, sandbox)
    sandbox.set_fault("hook", Fault(status=503))
    events = list(sample_events(1_500, seed=23))
    with streaming(tmp_path, *QUICK) as process:
        publish(publisher, events)
        assert eventually(lambda: len(set(held_ids(tmp_path))) >= 1_000, 90)
        process.kill()
        process.wait()
    sandbox.set_fault("hook", None)
    with streaming(tmp_path, *QUICK) as process:
        assert eventually(lambda: arrived(sandbox, events), 60)
        assert eventually(lambda: pubsub.outstanding(SUBSCRIPTION) == 0, 90)
        assert eventually(lambda: held_ids(tmp_path) == [])
        assert interrupt(process) == 0
    report = report_of(tmp_path)
    assert report["balanced"]
    assert report["connectors"]["hook"]["adopted"] >= 1_000


def test_what_expires_is_buried_and_can_be_replayed(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    connect(tmp_path, sandbox, max_event_age="3 s")
    sandbox.set_fault("hook", Fault(status=503))
    events = list(sample_events(100, seed=24))
    with streaming(tmp_path, *QUICK) as process:
        publish(publisher, events)
        assert eventually(lambda: len(dead_letters(tmp_path)) >= 100, 90)
        assert eventually(lambda: pubsub.outstanding(SUBSCRIPTION) == 0, 90)
        assert interrupt(process) == 0
    assert {letter["reason"] for letter in dead_letters(tmp_path)} == {"expired"}
    for letter in dead_letters(tmp_path):
        assert (letter["buried_at"] - letter["published_at"]).total_seconds() >= 3
    assert report_of(tmp_path)["balanced"]

    sandbox.set_fault("hook", None)
    assert replay(tmp_path).returncode == 0
    assert sorted(sandbox.accepted_ids("hook")) == sorted(ids_of(events))
    assert replay(tmp_path).returncode == 0  # and not twice
    assert len(sandbox.accepted_ids("hook")) == 100


def publishes(publisher: pubsub_v1.PublisherClient, events: Iterator[bytes]) -> bool:
    """Publish one event more."""
    publish(publisher, [next(events)])
    return True


def falls_behind(sandbox: PartnerSandbox) -> bool:
    return sandbox.counts("other").accepted - sandbox.counts("hook").accepted >= 60


def replay(folder: Path) -> "subprocess.CompletedProcess[str]":
    arguments = ["--allow_local_partners", "--connectors", str(folder / "connectors.json")]
    places = ["--dead_letters", str(folder / "dead"), "--hold", str(folder / "held")]
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "replay", *places, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_partner_that_rejects_everything_gets_a_hundred_letters_and_is_suspended(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    connect(tmp_path, sandbox)
    sandbox.set_fault("hook", Fault(status=400))
    events = list(sample_events(300, seed=25))
    with streaming(tmp_path, "--probe_min", "1 h", "--probe_max", "1 h") as process:
        publish(publisher, events)
        assert eventually(lambda: status_of(tmp_path).get("reason") == "rejects_everything")
        assert eventually(lambda: pubsub.outstanding(SUBSCRIPTION) == 0, 90)
        assert interrupt(process) == 3
    assert len(dead_letters(tmp_path)) == 100
    assert len(held_ids(tmp_path)) == 200
    report = report_of(tmp_path)
    assert report["balanced"]
    assert report["connectors"]["hook"]["dead"] == {"rejected": 100}
    assert status_of(tmp_path)["attended_by"] == ""  # anybody may take it on at once

    sandbox.set_fault("hook", None)
    assert run_files(tmp_path).returncode == 0
    assert len(sandbox.accepted_ids("hook")) == 200


def test_a_connector_is_paused_and_resumed_while_events_flow_and_bad_edits_change_nothing(
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    connect(tmp_path, sandbox)
    first, second, third = (list(sample_events(n, seed=n)) for n in (50, 300, 51))
    with streaming(tmp_path, *QUICK) as process:
        publish(publisher, first)
        assert eventually(lambda: arrived(sandbox, first), 90)
        connect(tmp_path, sandbox, paused=True)
        left = iter(second)
        assert eventually(lambda: publishes(publisher, left) and falls_behind(sandbox))
        connect(tmp_path, sandbox, url="ftp://nowhere")  # refused: it stays paused
        publish(publisher, third)
        publish(publisher, list(left))
        assert sandbox.wait_for("other", lambda counts: counts.accepted >= 401, 30)
        assert not arrived(sandbox, second)
        connect(tmp_path, sandbox)
        assert eventually(lambda: arrived(sandbox, [*first, *second, *third]), 90)
        assert interrupt(process) == 0
    assert report_of(tmp_path)["balanced"]


def test_two_processes_on_one_hold_share_its_lanes_and_lose_nothing(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    connect(tmp_path, sandbox)
    sandbox.set_fault("hook", Fault(status=503))
    events = list(sample_events(600, seed=29))
    with streaming(tmp_path, *QUICK) as one, streaming(tmp_path, *QUICK) as other:
        publish(publisher, events)
        assert eventually(lambda: pubsub.outstanding(SUBSCRIPTION) == 0, 90)
        assert eventually(lambda: len(set(held_ids(tmp_path))) == 600, 90)
        sandbox.set_fault("hook", None)
        assert eventually(lambda: arrived(sandbox, events), 60)
        assert {interrupt(one), interrupt(other)} <= {0, 3}
    assert held_ids(tmp_path) == []
    assert len(sandbox.accepted_ids("hook")) == 600
