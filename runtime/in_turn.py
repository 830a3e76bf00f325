"""Acts of many threads, done one after the other though no thread waits for another."""

import logging
import threading
from collections import deque
from collections.abc import Callable

_logger = logging.getLogger(__name__)


class InTurn:
    """Does acts one at a time, on whatever thread is at it.

    A lock for which hundreds of threads wait goes from one to the next, and each that has got it
    has to get the interpreter too, while all others wait: that took most of the time of all of them.
    """

    def __init__(self) -> None:
        self._acts: deque[Callable[[], None]] = deque()
        self._at_it = threading.Lock()

    def do(self, act: Callable[[], None]) -> None:
        """Have it done: before this returns, or soon after, by the thread that is at it.

        An act must not wait; what it raises is a mistake, which is none of that thread's.
        """
        self._acts.append(act)
        while self._acts and self._at_it.acquire(blocking=False):
            try:
                while self._acts:
                    _do(self._acts.popleft())
            finally:
                self._at_it.release()


def _do(act: Callable[[], None]) -> None:
    try:
        act()
    except Exception:
        _logger.exception("a mistake in an act that was done in turn")
