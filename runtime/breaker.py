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


@dataclass(frozen=True)
class _Trip:
    """A lane that failed, and has not succeeded since; times on the breaker's clock."""

    at: float
    until: float
    seconds: float
    """How long it is left alone for this failure, if its partner asks for no more."""
    asked_until: float
    """Until when the partner has asked to be left alone."""


class Breaker:
    """Opens and closes lanes of the hold; one a process, safe to share by threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._trips: dict[str, _Trip] = {}
        self._accepted: set[str] = set()
        self._rejected: dict[str, int] = {}

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
            asked_until = now + asked_seconds if asked_seconds else 0.0
            if before is None:
                seconds, until = FIRST_SECONDS, now + FIRST_SECONDS
            elif now < before.until:  # one of many that failed at once
                seconds, until = before.seconds, before.until
            else:
                seconds = min(before.seconds * 2, LONGEST_SECONDS)
                until = now + seconds
            if before is not None:
                asked_until = max(asked_until, before.asked_until)
            self._trips[lane] = _Trip(now, max(until, asked_until), seconds, asked_until)

    def succeed(self, lane: str, sent_at: float) -> None:
        """Close the lane: its partner has taken what was sent then.

        What was on its way already when the partner asked to be left alone does not end that.
        """
        self._accepted.add(lane)
        self._rejected.pop(lane, None)
        if lane in self._trips:
            with self._lock:
                trip = self._trips.get(lane)
                if trip is not None and (sent_at > trip.at or self._clock() >= trip.asked_until):
                    del self._trips[lane]

    def take_accepted(self, lane: str) -> bool:
        """Whether the partner has taken something since this was last asked."""
        accepted = lane in self._accepted
        self._accepted.discard(lane)
        return accepted

    def remember_rejected(self, lane: str, count: int) -> None:
        """Keep how many events were buried as rejected, for when nothing is held any more.

        Else a partner that rejects everything would have a slow lane buried bit by bit.
        """
        if count:
            self._rejected[lane] = count

    def rejected(self, lane: str) -> int:
        """How many events were buried as rejected since the partner has taken one."""
        return self._rejected.get(lane, 0)
