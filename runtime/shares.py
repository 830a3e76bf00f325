"""What each connector has of what may be on its way, so that one that hangs leaves room for the others."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from runtime.delivery import Delivery
from runtime.receipts import MAX_OUTSTANDING_MESSAGES
from schemas.lane import Lane

SHARE_BYTES = 4_000_000
"""Eight requests of the largest size that a partner takes: what a connector sends side by side."""
SHARE_EVENTS = MAX_OUTSTANDING_MESSAGES // 5
"""What hangs keeps its messages from being acknowledged, and no more are read than may be outstanding."""
SILENT_SECONDS = 2.0

UNANSWERED = "unanswered"
"""Why a batch of a partner that hangs is held."""


class _Load(NamedTuple):
    weight: float
    """What it is of a share, by its bytes or its events."""
    ended: float
    """The weight of what its partner had ended when it was started."""
    others_ended: float
    """And what others had."""


@dataclass
class _Share:
    deliveries: dict[Delivery, _Load] = field(default_factory=dict)
    """Those on their way, in the order of their start."""
    ended: float = 0.0
    """The weight of its deliveries that have ended."""
    heard_at: float = 0.0
    """When one was last seen to have ended."""


class Shares:
    """Of the deliveries of one process; who uses it sees to its threads.

    A partner hangs that has its share and has ended nothing since its oldest delivery began: for
    two seconds, or while the others have ended as much as a share. It gets no more until it does.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shares: defaultdict[str, _Share] = defaultdict(_Share)
        self._ended = 0.0

    def add(self, delivery: Delivery, size: int, events: int) -> None:
        """Count a delivery of so many bytes until it has ended; one that was not sent has ended already."""
        if not delivery.done:
            share = self._of(delivery.lane)
            weight = max(size / SHARE_BYTES, events / SHARE_EVENTS)
            share.deliveries[delivery] = _Load(weight, share.ended, self._ended - share.ended)

    def remove(self, delivery: Delivery) -> None:
        """Forget one that has ended."""
        self._of(delivery.lane)

    def obstacle(self, lane: Lane) -> str:
        """Why the lane's next batch is not to be sent; empty where it is."""
        return UNANSWERED if self._is_limited(lane) and self.hangs(lane) else ""

    def to_wait_for(self, lane: Lane) -> tuple[Delivery, float] | None:
        """What is to be waited for before the lane's next batch, and for how many seconds.

        None where its partner has not its share, or hangs.
        """
        if not self._is_limited(lane) or self.hangs(lane):
            return None
        return next(iter(self._of(lane).deliveries)), self.seconds_to_silence(lane)

    def hangs(self, lane: Lane) -> bool:
        share = self._of(lane)
        if not share.deliveries:
            return False
        load = next(iter(share.deliveries.values()))
        is_silent = share.ended == load.ended
        is_overtaken = self._ended - share.ended - load.others_ended >= 1
        return (is_silent and is_overtaken) or self.seconds_to_silence(lane) <= 0

    def seconds_to_silence(self, lane: Lane) -> float:
        """How long it is until the partner hangs, if it ends no delivery meanwhile."""
        share = self._of(lane)
        oldest = next(iter(share.deliveries), None)
        if oldest is None:
            return SILENT_SECONDS
        return max(share.heard_at, oldest.started) + SILENT_SECONDS - self._clock()

    def _is_limited(self, lane: Lane) -> bool:
        """Whether the partner has its share, and is not the only one."""
        weight = sum(load.weight for load in self._of(lane).deliveries.values())
        return weight >= 1 and len(self._shares) > 1

    def _of(self, lane: Lane) -> _Share:
        """The share of the lane's partner, without what has ended."""
        share = self._shares[lane.connector]
        for delivery in [one for one in share.deliveries if one.done]:
            weight = share.deliveries.pop(delivery).weight
            share.ended += weight
            self._ended += weight
            share.heard_at = self._clock()
        return share
