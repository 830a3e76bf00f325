"""The leases of messages that were read from Pub/Sub and are not acknowledged yet."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from runtime.subscription_calls import Received, SubscriptionCalls

LEASE_SECONDS = 20
"""How long a lease is extended at a time: how long a crash delays what it had read."""
FIRST_LEASE_SECONDS = 10
"""The shortest deadline that a subscription can have: what a message has that was just read."""
MARGIN_SECONDS = 8
"""A lease that ends sooner than this is extended."""


@dataclass(eq=False)
class Lot:
    """Messages that came in one answer."""

    ack_ids: Sequence[str]
    until: float


class Leases:
    """Extends leases while they are needed, acknowledges, and gives back; all calls are made in `look`.

    An acknowledgement that cannot be sent is sent later; what comes of it at worst is that its message
    comes once more.
    """

    def __init__(self, calls: SubscriptionCalls, clock: Callable[[], float]) -> None:
        self._calls = calls
        self._clock = clock
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._size = 0
        self._lots: list[Lot] = []
        self._done: list[str] = []
        self._unwanted: list[str] = []

    @property
    def count(self) -> int:
        """Messages that are leased."""
        return len(self._sizes)

    @property
    def size(self) -> int:
        """Bytes of the messages that are leased."""
        return self._size

    @property
    def is_behind(self) -> bool:
        """Whether there are acknowledgements that could not be sent yet."""
        return bool(self._done)

    def add(self, received: Sequence[Received]) -> Lot:
        """Keep the leases of messages that have just come."""
        sizes = {one.ack_id: len(one.message.data) for one in received}
        lot = Lot(list(sizes), self._clock() + FIRST_LEASE_SECONDS)
        with self._lock:
            self._sizes |= sizes
            self._size += sum(sizes.values())
            self._lots.append(lot)
        return lot

    def extend(self, lot: Lot) -> bool:
        """Have a lot's leases end in `LEASE_SECONDS`, whatever the subscription says; whether it could be sent."""
        until = self._clock() + LEASE_SECONDS
        is_sent = self._calls.lease(lot.ack_ids, LEASE_SECONDS)
        if is_sent:
            lot.until = until
        return is_sent

    def settle(self, ack_ids: Iterable[str]) -> None:
        """Have messages acknowledged."""
        self._end(ack_ids, self._done)

    def give_back(self, ack_ids: Iterable[str]) -> None:
        """Let others have messages."""
        self._end(ack_ids, self._unwanted)

    def look(self) -> None:
        """Send what is to be acknowledged or given back, and extend leases that end soon."""
        done, unwanted = self._copy(self._done), self._copy(self._unwanted)
        unsent = self._calls.acknowledge(done)
        self._forget(self._done, len(done) - len(unsent))
        if unsent or not self._calls.lease(unwanted, 0):
            return
        self._forget(self._unwanted, len(unwanted))
        for lot in self._ending():
            if not self.extend(lot):
                return

    def _ending(self) -> Sequence[Lot]:
        """The lots that end soon, without what is leased no more; those of which nothing is are forgotten."""
        soon = self._clock() + MARGIN_SECONDS
        with self._lock:
            ending = [lot for lot in self._lots if lot.until < soon]
            for lot in ending:
                lot.ack_ids = [one for one in lot.ack_ids if one in self._sizes]
            self._lots = [lot for lot in self._lots if lot.ack_ids]
        return [lot for lot in ending if lot.ack_ids]

    def _end(self, ack_ids: Iterable[str], where: list[str]) -> None:
        with self._lock:
            for ack_id in ack_ids:
                self._size -= self._sizes.pop(ack_id, 0)
                where.append(ack_id)

    def _copy(self, ack_ids: list[str]) -> Sequence[str]:
        with self._lock:
            return list(ack_ids)

    def _forget(self, ack_ids: list[str], count: int) -> None:
        """Take away the first of them, which were sent; others may have come behind them meanwhile."""
        with self._lock:
            del ack_ids[:count]
