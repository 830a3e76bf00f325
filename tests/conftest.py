"""Fixtures that several folders of tests share."""

import os
from collections.abc import Iterator

import pytest
from google.cloud import pubsub_v1

from sandbox.pubsub import EmbeddedPubSub
from tests.pipeline.running import make_subscription


@pytest.fixture
def pubsub(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPubSub]:
    """The embedded Pub/Sub, which every client of this test talks to."""
    with EmbeddedPubSub() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)
        yield server


@pytest.fixture
def publisher(pubsub: EmbeddedPubSub) -> Iterator[pubsub_v1.PublisherClient]:
    """A publisher to the topic of the tests' subscription."""
    assert os.environ["PUBSUB_EMULATOR_HOST"] == pubsub.address
    client = make_subscription()
    yield client
    client.stop()
    client.transport.close()
