"""A hold that cannot be written while events stream: loud, nothing lost, and reading stops in time."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud import pubsub_v1

from runtime import receipts, subscriber
from sandbox.partners import PartnerSandbox
from sandbox.pubsub import EmbeddedPubSub
from sandbox.samples import sample_events
from tests.pipeline.running import SUBSCRIPTION, eventually, held_events, ids_of, publish
from tests.transforms.streaming_run import StreamingRun, postbacks, streaming_run

EVENTS = list(sample_events(1_000, seed=4))
MOST = 300
"""Messages that may be under way, in place of tens of thousands."""


@pytest.fixture
def run(
    pubsub: EmbeddedPubSub,  # noqa: ARG001 - it has to be there
    publisher: pubsub_v1.PublisherClient,  # noqa: ARG001
    hook_and_down: PartnerSandbox,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[StreamingRun]:
    """A run whose hold has a file where its queue should be."""
    for module in (receipts, subscriber):
        monkeypatch.setattr(module, "MAX_OUTSTANDING_MESSAGES", MOST)
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "queue").write_text("in the way")
    with streaming_run(tmp_path, postbacks(hook_and_down)) as running:
        yield running


def test_reading_stops_while_the_hold_cannot_be_written_and_goes_on_when_it_can(
    run: StreamingRun,
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    hook_and_down: PartnerSandbox,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    publish(publisher, EVENTS)
    assert eventually(lambda: run.worker.receipts.outstanding >= MOST)
    assert eventually(lambda: "cannot be written and is kept" in caplog.text)
    in_time = len(hook_and_down.accepted_ids("hook"))
    assert pubsub.acknowledged(SUBSCRIPTION) == 0
    (tmp_path / "held" / "queue").unlink()
    assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == len(EVENTS), seconds=60)
    run.end()
    assert in_time < len(EVENTS)
    assert sorted(hook_and_down.accepted_ids("hook")) == sorted(ids_of(EVENTS))
    assert sorted(ids_of(held_events(tmp_path, "down"))) == sorted(ids_of(EVENTS))
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert any("down" in record.getMessage() for record in errors)


def test_a_run_that_ends_meanwhile_acknowledges_nothing_that_it_could_not_hold(
    run: StreamingRun,
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    hook_and_down: PartnerSandbox,
) -> None:
    publish(publisher, EVENTS[:50])
    assert eventually(lambda: len(hook_and_down.accepted_ids("hook")) == 50)
    run.end()
    assert pubsub.acknowledged(SUBSCRIPTION) == 0
