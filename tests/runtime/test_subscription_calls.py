"""What fails for a time is told and can be asked again; what is refused is not asked for ever."""

from collections.abc import Iterator

import pytest
from google.api_core.exceptions import NotFound

from runtime import subscription_calls
from runtime.subscription_calls import MAX_CALL_IDS, SubscriptionCalls
from sandbox.pubsub import EmbeddedPubSub
from tests.pipeline.running import SUBSCRIPTION, make_subscription

NOT_THERE = "projects/sandbox/subscriptions/none"
IDS = [f"id-{number}" for number in range(MAX_CALL_IDS + 5)]


@pytest.fixture
def pubsub(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPubSub]:
    with EmbeddedPubSub() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)
        make_subscription().stop()
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    again = subscription_calls._AGAIN.with_timeout(0.1)
    monkeypatch.setattr(subscription_calls, "_AGAIN", again)


@pytest.mark.usefixtures("impatient")
def test_what_cannot_be_sent_is_told_and_sent_later(
    pubsub: EmbeddedPubSub, caplog: pytest.LogCaptureFixture
) -> None:
    calls = SubscriptionCalls(SUBSCRIPTION)
    pubsub.fail()
    assert calls.acknowledge(IDS) == IDS
    assert not calls.lease(IDS, 10)
    assert calls.pull(1, wait_seconds=0.05) is None
    assert [record.message for record in caplog.records if "cannot be reached" in record.message]
    pubsub.heal()
    assert not calls.acknowledge(IDS)
    assert calls.lease(IDS, 10)
    assert calls.pull(1, wait_seconds=0.05) == []
    calls.close()


def test_what_is_refused_is_told_and_not_sent_again(
    pubsub: EmbeddedPubSub, caplog: pytest.LogCaptureFixture
) -> None:
    assert pubsub.address
    calls = SubscriptionCalls(NOT_THERE)
    assert not calls.acknowledge(IDS)
    assert calls.lease(IDS, 10)
    assert NOT_THERE in caplog.text
    with pytest.raises(NotFound):
        calls.pull(1, wait_seconds=0.05)
    calls.close()


def test_a_pull_waits_for_the_first_message_and_no_longer_than_it_is_told(
    pubsub: EmbeddedPubSub,
) -> None:
    assert pubsub.address
    calls = SubscriptionCalls(SUBSCRIPTION)
    assert calls.pull(1, wait_seconds=0.05) == []
    calls.close()
