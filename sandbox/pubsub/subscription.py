"""A subscription: messages waiting, messages leased, and consumers waiting for more."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from threading import Condition
from typing import Any

import msgspec

from sandbox.pubsub.consumer import Consumer
from sandbox.pubsub.leases import Lease, Leases, Stored
from sandbox.pubsub.refusals import NotFound, Refusal

# One answer stays below the 4 MiB that a gRPC client takes by default.
MAX_ANSWER_MESSAGES = 1_000
MAX_ANSWER_BYTES = 4_000_000
# A delivery's own bytes: ack id, attempt, tags and lengths.
DELIVERY_BYTES = 64


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A message handed to a consumer, under the id by which to acknowledge it."""

    ack_id: str
    message: Any
    attempt: int
    """0 where the subscription has no dead-letter policy, as in the real service."""


class Subscription:
    """Hands each message to one consumer at a time until one acknowledges it. Thread-safe.

    Messages wait in order of publishing, those given back too, so that an ordering key's come in
    order; where ordering is on, giving one back gives back the later ones of its key.
    """

    def __init__(
        self, settings: Any, clock: Callable[[], float], ack_numbers: Iterator[int]
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._ack_numbers = ack_numbers
        self._changed = Condition()
        self._waiting: list[Stored] = []
        self._leases = Leases()
        self._attempts: Counter[int] | None = None
        if settings.HasField("dead_letter_policy"):
            self._attempts = Counter()
        self._acknowledged = 0
        self._deleted = False

    def put(self, messages: Iterable[Stored]) -> None:
        with self._changed:
            for stored in messages:
                heappush(self._waiting, stored)
            self._changed.notify_all()

    def receive(self, consumer: Consumer, wait_seconds: float) -> list[Delivery]:
        """What the consumer gets next; nothing once the wait is over or the consumer closed.

        Raises:
            Refusal: what the consumer was closed with, or that the subscription is deleted.
        """
        with self._changed:
            until = self._clock() + wait_seconds
            while not consumer.closed:
                self._refuse_if_deleted()
                deliveries = self._take(consumer)
                left = min(until, self._leases.next_end()) - self._clock()
                if deliveries or self._clock() >= until:
                    return deliveries
                self._changed.wait(left)
        if consumer.refusal:
            raise consumer.refusal
        return []

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        """End the life of messages; an id whose lease has ended is passed over."""
        with self._changed:
            self._take_back_expired()
            for ack_id in ack_ids:
                if stored := self._leases.end(ack_id):
                    self._settle(stored)
            self._changed.notify_all()

    def extend(self, ack_ids: Iterable[str], seconds: float) -> None:
        """Let leases end so many seconds from now; 0 gives the messages back at once."""
        with self._changed:
            self._take_back_expired()
            expires = self._clock() + seconds
            for ack_id in ack_ids:
                self._leases.extend(ack_id, expires)
            self._take_back_expired()
            self._changed.notify_all()

    def close(self, consumer: Consumer, refusal: Refusal | None = None) -> None:
        """End a consumer's wait; what it holds stays leased, as in the real service."""
        with self._changed:
            consumer.close(refusal)
            self._changed.notify_all()

    def set_lease_seconds(self, consumer: Consumer, seconds: float) -> None:
        """Lease what the consumer gets from now on for so long."""
        with self._changed:
            consumer.lease_seconds = seconds

    def delete(self) -> None:
        with self._changed:
            self._deleted = True
            self._changed.notify_all()

    def outstanding(self) -> int:
        """Messages not yet acknowledged, delivered or not."""
        with self._changed:
            return len(self._waiting) + len(self._leases)

    def acknowledged(self) -> int:
        with self._changed:
            return self._acknowledged

    def leased(self) -> int:
        """Messages that are in the hands of a consumer, or were of one that has left."""
        with self._changed:
            return len(self._leases)

    def unacknowledged(self) -> list[Any]:
        """The messages not yet acknowledged, delivered or not, in order of publishing."""
        with self._changed:
            stored = sorted([*self._waiting, *self._leases.stored()])
            return [each.message for each in stored]

    def _refuse_if_deleted(self) -> None:
        if self._deleted:
            raise NotFound(f"no such subscription: {self.settings.name}")

    def _take(self, consumer: Consumer) -> list[Delivery]:
        self._take_back_expired()
        deliveries: list[Delivery] = []
        size = 0
        while self._waiting and len(deliveries) < MAX_ANSWER_MESSAGES and not consumer.is_full:
            size += self._waiting[0].size + DELIVERY_BYTES
            # A message that exceeds an answer by itself still has to go.
            if deliveries and size > MAX_ANSWER_BYTES:
                break
            deliveries.append(self._lease(heappop(self._waiting), consumer))
        return deliveries

    def _lease(self, stored: Stored, consumer: Consumer) -> Delivery:
        ack_id = str(next(self._ack_numbers))
        expires = self._clock() + consumer.lease_seconds
        self._leases.grant(ack_id, Lease(stored, consumer, expires))
        return Delivery(ack_id, stored.message, self._count_attempt(stored))

    def _count_attempt(self, stored: Stored) -> int:
        if self._attempts is None:
            return 0
        self._attempts[stored.number] += 1
        return self._attempts[stored.number]

    def _settle(self, stored: Stored) -> None:
        self._acknowledged += 1
        if self._attempts is not None:
            del self._attempts[stored.number]

    def _take_back_expired(self) -> None:
        for stored in self._leases.end_expired(self._clock()):
            heappush(self._waiting, stored)
            if self.settings.enable_message_ordering and stored.message.ordering_key:
                for later in self._leases.end_later(stored):
                    heappush(self._waiting, later)
