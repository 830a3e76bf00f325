"""Streaming on one machine: acknowledged after the effect, so that nothing is lost."""

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud import pubsub_v1

from runtime.receipts import MAX_OUTSTANDING_MESSAGES
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


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite(), "other": PostbackSite()}) as running:
        connectors: list[dict[str, Any]] = [
            {"name": name, "kind": "postback", "url": running.url(name), "batch_window": "1 s"}
            for name in ("hook", "other")
        ]
        connectors.append(
            {
                "name": "lake",
                "kind": "avro_files",
                "path": str(tmp_path / "lake"),
                "batch_window": "1 s",
            }
        )
        write_connectors(tmp_path, connectors)
        yield running


def test_every_event_arrives_and_is_acknowledged(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    events = list(sample_events(3_000, seed=3))
    with streaming(tmp_path) as process:
        publish(publisher, [*events, b"no event"])
        assert sandbox.wait_for("hook", lambda counts: counts.accepted >= 3_000, 30)
        assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 3_001)
        assert interrupt(process) == 0
    assert sorted(sandbox.accepted_ids("hook")) == sorted(ids_of(events))
    report = report_of(tmp_path)
    assert (report["received"], report["invalid"], report["balanced"]) == (3_001, 1, True)
    assert [letter["event"] for letter in dead_letters(tmp_path)] == [b"no event"]


def test_an_impatient_user_gets_the_same_end(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    events = list(sample_events(50, seed=4))
    with streaming(tmp_path) as process:
        publish(publisher, events)
        assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 50)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
        assert process.returncode == 0
    report = report_of(tmp_path)
    assert (report["received"], report["balanced"]) == (50, True)
    assert len(sandbox.accepted_ids("hook")) == 50


def test_an_interrupt_delivers_what_waits_for_its_window(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    connectors = json.loads((tmp_path / "connectors.json").read_text())["connectors"]
    write_connectors(tmp_path, [{**one, "batch_window": "1 h"} for one in connectors])
    events = list(sample_events(50, seed=4))
    with streaming(tmp_path) as process:
        publish(publisher, events)
        assert eventually(
            lambda: (tmp_path / "report.json").exists() and report_of(tmp_path)["received"] == 50
        )
        assert sandbox.counts("hook").accepted == 0
        assert interrupt(process) == 0
    assert sorted(sandbox.accepted_ids("hook")) == sorted(ids_of(events))
    assert eventually(lambda: pubsub.outstanding(SUBSCRIPTION) == 0, 90)


def test_an_idle_subscription_freezes_no_timer(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    """Beam's own read blocks its only thread for up to 30 s while nothing comes."""
    first, second = sample_events(2, seed=9)
    with streaming(tmp_path) as process:
        publish(publisher, [first])
        assert sandbox.wait_for("hook", lambda counts: counts.accepted == 1, 30)
        publish(publisher, [second])
        assert sandbox.wait_for("hook", lambda counts: counts.accepted == 2, 10)
        assert interrupt(process) == 0
    assert pubsub.outstanding(SUBSCRIPTION) == 0


def test_kill_9_in_mid_stream_and_a_restart_lose_nothing(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    events = list(sample_events(6_000, seed=6))
    with streaming(tmp_path) as process:
        publish(publisher, events[:3_000])
        assert sandbox.wait_for("hook", lambda counts: counts.accepted > 500, 30)
        publish(publisher, events[3_000:])
        process.kill()
        process.wait()
    with streaming(tmp_path) as process:
        assert eventually(lambda: pubsub.outstanding(SUBSCRIPTION) == 0, 90)
        assert interrupt(process) == 0
    assert set(sandbox.accepted_ids("hook")) == set(ids_of(events))


def test_what_a_dead_partner_did_not_take_is_held_and_the_others_get_everything(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    sandbox.set_fault("hook", Fault(status=503))
    events = list(sample_events(500, seed=7))
    with streaming(tmp_path) as process:
        publish(publisher, events)
        assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 500, 90)
        assert interrupt(process) == 3
    assert sorted(sandbox.accepted_ids("other")) == sorted(ids_of(events))
    assert sorted(ids_of(held_events(tmp_path, "hook"))) == sorted(ids_of(events))
    assert report_of(tmp_path)["balanced"]

    sandbox.set_fault("hook", None)
    assert run_files(tmp_path).returncode == 0
    assert sorted(sandbox.accepted_ids("hook")) == sorted(ids_of(events))


def test_a_partner_that_hangs_does_not_stop_the_others(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    """More messages than may be outstanding: what hangs must not keep them all until its timeout."""
    make_patient(tmp_path)
    sandbox.set_fault("hook", Fault(hang=True))
    count = MAX_OUTSTANDING_MESSAGES + 5_000
    with streaming(tmp_path) as process:
        publish(publisher, list(sample_events(count, seed=11)))
        assert sandbox.wait_for("other", lambda counts: counts.accepted >= count, 60)
        assert sandbox.counts("hook").accepted == 0
        sandbox.set_fault("hook", None)
        assert eventually(lambda: pubsub.outstanding(SUBSCRIPTION) == 0, 90)
        assert interrupt(process) in (0, 3)  # what was held as unanswered may be delivered by now
    hook = report_of(tmp_path)["connectors"]["hook"]
    assert report_of(tmp_path)["balanced"]
    assert hook["delivered"] + hook["held"] == count
    assert b"unanswered" in (tmp_path / "log").read_bytes()


def make_patient(folder: Path) -> None:
    """Leave the postbacks alone, with a timeout that no test waits for."""
    connectors = json.loads((folder / "connectors.json").read_text())["connectors"]
    write_connectors(folder, [{**one, "timeout": "100 s"} for one in connectors if "url" in one])


def test_a_hold_that_cannot_be_written_acknowledges_nothing_and_is_no_success(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    sandbox.set_fault("hook", Fault(status=503))
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "queue").write_text("a file where the folder should be")
    with streaming(tmp_path) as process:
        publish(publisher, list(sample_events(20, seed=12)))
        assert sandbox.wait_for("other", lambda counts: counts.accepted >= 20, 30)
        assert interrupt(process) == 1
    assert pubsub.acknowledged(SUBSCRIPTION) == 0
