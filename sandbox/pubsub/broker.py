"""The broker: topics and their subscriptions, in memory, on a clock that is passed in."""

import time
from collections.abc import Callable, Iterable
from itertools import count
from threading import Lock
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from sandbox.pubsub import rules
from sandbox.pubsub.leases import Stored
from sandbox.pubsub.refusals import AlreadyExists, NotFound
from sandbox.pubsub.subscription import Subscription

# The name that the real service shows as the topic of a subscription whose topic is gone.
DELETED_TOPIC = "_deleted-topic_"


class Topic:
    """A topic's settings and the subscriptions that its messages go to."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.subscriptions: list[Subscription] = []


class Broker:
    """Holds topics and subscriptions by their full names. Thread-safe.

    Settings and messages are protobuf values of google-cloud-pubsub (`Type.pb()`).
    Not done: retry policies (what is given back is redelivered at once), forwarding to a dead-letter
    topic, expiry of unacknowledged messages. What else is missing is refused.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`clock` times the leases, in seconds; `wall_clock_ns` stamps what is published."""
        self._clock = clock
        self._wall_clock_ns = wall_clock_ns
        # Begun at the time of day, so that a later server neither repeats a message's id nor takes
        # an earlier server's ack id for its own.
        start = wall_clock_ns() // 1_000
        self._message_numbers = count(start)
        self._ack_numbers = count(start)
        self._lock = Lock()
        self._topics: dict[str, Topic] = {}
        self._subscriptions: dict[str, Subscription] = {}

    def create_topic(self, settings: Any) -> Any:
        rules.check_name(settings.name, "topics")
        with self._lock:
            if settings.name in self._topics:
                raise AlreadyExists(f"the topic exists already: {settings.name}")
            self._topics[settings.name] = Topic(settings)
        return settings

    def topic(self, name: str) -> Any:
        """The settings of a topic."""
        rules.check_name(name, "topics")
        with self._lock:
            return self._topic(name).settings

    def topics(self, project: str) -> list[Any]:
        """The settings of a project's topics (`projects/P`)."""
        with self._lock:
            return [
                topic.settings
                for name, topic in self._topics.items()
                if name.startswith(f"{project}/")
            ]

    def delete_topic(self, name: str) -> None:
        """Forget a topic; its subscriptions stay and keep what they have."""
        rules.check_name(name, "topics")
        with self._lock:
            topic = self._topic(name)
            for subscription in topic.subscriptions:
                subscription.settings.topic = DELETED_TOPIC
            del self._topics[name]

    def publish(self, request: Any) -> list[str]:
        """Give each message an id and a time and hand it to every subscription of the topic."""
        rules.check_name(request.topic, "topics")
        rules.check_publish(request)
        with self._lock:
            topic = self._topic(request.topic)
            stored = [self._stamp(message) for message in self._timed(request.messages)]
            for subscription in topic.subscriptions:
                subscription.put(stored)
        return [each.message.message_id for each in stored]

    def create_subscription(self, settings: Any) -> Any:
        rules.check_subscription(settings)
        if not settings.ack_deadline_seconds:
            settings.ack_deadline_seconds = rules.DEFAULT_ACK_DEADLINE_SECONDS
        with self._lock:
            topic = self._topic(settings.topic)
            if settings.name in self._subscriptions:
                raise AlreadyExists(f"the subscription exists already: {settings.name}")
            subscription = Subscription(settings, self._clock, self._ack_numbers)
            self._subscriptions[settings.name] = subscription
            topic.subscriptions.append(subscription)
        return settings

    def subscription(self, name: str) -> Subscription:
        rules.check_name(name, "subscriptions")
        with self._lock:
            return self._subscription(name)

    def subscriptions(self, project: str) -> list[Any]:
        """The settings of a project's subscriptions (`projects/P`)."""
        with self._lock:
            return [
                subscription.settings
                for name, subscription in self._subscriptions.items()
                if name.startswith(f"{project}/")
            ]

    def delete_subscription(self, name: str) -> None:
        """Forget a subscription and its messages; its open pulls end."""
        rules.check_name(name, "subscriptions")
        with self._lock:
            subscription = self._subscription(name)
            del self._subscriptions[name]
            if topic := self._topics.get(subscription.settings.topic):
                topic.subscriptions.remove(subscription)
        subscription.delete()

    def _topic(self, name: str) -> Topic:
        if name not in self._topics:
            raise NotFound(f"no such topic: {name}")
        return self._topics[name]

    def _subscription(self, name: str) -> Subscription:
        if name not in self._subscriptions:
            raise NotFound(f"no such subscription: {name}")
        return self._subscriptions[name]

    def _timed(self, messages: Iterable[Any]) -> Iterable[Any]:
        now = Timestamp()
        now.FromNanoseconds(self._wall_clock_ns())
        for message in messages:
            message.publish_time.CopyFrom(now)
            yield message

    def _stamp(self, message: Any) -> Stored:
        number = next(self._message_numbers)
        message.message_id = str(number)
        return Stored(number, message, message.ByteSize())
