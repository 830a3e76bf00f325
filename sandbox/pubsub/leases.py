"""Leases: messages that a consumer holds for a time, to acknowledge or to give back."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any

import msgspec

from sandbox.pubsub.consumer import Consumer

# Ends of leases that no longer are, before the heap is cleared of them.
_SPARE_ENDS = 10_000


class Stored(msgspec.Struct, frozen=True, order=True, gc=False):
    """A published message; in order of publishing, for no two have the same number."""

    number: int
    message: Any
    """A PubsubMessage, shared by the subscriptions and so never changed."""
    size: int


class Lease(msgspec.Struct):
    """A message in the hands of a consumer until a moment of the broker's clock."""

    stored: Stored
    consumer: Consumer
    expires: float


class Leases:
    """The leases of a subscription by ack id, and which of them ends next."""

    def __init__(self) -> None:
        self._by_id: dict[str, Lease] = {}
        # An extended or ended lease leaves its earlier ends behind: they mean nothing when due.
        self._ends: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._by_id)

    def stored(self) -> list[Stored]:
        """The messages that are leased, in any order."""
        return [lease.stored for lease in self._by_id.values()]

    def grant(self, ack_id: str, lease: Lease) -> None:
        lease.consumer.hold(lease.stored.size)
        self._by_id[ack_id] = lease
        heappush(self._ends, (lease.expires, ack_id))

    def extend(self, ack_id: str, expires: float) -> None:
        """Move a lease's end; an id without a lease is passed over, as in the real service."""
        if lease := self._by_id.get(ack_id):
            lease.expires = expires
            heappush(self._ends, (expires, ack_id))
            self._clear_spare_ends()

    def end(self, ack_id: str) -> Stored | None:
        """Take a message out of its consumer's hands; None if the lease has ended before."""
        lease = self._by_id.pop(ack_id, None)
        if lease is None:
            return None
        lease.consumer.let_go(lease.stored.size)
        self._clear_spare_ends()
        return lease.stored

    def end_expired(self, now: float) -> Iterator[Stored]:
        """End the leases whose time is over."""
        while self._ends and self._ends[0][0] <= now:
            expires, ack_id = heappop(self._ends)
            lease = self._by_id.get(ack_id)
            if lease and lease.expires == expires and (stored := self.end(ack_id)):
                yield stored

    def end_later(self, than: Stored) -> Iterator[Stored]:
        """End the leases of messages published after one, with its ordering key."""
        key = than.message.ordering_key
        for ack_id, lease in list(self._by_id.items()):
            same_key = lease.stored.message.ordering_key == key
            if same_key and lease.stored > than and (stored := self.end(ack_id)):
                yield stored

    def next_end(self) -> float:
        """When to look again: no lease ends before that."""
        return self._ends[0][0] if self._ends else inf

    def _clear_spare_ends(self) -> None:
        if len(self._ends) > 2 * len(self._by_id) + _SPARE_ENDS:
            self._ends = [(lease.expires, ack_id) for ack_id, lease in self._by_id.items()]
            heapify(self._ends)
