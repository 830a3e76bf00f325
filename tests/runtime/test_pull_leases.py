"""What a bundle pulls is acknowledged one bundle after the engine has committed it, and never before."""

from collections.abc import Iterator

import pytest
from google.api_core.exceptions import NotFound
from google.cloud import pubsub_v1

from runtime import subscription_calls
from runtime.leases import LEASE_SECONDS
from runtime.pull_leases import MAX_HOLD_SECONDS, PullLeases, Taking
from sandbox.pubsub import EmbeddedPubSub
from sandbox.pubsub.broker import Broker
from tests.pipeline.running import SUBSCRIPTION, make_subscription, publish

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")

HOUR = 3_600_000_000_000


class Clock:
    """A clock of the test's own, for the leases and for Pub/Sub."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.published_ns = 5 * HOUR

    def __call__(self) -> float:
        return self.now

    def wall_ns(self) -> int:
        return self.published_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pubsub(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPubSub]:
    with EmbeddedPubSub(broker=Broker(clock, clock.wall_ns)) as server:
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
def leases(publisher: pubsub_v1.PublisherClient, clock: Clock) -> Iterator[PullLeases]:
    assert publisher
    made = PullLeases(SUBSCRIPTION, clock)
    yield made
    made.close()


def taken(taking: Taking, max_messages: int = 1_000) -> list[bytes]:
    return [message for pull in taking.pull(max_messages) for message in pull.messages]


def acknowledged(leases: PullLeases, pubsub: EmbeddedPubSub) -> int:
    leases.look()
    return pubsub.acknowledged(SUBSCRIPTION)


def test_a_bundle_is_acknowledged_when_one_that_began_after_its_commit_is_committed(
    leases: PullLeases, publisher: pubsub_v1.PublisherClient, pubsub: EmbeddedPubSub
) -> None:
    publish(publisher, [b"one", b"two"])
    first = leases.begin(0)
    assert taken(first) == [b"one", b"two"]
    first.commit()
    assert acknowledged(leases, pubsub) == 0
    second = leases.begin(1)
    assert acknowledged(leases, pubsub) == 0
    second.commit()
    assert acknowledged(leases, pubsub) == 2
    assert leases.outstanding == 0


def test_bundles_that_are_committed_together_do_not_vouch_for_each_other(
    leases: PullLeases, publisher: pubsub_v1.PublisherClient, pubsub: EmbeddedPubSub
) -> None:
    """Flink commits all that has ended when it hears of a checkpoint, later bundles included."""
    publish(publisher, [b"one"])
    first = leases.begin(0)
    taken(first)
    publish(publisher, [b"two"])
    second = leases.begin(1)
    taken(second)
    first.commit()
    second.commit()
    assert acknowledged(leases, pubsub) == 0
    third = leases.begin(2)
    third.commit()
    assert acknowledged(leases, pubsub) == 2


def test_an_engine_that_goes_back_to_a_checkpoint_gives_back_what_came_after_it(
    leases: PullLeases, publisher: pubsub_v1.PublisherClient, pubsub: EmbeddedPubSub
) -> None:
    """Also what it had said to have committed: it was mistaken."""
    takings = []
    for number, message in enumerate([b"kept", b"undone", b"open"]):
        publish(publisher, [message])
        takings.append(leases.begin(number))
        taken(takings[-1])
    kept, undone, _ = takings
    kept.commit()
    undone.commit()
    again = leases.begin(1)
    leases.look()
    assert sorted(taken(again)) == [b"open", b"undone"]
    again.commit()
    assert acknowledged(leases, pubsub) == 1
    leases.begin(2).commit()
    assert acknowledged(leases, pubsub) == 3


def test_a_bundle_that_failed_gives_back_and_one_that_was_committed_does_not(
    leases: PullLeases, publisher: pubsub_v1.PublisherClient, pubsub: EmbeddedPubSub
) -> None:
    publish(publisher, [b"one"])
    failed = leases.begin(0)
    taken(failed)
    failed.give_back()
    leases.look()
    again = leases.begin(1)
    assert taken(again) == [b"one"]
    again.commit()
    again.give_back()
    leases.begin(2).commit()
    assert acknowledged(leases, pubsub) == 1


def test_leases_are_kept_for_as_long_as_the_engine_may_take(
    leases: PullLeases, publisher: pubsub_v1.PublisherClient, clock: Clock
) -> None:
    publish(publisher, [b"one"])
    first = leases.begin(0)
    taken(first)
    until = clock.now + MAX_HOLD_SECONDS
    while clock.now < until:
        leases.look()
        assert taken(leases.begin(1)) == []
        clock.now += LEASE_SECONDS / 8
    clock.now += 1
    leases.look()
    assert taken(leases.begin(1)) == [b"one"]


def test_nothing_is_pulled_while_too_much_is_outstanding(
    leases: PullLeases, publisher: pubsub_v1.PublisherClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.pull_leases.MAX_OUTSTANDING_MESSAGES", 3)
    publish(publisher, [b"%d" % number for number in range(5)])
    first = leases.begin(0)
    assert (len(taken(first)), len(taken(first)), leases.outstanding) == (3, 0, 3)
    first.commit()
    second = leases.begin(1)
    second.commit()
    assert len(taken(leases.begin(2))) == 2


def test_a_pull_is_of_one_hour(
    leases: PullLeases, publisher: pubsub_v1.PublisherClient, clock: Clock
) -> None:
    publish(publisher, [b"early"])
    clock.published_ns += HOUR
    publish(publisher, [b"late"])
    pulls = leases.begin(0).pull(10)
    assert [(pull.oldest_ms, pull.newest_ms, pull.messages) for pull in pulls] == [
        (5 * 3_600_000, 5 * 3_600_000, [b"early"]),
        (6 * 3_600_000, 6 * 3_600_000, [b"late"]),
    ]
    assert [pull.receipt for pull in pulls] == [0, 0]


def test_after_a_stop_reading_ends_when_all_is_acknowledged(
    leases: PullLeases, publisher: pubsub_v1.PublisherClient
) -> None:
    publish(publisher, [b"one"])
    first = leases.begin(0)
    taken(first)
    leases.stop()
    publish(publisher, [b"two"])
    second = leases.begin(1)
    assert taken(second) == []
    first.commit()
    assert not leases.ended
    leases.begin(2).commit()
    assert leases.ended


def test_an_outage_of_pubsub_loses_no_acknowledgement_for_good(
    leases: PullLeases,
    publisher: pubsub_v1.PublisherClient,
    pubsub: EmbeddedPubSub,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscription_calls, "_AGAIN", subscription_calls._AGAIN.with_timeout(0.1))
    publish(publisher, [b"one"])
    first = leases.begin(0)
    taken(first)
    first.commit()
    leases.begin(1).commit()
    pubsub.fail()
    leases.look()
    assert taken(leases.begin(2)) == []
    pubsub.heal()
    assert pubsub.acknowledged(SUBSCRIPTION) == 0
    clock.now += LEASE_SECONDS
    assert taken(leases.begin(2)) == [b"one"]


def test_a_subscription_that_is_not_there_is_an_error(pubsub: EmbeddedPubSub) -> None:
    assert pubsub.address
    leases = PullLeases("projects/sandbox/subscriptions/none")
    with pytest.raises(NotFound):
        leases.begin(0).pull(1)
    leases.close()
