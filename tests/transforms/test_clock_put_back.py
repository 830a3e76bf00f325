"""A clock that is put back an hour, as NTP may do: lanes go on, and nothing expires or comes back."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache_beam.runners.direct import clock as beams_clock
from google.cloud import pubsub_v1

from runtime import clock
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.pubsub import EmbeddedPubSub
from sandbox.samples import sample_events
from tests.pipeline.running import SUBSCRIPTION, eventually, ids_of, publish
from tests.transforms.streaming_run import streaming_run
from transforms import engine

EVENTS = list(sample_events(20, seed=3))


class Clock:
    """The time module, with a time of day that can be put back."""

    def __init__(self) -> None:
        self.put_back_seconds = 0.0

    def time(self) -> float:
        return time.time() - self.put_back_seconds

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What our code and Beam's runner take for the time of day; Pub/Sub's client has its own."""
    made = Clock()
    for module in (clock, engine, beams_clock):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite(), "down": PostbackSite()}) as running:
        yield running


def test_what_is_gathered_in_the_air_and_held_goes_on(
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    wall_clock: Clock,
    tmp_path: Path,
) -> None:
    sandbox.set_fault("down", Fault(status=503))
    connectors = [
        {"name": name, "kind": "postback", "url": sandbox.url(name), "batch_window": "1 s"}
        for name in ("hook", "down")
    ]
    with streaming_run(tmp_path, connectors) as run:
        publish(publisher, EVENTS[:10])
        assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 10)
        publish(publisher, EVENTS[10:])
        assert eventually(lambda: run.worker.receipts.outstanding > 0)
        wall_clock.put_back_seconds = 3_600
        assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 20, seconds=20)
        assert sorted(sandbox.accepted_ids("hook")) == sorted(ids_of(EVENTS))
        run.end()
    assert not list((tmp_path / "dead").rglob("*.avro"))
