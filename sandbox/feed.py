"""The feed of a local run: sample events published to Pub/Sub, at once or at a steady pace."""

import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from google.cloud import pubsub_v1

from sandbox.samples import sample_event, sample_events

TOPIC = "projects/sandbox/topics/events"
SUBSCRIPTION = "projects/sandbox/subscriptions/events"
POISON_ID = "00000000-0000-4000-8000-00000000dead"
SETTLE_SECONDS = 60.0

_STEP_SECONDS = 0.1
_ENDLESS = 10**12


class Feed:
    """Makes the topic with its subscription, and publishes while the `with` block lasts."""

    def __init__(self) -> None:
        self._publisher = pubsub_v1.PublisherClient(
            pubsub_v1.types.BatchSettings(max_messages=500, max_bytes=1_000_000, max_latency=0.02)
        )
        self._lock = threading.Lock()
        self._published = 0
        self._pending: deque[Future[Any]] = deque()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def published(self) -> int:
        """Messages that Pub/Sub has taken."""
        return self._published

    def __enter__(self) -> "Feed":
        self._publisher.create_topic(name=TOPIC)
        with pubsub_v1.SubscriberClient() as subscriber:
            subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC, ack_deadline_seconds=60)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._publisher.stop()

    def publish_samples(self, count: int) -> None:
        """Publish so many sample events, with one message of each kind of trouble in their midst."""
        for message in _with_trouble(count):
            self._publish(message)
        self._settle()

    def keep_publishing(self, rate: float) -> None:
        """Publish events of today at so many a second until `stop`, on a thread of its own."""
        self._thread = threading.Thread(target=self._run, args=[rate], name="feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Publish no more; what was published has arrived when this returns."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._settle()

    def _run(self, rate: float) -> None:
        started = time.monotonic()
        events = sample_events(_ENDLESS, seed=3, start_seconds=int(time.time()))
        sent = 0
        while not self._ended.wait(_STEP_SECONDS):
            due = int(rate * (time.monotonic() - started)) - sent
            for event in itertools.islice(events, due):
                self._publish(event)
            sent += due
            self._forget_settled()

    def _publish(self, message: bytes) -> None:
        future = self._publisher.publish(TOPIC, message)
        self._pending.append(future)
        future.add_done_callback(self._note)

    def _note(self, future: "Future[Any]") -> None:
        if future.exception() is None:
            with self._lock:
                self._published += 1

    def _forget_settled(self) -> None:
        while self._pending and self._pending[0].done():
            self._pending.popleft()

    def _settle(self) -> None:
        while self._pending:
            self._pending.popleft().exception(timeout=SETTLE_SECONDS)


def _with_trouble(count: int) -> Iterator[bytes]:
    """Sample events of two app groups: one is no event, one a partner rejects, one is too large."""
    yield from sample_events(count // 2)
    yield b'{"event_type": "users.messages.email.Open", "id": '
    poison = sample_event("users.messages.email.Open", seed=2, id=POISON_ID)
    poison["properties"]["app_group_id"] = "brand-a"
    yield json.dumps(poison).encode()
    giant = sample_event("users.messages.email.Open", seed=3)
    giant["properties"]["message_extras"] = "x" * 950_000
    yield json.dumps(giant).encode()
    yield from sample_events(count - count // 2, seed=2)
