"""What each connector has of what may be on its way, so that one that hangs leaves room for the others."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.delivery import Delivery
from runtime.receipts import MAX_OUTSTANDING_MESSAGES

SHARE_BYTES = 4_000_000
"""Eight requests of the largest size that a partner takes: what a connector sends side by side."""
SHARE_EVENTS = MAX_OUTSTANDING_MESSAGES // 5
"""What hangs keeps its messages from being acknowledged, and no more are read than may be outstanding."""
SILENT_SECONDS = 2.0
OVERTAKEN_SECONDS = 0.15
"""The same where others have ended a share meanwhile."""


@dataclass
class _Share:
    deliveries: dict[Delivery, float] = field(default_factory=dict)
    """Those on their way, with what each is of a share, by its bytes or its events."""
    delivered: int = 0
    """Events that its partner has taken of those on their way."""
    heard_at: float = 0.0
    """When it had not used up its share, or its partner was seen to have taken something, for the last time."""
    ended_by_then: float = 0.0
    """The weight of what all had ended; what has ended since is the others'."""

    @property
    def weight(self) -> float:
        return sum(self.deliveries.values())


class Shares:
    """Of the deliveries of one process; who uses it sees to its threads.

    A connector hangs that has used up its share and whose partner has taken nothing since, for two seconds, or
    for 0.15 s in which the others have ended as much as a share. Whose partner takes something may have more.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shares: defaultdict[str, _Share] = defaultdict(_Share)
        self._ended = 0.0

    def add(self, delivery: Delivery, size: int, events: int) -> None:
        """Count a delivery of so many bytes until it has ended; one that was not sent has ended already."""
        if delivery.done:
            return
        share = self._swept(delivery.lane.connector)
        if share.weight < 1:
            self._hear(share)
        share.deliveries[delivery] = max(size / SHARE_BYTES, events / SHARE_EVENTS)

    def forget(self, delivery: Delivery) -> None:
        """Keep nothing of a delivery that has ended."""
        self._swept(delivery.lane.connector)

    def hangs(self, connector: str) -> bool:
        """Whether it is to get no more for now; not where it is the only one."""
        share = self._swept(connector)
        if share.weight < 1 or len(self._shares) == 1:
            return False
        is_overtaken = self._ended - share.ended_by_then >= 1
        seconds = OVERTAKEN_SECONDS if is_overtaken else SILENT_SECONDS
        return self._clock() - share.heard_at >= seconds

    def _swept(self, connector: str) -> _Share:
        """The share, without what has ended."""
        share = self._shares[connector]
        ended = [delivery for delivery in share.deliveries if delivery.done]
        self._ended += sum(map(share.deliveries.pop, ended))
        delivered = sum(delivery.outcome.tally.delivered for delivery in share.deliveries)
        if ended or delivered > share.delivered:
            self._hear(share)
        share.delivered = delivered
        return share

    def _hear(self, share: _Share) -> None:
        share.heard_at = self._clock()
        share.ended_by_then = self._ended
