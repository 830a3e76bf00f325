"""Our subscriber reads pulls, acknowledges after the effect, and gives back what it did not use."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.cloud import pubsub_v1

from runtime import subscriber as module
from runtime.leases import LEASE_SECONDS
from runtime.receipts import Receipts
from runtime.subscriber import Subscriber
from sandbox.pubsub import EmbeddedPubSub
from schemas.batch import Token
from schemas.pull import Pull

TOPIC = "projects/sandbox/topics/events"
SUBSCRIPTION = "projects/sandbox/subscriptions/events"
SECONDS = 40.0


@pytest.fixture(autouse=True)
def pubsub(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPubSub]:
    with EmbeddedPubSub() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)
        with pubsub_v1.SubscriberClient() as client, publishing() as publisher:
            publisher.create_topic(name=TOPIC)
            client.create_subscription(name=SUBSCRIPTION, topic=TOPIC, ack_deadline_seconds=600)
        yield server


@pytest.fixture
def receipts() -> Receipts:
    return Receipts()


@pytest.fixture
def subscriber(receipts: Receipts) -> Iterator[Subscriber]:
    with subscribed(receipts) as running:
        yield running


@contextmanager
def subscribed(receipts: Receipts) -> Iterator[Subscriber]:
    running = Subscriber(SUBSCRIPTION, receipts)
    yield running
    running.close()


@contextmanager
def publishing() -> Iterator[pubsub_v1.PublisherClient]:
    publisher = pubsub_v1.PublisherClient()
    yield publisher
    publisher.stop()


def publish(*messages: bytes) -> None:
    with publishing() as publisher:
        for future in [publisher.publish(TOPIC, message) for message in messages]:
            future.result(timeout=SECONDS)


def numbered(count: int) -> list[bytes]:
    return [f"{number:05d}".encode() for number in range(count)]


def pull_all(subscriber: Subscriber, count: int) -> list[Pull]:
    """Pulls until so many messages have come."""
    pulls: list[Pull] = []
    until = time.monotonic() + SECONDS
    while sum(len(pull.messages) for pull in pulls) < count and time.monotonic() < until:
        if (pull := subscriber.pull()) is not None:
            pulls.append(pull)
    return pulls


def messages_of(pulls: list[Pull]) -> list[bytes]:
    return sorted(message for pull in pulls for message in pull.messages)


def settle(receipts: Receipts, pull: Pull) -> None:
    receipts.decoded(pull.receipt, receipts.begin(pull.receipt))


def eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + SECONDS
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def test_messages_come_in_pulls_of_many_and_each_comes_once(subscriber: Subscriber) -> None:
    publish(*numbered(5_000))
    pulls = pull_all(subscriber, 5_000)
    assert messages_of(pulls) == numbered(5_000)
    assert max(len(pull.messages) for pull in pulls) > 50
    assert max(len(pull.messages) for pull in pulls) <= module.MAX_PULL_MESSAGES
    assert len({pull.receipt for pull in pulls}) == len(pulls)


def test_a_pull_says_when_its_messages_were_published(subscriber: Subscriber) -> None:
    before = int(time.time() * 1_000)
    publish(*numbered(10))
    after = int(time.time() * 1_000) + 1
    for pull in pull_all(subscriber, 10):
        assert before <= pull.oldest_ms <= pull.newest_ms <= after


def test_an_empty_subscription_keeps_nobody_waiting(subscriber: Subscriber) -> None:
    began = time.monotonic()
    assert subscriber.pull() is None
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(("name", "most"), [("MAX_PULL_MESSAGES", 7), ("MAX_PULL_BYTES", 35)])
def test_a_pull_is_bounded(
    name: str, most: int, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, most)
    publish(*numbered(100))
    pulls = pull_all(subscriber, 100)
    assert messages_of(pulls) == numbered(100)
    assert max(len(pull.messages) for pull in pulls) <= 7


def test_a_pull_holds_messages_of_one_hour_only(
    subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HOUR_MS", 1)  # an hour that passes in a test
    with publishing() as publisher:
        for message in numbered(40):
            publisher.publish(TOPIC, message).result(timeout=SECONDS)
    pulls = pull_all(subscriber, 40)
    assert messages_of(pulls) == numbered(40)
    assert all(pull.oldest_ms == pull.newest_ms for pull in pulls)
    assert len(pulls) > 1


def test_a_message_is_acknowledged_when_its_receipt_is_settled_and_not_before(
    subscriber: Subscriber, receipts: Receipts, pubsub: EmbeddedPubSub
) -> None:
    publish(*numbered(100))
    first, *rest = pull_all(subscriber, 100)
    reading = receipts.begin(first.receipt)
    share = Token(first.receipt, reading, "lane")
    receipts.open(share)
    receipts.decoded(first.receipt, reading)
    for pull in rest:
        settle(receipts, pull)
    others = sum(len(pull.messages) for pull in rest)
    assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == others)
    assert receipts.outstanding == len(first.messages)
    receipts.settle([share])
    assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 100)
    assert receipts.outstanding == 0


class LeapingTime:
    """The clock of the library's retries, an hour ahead from the moment on that is told."""

    def __init__(self) -> None:
        self.sleeps = 0
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        time.sleep(seconds)


def test_an_outage_of_any_length_ends_no_stream(
    subscriber: Subscriber,
    receipts: Receipts,
    pubsub: EmbeddedPubSub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = LeapingTime()
    for name in ("retry_base", "retry_unary"):
        monkeypatch.setattr(f"google.api_core.retry.{name}.time", clock)
    publish(*numbered(10))
    pulls = pull_all(subscriber, 10)
    pubsub.fail()
    for pull in pulls:
        settle(receipts, pull)
    assert eventually(lambda: clock.sleeps > 0)
    clock.ahead = 3_600
    assert eventually(lambda: clock.sleeps > 3)
    clock.ahead *= 2
    before = clock.sleeps
    assert eventually(lambda: clock.sleeps > before + 3)
    assert subscriber.pull() is None
    pubsub.heal()
    assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 10)
    publish(b"after")
    assert messages_of(pull_all(subscriber, 1)) == [b"after"]


def test_after_a_stop_nothing_is_handed_out_but_receipts_are_still_settled(
    subscriber: Subscriber, receipts: Receipts, pubsub: EmbeddedPubSub
) -> None:
    publish(b"before")
    (pull,) = pull_all(subscriber, 1)
    subscriber.stop()
    publish(b"after")
    assert eventually(lambda: not subscriber._queue.empty())
    assert subscriber.stopped
    assert subscriber.pull() is None
    settle(receipts, pull)
    assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 1)


def test_what_was_acknowledged_last_is_acknowledged_before_the_stream_ends(
    pubsub: EmbeddedPubSub, receipts: Receipts
) -> None:
    publish(*numbered(500))
    with subscribed(receipts) as running:
        for pull in pull_all(running, 500):
            settle(receipts, pull)
    assert pubsub.acknowledged(SUBSCRIPTION) == 500


def test_what_was_not_handed_out_is_given_back_and_read_by_another(
    receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(*numbered(50))
    monkeypatch.setattr(module, "MAX_PULL_MESSAGES", 10)
    with subscribed(receipts) as first:
        assert eventually(lambda: first._queue.qsize() == 50)
        pull = first.pull()
        assert pull is not None
        settle(receipts, pull)
    with subscribed(receipts) as second:
        found = messages_of(pull_all(second, 40))
    assert found == sorted(set(numbered(50)) - set(pull.messages))


def test_a_message_kept_for_the_next_hour_is_given_back_too(
    pubsub: EmbeddedPubSub, receipts: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HOUR_MS", 1)
    publish(b"1")
    assert eventually(lambda: pubsub.outstanding(SUBSCRIPTION) == 1)
    began = int(time.time() * 1_000)
    assert eventually(lambda: int(time.time() * 1_000) > began)
    publish(b"2")
    with subscribed(receipts) as first:
        assert eventually(lambda: first._queue.qsize() == 2)
        pull = first.pull()
        assert pull is not None
        assert first._next is not None
        settle(receipts, pull)
    with subscribed(receipts) as second:
        assert messages_of([*pull_all(second, 1), pull]) == [b"1", b"2"]


def test_what_was_not_settled_is_not_acknowledged_by_a_close(
    pubsub: EmbeddedPubSub, receipts: Receipts
) -> None:
    publish(*numbered(5))
    with subscribed(receipts) as running:
        assert messages_of(pull_all(running, 5)) == numbered(5)
    assert pubsub.acknowledged(SUBSCRIPTION) == 0
    assert pubsub.outstanding(SUBSCRIPTION) == 5


def test_a_subscription_that_is_not_there_is_an_error(receipts: Receipts) -> None:
    running = Subscriber("projects/sandbox/subscriptions/none", receipts)
    with pytest.raises(NotFound):
        pull_until_error(running)
    running.close()


def test_a_lease_lasts_as_long_as_we_say_though_acknowledgements_are_quick(
    subscriber: Subscriber, pubsub: EmbeddedPubSub
) -> None:
    """The library would make it 10 s, and extend it up to 9 s later: one second late is too late."""
    publish(b"a")
    assert messages_of(pull_all(subscriber, 1)) == [b"a"]
    leases = pubsub._broker.subscription(SUBSCRIPTION)._leases
    (lease,) = leases._by_id.values()
    left = lease.expires - time.monotonic()
    assert LEASE_SECONDS - 5 < left <= LEASE_SECONDS


def test_an_outage_is_outlived(subscriber: Subscriber, pubsub: EmbeddedPubSub) -> None:
    publish(b"before")
    assert messages_of(pull_all(subscriber, 1)) == [b"before"]
    pubsub.fail()
    pubsub.heal()
    publish(b"after")
    assert messages_of(pull_all(subscriber, 1)) == [b"after"]


def pull_until_error(subscriber: Subscriber) -> Any:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        subscriber.pull()


def test_a_stream_that_broke_is_no_error_once_we_stopped(receipts: Receipts) -> None:
    running = Subscriber("projects/sandbox/subscriptions/none", receipts)
    with pytest.raises(GoogleAPICallError):
        pull_until_error(running)
    running.stop()
    assert running.pull() is None
    running.close()
