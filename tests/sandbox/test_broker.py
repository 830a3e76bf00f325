"""The embedded Pub/Sub's memory, on a clock that the tests turn."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from google.pubsub_v1 import types

from sandbox.pubsub.broker import DELETED_TOPIC, Broker
from sandbox.pubsub.consumer import Consumer
from sandbox.pubsub.refusals import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from sandbox.pubsub.subscription import (
    MAX_ANSWER_BYTES,
    MAX_ANSWER_MESSAGES,
    Delivery,
    Subscription,
)

TOPIC = "projects/p/topics/events"
SUBSCRIPTION = "projects/p/subscriptions/export"
NOON_NS = 1_800_000_000_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0
        self.read = threading.Event()

    def __call__(self) -> float:
        self.read.set()
        return self.now


class Bench:
    """A broker with one topic and one subscription, and a consumer that takes all there is."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.broker = Broker(self.clock, lambda: NOON_NS)
        self.broker.create_topic(types.Topic.pb()(name=TOPIC))
        self.broker.create_subscription(subscription_settings(**settings))

    @property
    def subscription(self) -> Subscription:
        return self.broker.subscription(SUBSCRIPTION)

    def publish(self, *data: bytes, key: str = "") -> list[str]:
        return self.broker.publish(publish_request(*data, key=key))

    def take(self, consumer: Consumer | None = None) -> list[Delivery]:
        return self.subscription.receive(consumer or Consumer(10), 0)

    @contextmanager
    def waiting(self, consumer: Consumer | None = None) -> Iterator[Future[list[Delivery]]]:
        """A consumer that waits on a thread of its own."""
        subscription = self.subscription
        with ThreadPoolExecutor(1) as executor:
            self.clock.read.clear()
            future = executor.submit(subscription.receive, consumer or Consumer(10), 60)
            # It reads the clock under the lock, which it gives up only to wait.
            assert self.clock.read.wait(timeout=5)
            try:
                yield future
            finally:
                self.clock.now += 60
                with subscription._changed:
                    subscription._changed.notify_all()

    def take_data(self, consumer: Consumer | None = None) -> list[bytes]:
        return [delivery.message.data for delivery in self.take(consumer)]

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        self.subscription.acknowledge([delivery.ack_id for delivery in deliveries])


def subscription_settings(**settings: Any) -> Any:
    return types.Subscription.pb()(**{"name": SUBSCRIPTION, "topic": TOPIC, **settings})


def publish_request(*data: bytes, key: str = "", **fields: Any) -> Any:
    message = types.PubsubMessage.pb()
    messages = [message(data=each, ordering_key=key, **fields) for each in data]
    return types.PublishRequest.pb()(topic=TOPIC, messages=messages)


def test_messages_come_in_the_order_of_publishing_with_increasing_ids_and_a_time() -> None:
    bench = Bench()
    ids = bench.publish(b"a", b"b") + bench.publish(b"c")
    messages = [delivery.message for delivery in bench.take()]
    assert [message.data for message in messages] == [b"a", b"b", b"c"]
    assert [message.message_id for message in messages] == ids
    assert ids == sorted(set(ids), key=int)
    assert {message.publish_time.ToNanoseconds() for message in messages} == {NOON_NS}


def test_every_subscription_gets_every_message() -> None:
    bench = Bench()
    other = subscription_settings(name="projects/p/subscriptions/other")
    bench.broker.create_subscription(other)
    bench.publish(b"a")
    assert bench.take_data() == [b"a"]
    [delivery] = bench.broker.subscription(other.name).receive(Consumer(10), 0)
    assert delivery.message.data == b"a"


def test_messages_published_before_a_subscription_are_not_for_it() -> None:
    bench = Bench()
    bench.broker.delete_subscription(SUBSCRIPTION)
    bench.publish(b"dropped")
    bench.broker.create_subscription(subscription_settings())
    assert bench.take_data() == []
    assert bench.subscription.outstanding() == 0


def test_a_leased_message_is_not_delivered_again_before_its_deadline() -> None:
    bench = Bench()
    bench.publish(b"a")
    bench.take()
    bench.clock.now += 9.9
    assert bench.take_data() == []
    bench.clock.now += 0.1
    assert bench.take_data() == [b"a"]


def test_an_acknowledged_message_never_comes_back() -> None:
    bench = Bench()
    bench.publish(b"a", b"b")
    first, _ = bench.take()
    bench.acknowledge([first])
    assert (bench.subscription.outstanding(), bench.subscription.acknowledged()) == (1, 1)
    bench.clock.now += 700
    assert bench.take_data() == [b"b"]


def test_an_acknowledgement_counts_once() -> None:
    bench = Bench()
    bench.publish(b"a")
    deliveries = bench.take()
    bench.acknowledge(deliveries)
    bench.acknowledge(deliveries)
    assert bench.subscription.acknowledged() == 1


def test_an_acknowledgement_after_the_deadline_is_too_late() -> None:
    bench = Bench()
    bench.publish(b"a")
    late = bench.take()
    bench.clock.now += 10
    bench.acknowledge(late)
    assert bench.subscription.acknowledged() == 0
    assert bench.take_data() == [b"a"]


def test_an_extension_moves_the_deadline_both_ways() -> None:
    bench = Bench()
    bench.publish(b"a")
    [delivery] = bench.take()
    bench.clock.now += 5
    bench.subscription.extend([delivery.ack_id], 60)
    bench.clock.now += 59
    assert bench.take_data() == []
    bench.subscription.extend([delivery.ack_id], 2)
    bench.clock.now += 2
    assert bench.take_data() == [b"a"]


def test_an_extension_after_the_deadline_is_too_late() -> None:
    bench = Bench()
    bench.publish(b"a")
    [delivery] = bench.take()
    bench.clock.now += 10
    bench.subscription.extend([delivery.ack_id], 60)
    assert bench.take_data() == [b"a"]


def test_a_message_given_back_comes_at_once_and_before_later_ones() -> None:
    bench = Bench()
    bench.publish(b"a", b"b")
    [first] = bench.take(Consumer(10, max_messages=1))
    bench.subscription.extend([first.ack_id], 0)
    assert bench.take_data() == [b"a", b"b"]


def test_giving_back_an_ordered_message_gives_back_the_later_ones_of_its_key() -> None:
    bench = Bench(enable_message_ordering=True)
    bench.publish(b"k0", b"k1", b"k2", key="k")
    bench.publish(b"j0", key="j")
    deliveries = bench.take()
    bench.subscription.extend([deliveries[1].ack_id], 0)
    assert bench.take_data() == [b"k1", b"k2"]


def test_attempts_are_counted_only_under_a_dead_letter_policy() -> None:
    def attempts(bench: Bench) -> list[int]:
        bench.publish(b"a")
        found = []
        for _ in range(3):
            [delivery] = bench.take()
            found.append(delivery.attempt)
            bench.subscription.extend([delivery.ack_id], 0)
        return found

    policy = types.DeadLetterPolicy.pb()(dead_letter_topic="projects/p/topics/dead")
    assert attempts(Bench(dead_letter_policy=policy)) == [1, 2, 3]
    assert attempts(Bench()) == [0, 0, 0]


def test_a_consumer_holds_no_more_messages_than_it_asked_for() -> None:
    bench = Bench()
    bench.publish(b"a", b"b", b"c")
    consumer = Consumer(10, max_messages=2)
    held = bench.take(consumer)
    assert len(held) == 2
    assert bench.take_data(consumer) == []
    bench.acknowledge(held[:1])
    assert bench.take_data(consumer) == [b"c"]


def test_a_consumer_gets_nothing_more_once_it_holds_its_bytes() -> None:
    bench = Bench()
    bench.publish(bytes(600), bytes(600), bytes(600))
    consumer = Consumer(10, max_bytes=1_000)
    held = bench.take(consumer)
    assert len(held) == 2
    bench.subscription.extend([held[1].ack_id], 0)
    assert len(bench.take(consumer)) == 1


def test_an_expired_lease_makes_room_at_its_consumer() -> None:
    bench = Bench()
    bench.publish(b"a", b"b")
    consumer = Consumer(10, max_messages=1)
    assert bench.take_data(consumer) == [b"a"]
    bench.clock.now += 10
    assert bench.take_data(consumer) == [b"a"]


def test_an_answer_has_at_most_a_thousand_messages() -> None:
    bench = Bench()
    for _ in range(2):
        bench.publish(*[b"a"] * 600)
    assert [len(bench.take()), len(bench.take())] == [MAX_ANSWER_MESSAGES, 200]


def test_an_answer_stays_below_its_bytes() -> None:
    bench = Bench()
    for _ in range(6):
        bench.publish(bytes(999_000))
    sizes = [sum(len(data) for data in bench.take_data()) for _ in range(2)]
    assert sizes == [4 * 999_000, 2 * 999_000]
    assert max(sizes) < MAX_ANSWER_BYTES


def test_a_message_above_an_answers_bytes_goes_alone() -> None:
    bench = Bench()
    bench.publish(b"a")
    bench.publish(bytes(5_000_000))
    assert [len(data) for data in bench.take_data()] == [1]
    assert [len(data) for data in bench.take_data()] == [5_000_000]


def test_what_a_consumer_is_closed_with_ends_its_wait() -> None:
    bench = Bench()
    consumer = Consumer(10)
    with bench.waiting(consumer) as future:
        bench.subscription.close(consumer, Unavailable("gone"))
        with pytest.raises(Unavailable, match="gone"):
            future.result(timeout=5)


def test_a_closed_consumer_gets_nothing() -> None:
    bench = Bench()
    bench.publish(b"a")
    consumer = Consumer(10)
    bench.subscription.close(consumer)
    assert bench.take_data(consumer) == []
    assert bench.take_data() == [b"a"]


def test_a_message_published_wakes_a_consumer_that_waits() -> None:
    bench = Bench()
    with bench.waiting() as future:
        bench.publish(b"a")
        assert len(future.result(timeout=5)) == 1


def test_a_message_given_back_wakes_a_consumer_that_waits() -> None:
    bench = Bench()
    bench.publish(b"a")
    [delivery] = bench.take(Consumer(600))
    with bench.waiting() as future:
        bench.subscription.extend([delivery.ack_id], 0)
        assert len(future.result(timeout=5)) == 1


def test_room_wakes_a_consumer_that_waits() -> None:
    bench = Bench()
    bench.publish(b"a", b"b")
    consumer = Consumer(600, max_messages=1)
    held = bench.take(consumer)
    with bench.waiting(consumer) as future:
        bench.acknowledge(held)
        assert len(future.result(timeout=5)) == 1


def test_the_deletion_of_a_subscription_ends_its_consumers_wait() -> None:
    bench = Bench()
    with bench.waiting() as future:
        bench.broker.delete_subscription(SUBSCRIPTION)
        with pytest.raises(NotFound):
            future.result(timeout=5)


def test_a_deleted_subscription_gets_nothing_more() -> None:
    bench = Bench()
    deleted = bench.subscription
    bench.broker.delete_subscription(SUBSCRIPTION)
    bench.publish(b"a")
    assert deleted.outstanding() == 0


def test_a_subscription_outlives_its_topic_with_what_it_has() -> None:
    bench = Bench()
    bench.publish(b"a")
    bench.broker.delete_topic(TOPIC)
    assert bench.subscription.settings.topic == DELETED_TOPIC
    assert bench.take_data() == [b"a"]
    with pytest.raises(NotFound):
        bench.publish(b"b")
    bench.broker.delete_subscription(SUBSCRIPTION)
    assert bench.broker.subscriptions("projects/p") == []


def test_lists_are_of_one_project() -> None:
    bench = Bench()
    bench.broker.create_topic(types.Topic.pb()(name="projects/pq/topics/events"))
    assert [topic.name for topic in bench.broker.topics("projects/p")] == [TOPIC]
    assert len(bench.broker.subscriptions("projects/p")) == 1
    assert bench.broker.subscriptions("projects/pq") == []


def test_leases_of_extended_and_acknowledged_messages_leave_nothing_behind() -> None:
    bench = Bench()
    for _ in range(30):
        bench.publish(*[b"a"] * 1_000)
        deliveries = bench.take()
        bench.subscription.extend([delivery.ack_id for delivery in deliveries], 600)
        bench.acknowledge(deliveries)
    assert bench.subscription.acknowledged() == 30_000
    assert len(bench.subscription._leases._ends) <= 10_000


@pytest.mark.parametrize(
    "name",
    [
        "events",
        "projects/p/topics/ab",
        "projects/p/topics/1abc",
        "projects/p/topics/google-events",
        "projects/p/topics/a b c",
        "projects/p/subscriptions/events",
        "projects/p/topics/" + "a" * 256,
    ],
)
def test_a_topic_needs_a_legal_name(name: str) -> None:
    with pytest.raises(InvalidArgument, match="name"):
        Bench().broker.create_topic(types.Topic.pb()(name=name))


@pytest.mark.parametrize(
    ("request_of", "what"),
    [
        (publish_request, "1 to 1000 messages"),
        (lambda: publish_request(*[b"a"] * 1_001), "1 to 1000 messages"),
        (lambda: publish_request(b""), "data or at least one attribute"),
        (lambda: publish_request(bytes(6_000_000), bytes(4_000_000)), "bytes of a request"),
        (lambda: publish_request(bytes(10_000_001)), "at most 10000000 bytes"),
        (lambda: publish_request(b"a", attributes={"": "v"}), "empty"),
        (lambda: publish_request(b"a", attributes={"k" * 257: "v"}), "attribute's key"),
        (lambda: publish_request(b"a", attributes={"k": "ä" * 513}), "attribute's value"),
        (lambda: publish_request(b"a", attributes={str(n): "v" for n in range(101)}), "attributes"),
        (lambda: publish_request(b"a", key="k" * 1_025), "ordering key"),
    ],
)
def test_what_the_service_does_not_publish_is_refused_whole(
    request_of: Callable[[], Any], what: str
) -> None:
    bench = Bench()
    with pytest.raises(InvalidArgument, match=what):
        bench.broker.publish(request_of())
    assert bench.subscription.outstanding() == 0


def test_a_message_at_every_limit_is_published() -> None:
    bench = Bench()
    attributes = {f"{n:0256}": "v" * 1_024 for n in range(100)}
    bench.broker.publish(publish_request(b"", key="k" * 1_024, attributes=attributes))
    [delivery] = bench.take()
    assert dict(delivery.message.attributes) == attributes


@pytest.mark.parametrize("seconds", [9, 601])
def test_a_subscriptions_deadline_is_ten_seconds_to_ten_minutes(seconds: int) -> None:
    with pytest.raises(InvalidArgument, match=str(seconds)):
        Bench(ack_deadline_seconds=seconds)
    assert Bench().subscription.settings.ack_deadline_seconds == 10


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("filter", 'attributes:"a"'),
        ("enable_exactly_once_delivery", True),
        ("push_config", types.PushConfig.pb()(push_endpoint="https://push.example.com/")),
    ],
)
def test_what_the_stand_in_lacks_is_refused_rather_than_ignored(field: str, value: Any) -> None:
    with pytest.raises(Unimplemented, match=field):
        Bench(**{field: value})


def test_names_are_taken_once() -> None:
    bench = Bench()
    with pytest.raises(AlreadyExists):
        bench.broker.create_topic(types.Topic.pb()(name=TOPIC))
    with pytest.raises(AlreadyExists):
        bench.broker.create_subscription(subscription_settings())


def test_a_subscription_needs_its_topic() -> None:
    bench = Bench()
    with pytest.raises(NotFound):
        bench.broker.create_subscription(
            subscription_settings(
                name="projects/p/subscriptions/other", topic="projects/p/topics/none"
            )
        )


def test_it_says_which_messages_are_not_acknowledged_and_how_many_are_leased() -> None:
    bench = Bench()
    bench.publish(b"a", b"b", b"c", b"d")
    first, second = bench.take(Consumer(10, max_messages=2))
    bench.acknowledge([first])
    left = [message.data for message in bench.subscription.unacknowledged()]
    assert (left, bench.subscription.leased()) == ([b"b", b"c", b"d"], 1)
    bench.acknowledge([second])
    assert bench.subscription.leased() == 0
