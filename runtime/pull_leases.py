"""Reading Pub/Sub by unary pulls, for an engine that acknowledges what it has committed.

What a bundle takes stays leased until it may be acknowledged, and that is one bundle late. An engine
may say "committed" of bundles that its last checkpoint does not hold (Flink does so of all that have
ended by the time when it hears that a checkpoint is complete); so the word counts for a bundle only
once it is said of a later one too, which had not begun when it was said of the first.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from runtime.leases import Leases
from runtime.repeating import Repeating
from runtime.subscription_calls import Received, SubscriptionCalls, published_ms
from schemas.pull import Pull

MAX_OUTSTANDING_MESSAGES = 100_000
"""What is taken and not acknowledged at the most; beyond it nothing is pulled."""
MAX_HOLD_SECONDS = 600
"""What an engine has not committed in this time goes back: it may have died, or moved elsewhere."""
LOOK_SECONDS = 0.5
"""So often acknowledgements are sent and leases looked at."""

_HOUR_MS = 3_600_000


class Taking:
    """What one bundle takes; told by the engine when it is committed, or given back."""

    def __init__(self, leases: "PullLeases", number: int, began: int, now: float) -> None:
        self._leases = leases
        self.number = number
        self.began = began
        self.committed: int | None = None
        self.since = now
        self.ack_ids: list[str] = []

    def pull(self, max_messages: int) -> Sequence[Pull]:
        """What is there, without waiting, as pulls of one UTC hour of publishing each.

        Raises:
            GoogleAPICallError: the subscription cannot be read at all (gone, or not allowed).
        """
        return self._leases.pull(self, max_messages)

    def commit(self) -> None:
        """Say that the engine has committed the bundle."""
        self._leases.commit(self)

    def give_back(self) -> None:
        """Say that the bundle has failed, if it was not committed: others may take its messages."""
        self._leases.give_back([self])


class PullLeases:
    """What one reader of a subscription has taken in this process and not acknowledged yet."""

    def __init__(self, subscription: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls = SubscriptionCalls(subscription)
        self._leases = Leases(self._calls, clock)
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._takings: dict[int, Taking] = {}
        self._stopped = False
        self._repeating = Repeating("pull-leases", LOOK_SECONDS, self.look)

    def follow(self) -> None:
        """Begin to look every so often, on a thread of its own."""
        self._repeating.start()

    @property
    def outstanding(self) -> int:
        """Messages that were taken and are neither acknowledged nor given back."""
        return self._leases.count

    @property
    def ended(self) -> bool:
        """Whether reading was stopped, and all that was taken is acknowledged or given back."""
        return self._stopped and not self.outstanding

    def stop(self) -> None:
        """Take no more."""
        self._stopped = True

    def begin(self, number: int) -> Taking:
        """A bundle begins; each bundle of the reader has a higher number than the one before.

        One that is not higher says that the engine has gone back to a checkpoint: what was taken
        under this number or a higher one is in none.
        """
        with self._lock:
            undone = [one for one in self._takings.values() if one.number >= number]
            taking = Taking(self, number, next(self._order), self._clock())
            self._takings[taking.began] = taking
        self._drop(undone)
        return taking

    def pull(self, taking: Taking, max_messages: int) -> Sequence[Pull]:
        """See `Taking.pull`."""
        room = min(max_messages, MAX_OUTSTANDING_MESSAGES - self.outstanding)
        if self._stopped or room <= 0:
            return []
        # To wait would hold up the bundle.
        received = self._calls.pull(room, wait_seconds=0)
        if not received:
            return []
        self._leases.add(received)
        with self._lock:
            taking.ack_ids += [message.ack_id for message in received]
        return list(_by_hour(received))

    def commit(self, taking: Taking) -> None:
        """See `Taking.commit`."""
        with self._lock:
            if taking.began not in self._takings or taking.committed is not None:
                return
            taking.committed = next(self._order)
            for one in [one for one in self._takings.values() if _is_before(one, taking)]:
                self._leases.settle(self._takings.pop(one.began).ack_ids)
            if not taking.ack_ids:
                del self._takings[taking.began]

    def give_back(self, takings: Sequence[Taking]) -> None:
        """See `Taking.give_back`."""
        self._drop([taking for taking in takings if taking.committed is None])

    def look(self) -> None:
        """Send what is to be acknowledged or given back, and extend leases that end soon."""
        now = self._clock()
        with self._lock:
            takings = list(self._takings.values())
        self._drop([one for one in takings if now - one.since > MAX_HOLD_SECONDS])
        self._leases.look()

    def close(self) -> None:
        """Send what is to be sent, and leave the rest to be read again."""
        self._repeating.close()
        self.look()
        self._calls.close()

    def _drop(self, takings: Sequence[Taking]) -> None:
        with self._lock:
            for taking in takings:
                if self._takings.pop(taking.began, None) is not None:
                    self._leases.give_back(taking.ack_ids)


def _is_before(one: Taking, later: Taking) -> bool:
    """Whether one was said to be committed before the other had begun."""
    return one.committed is not None and one.committed < later.began


def _by_hour(received: Sequence[Received]) -> Iterator[Pull]:
    times = [published_ms(one) for one in received]
    by_hour: dict[int, list[int]] = {}
    for index, published in enumerate(times):
        by_hour.setdefault(published // _HOUR_MS, []).append(index)
    for indexes in by_hour.values():
        of_hour = [times[index] for index in indexes]
        data = [received[index].message.data for index in indexes]
        yield Pull(min(of_hour), max(of_hour), data)


_leases: dict[tuple[str, int], PullLeases] = {}
_lock = threading.Lock()


def leases_of(subscription: str, reader: int) -> PullLeases:
    """This process's leases of one reader; made, and looked after, at the first call."""
    with _lock:
        found = _leases.get((subscription, reader))
        if found is None:
            found = _leases[subscription, reader] = PullLeases(subscription)
            found.follow()
        return found


def stop_reading() -> bool:
    """Take no more; returns whether all that was taken is acknowledged or given back by now."""
    with _lock:
        stopped = list(_leases.values())
    for leases in stopped:
        leases.stop()
    return all(leases.ended for leases in stopped)


def close_leases() -> None:
    """End what this process has leased: it goes back when its time is over."""
    with _lock:
        closed = list(_leases.values())
        _leases.clear()
    for leases in closed:
        leases.close()
