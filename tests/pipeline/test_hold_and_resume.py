"""Holding, resuming and expiring while events stream: real partners, real Pub/Sub, short settings."""

import json
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
    eventually,
    held_events,
    ids_of,
    interrupt,
    make_subscription,
    publish,
    report_of,
    streaming,
    write_connectors,
)

QUICK = ("--probe_min", "200 ms", "--probe_max", "400 ms", "--config_refresh", "200 ms")


@pytest.fixture
def pubsub(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPubSub]:
    with EmbeddedPubSub() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)
        yield server


@pytest.fixture
def publisher(pubsub: EmbeddedPubSub) -> Iterator[pubsub_v1.PublisherClient]:
    assert pubsub.address
    client = make_subscription()
    yield client
    client.stop()
    client.transport.close()


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
        assert eventually(lambda: pubsub.outstanding(SUBSCRIPTION) == 0)
        assert eventually(lambda: status_of(tmp_path).get("state") == "suspended")
        assert status_of(tmp_path)["reason"] == reason
        assert status_of(tmp_path)["attended_by"]
        assert (tmp_path / "held" / "suspended" / "hook").exists()
        sandbox.set_fault("hook", None)
        publish(publisher, events[300:])
        assert eventually(lambda: arrived(sandbox, events))
        assert eventually(lambda: status_of(tmp_path) == {})
        assert interrupt(process) == 0
    assert not (tmp_path / "held" / "suspended" / "hook").exists()
    assert held_ids(tmp_path) == []
    report = report_of(tmp_path)
    assert report["balanced"]
    assert report["connectors"]["hook"]["delivered"] == 400
    assert report["connectors"]["hook"]["held"] == 0
