"""What this process remembers of lanes whose partner does not answer: they are left alone for a while.

While a lane is open its events go straight to the hold, so that a partner that hangs costs the
others neither threads nor the messages that may be outstanding.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST_SECONDS = 5.0
LONGEST_SECONDS = 60.0
MOST_ASKED_SECONDS = 1_800.0
"""A partner's own Retry-After is honoured up to this."""


@dataclass
class _Trip:
    """A lane that failed, and has not succeeded since."""

    until: float
    seconds: float


class Breaker:
    """Opens and closes lanes of the hold; one a process, safe to share by threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._trips: dict[str, _Trip] = {}
        self._accepted: set[str] = set()

    def is_open(self, lane: str) -> bool:
        """Whether the lane is to be left alone now."""
        trip = self._trips.get(lane)
        return trip is not None and self._clock() < trip.until

    def is_doubted(self, lane: str) -> bool:
        """Whether the lane failed and has not succeeded since: one request at a time will do."""
        return lane in self._trips

    def trip(self, lane: str, asked_seconds: float = 0) -> None:
        """Open the lane: longer each time in a row, and at least as long as the partner asks."""
        now = self._clock()
        with self._lock:
            before = self._trips.get(lane)
            if before is not None and now < before.until:
                return
            seconds = min(before.seconds * 2, LONGEST_SECONDS) if before else FIRST_SECONDS
            asked = min(asked_seconds, MOST_ASKED_SECONDS)
            self._trips[lane] = _Trip(now + max(seconds, asked), seconds)

    def succeed(self, lane: str) -> None:
        """Close the lane: its partner has taken something."""
        self._accepted.add(lane)
        if lane in self._trips:
            with self._lock:
                self._trips.pop(lane, None)

    def take_accepted(self, lane: str) -> bool:
        """Whether the partner has taken something since this was last asked."""
        accepted = lane in self._accepted
        self._accepted.discard(lane)
        return accepted
