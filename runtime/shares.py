"""What each partner has of what may be on its way, so that one that hangs leaves room for the others."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.delivery import Delivery
from schemas.lane import Lane

SHARE_BYTES = 4_000_000
"""Eight requests of the largest size that a partner takes: what a connector sends side by side."""
SHARE_BATCHES = 32
SILENT_SECONDS = 2.0

UNANSWERED = "unanswered"
"""Why a batch of a partner that hangs is held."""


@dataclass
class _Share:
    deliveries: dict[Delivery, tuple[int, int]] = field(default_factory=dict)
    """Those on their way, in the order of their start: their size, and what of others had ended then."""
    size: int = 0
    ended: int = 0
    """Bytes of its deliveries that have ended."""
    heard_at: float = 0.0
    """When one was last seen to have ended."""


class Shares:
    """Of the deliveries of one process; who uses it sees to its threads.

    A partner hangs that has its share and has ended nothing since its oldest delivery began: for
    two seconds, or while the others have ended as much as a share. It gets no more until it does.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shares: defaultdict[tuple[str, str], _Share] = defaultdict(_Share)
        self._ended = 0

    def add(self, delivery: Delivery, size: int) -> None:
        """Count a delivery of so many bytes until it has ended; one that was not sent has ended already."""
        if not delivery.done:
            share = self._of(delivery.lane)
            share.deliveries[delivery] = size, self._ended - share.ended
            share.size += size

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
        for oldest, (_, others_ended) in share.deliveries.items():
            is_overtaken = self._ended - share.ended - others_ended >= SHARE_BYTES
            is_silent = share.heard_at <= oldest.started
            return (is_silent and is_overtaken) or self.seconds_to_silence(lane) <= 0
        return False

    def seconds_to_silence(self, lane: Lane) -> float:
        """How long it is until the partner hangs, if it ends no delivery meanwhile."""
        share = self._of(lane)
        oldest = next(iter(share.deliveries), None)
        if oldest is None:
            return SILENT_SECONDS
        return max(share.heard_at, oldest.started) + SILENT_SECONDS - self._clock()

    def _is_limited(self, lane: Lane) -> bool:
        """Whether the partner has its share, and is not the only one."""
        share = self._of(lane)
        is_used_up = share.size >= SHARE_BYTES or len(share.deliveries) >= SHARE_BATCHES
        return is_used_up and len(self._shares) > 1

    def _of(self, lane: Lane) -> _Share:
        """The share of the lane's partner, without what has ended."""
        share = self._shares[lane.connector, lane.part]
        for delivery in [one for one in share.deliveries if one.done]:
            size, _ = share.deliveries.pop(delivery)
            share.size -= size
            share.ended += size
            self._ended += size
            share.heard_at = self._clock()
        return share
