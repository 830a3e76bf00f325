"""Acts of many threads, done one after the other though no thread waits for another."""

import threading
from collections import deque
from collections.abc import Callable


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

        An act must neither wait nor raise.
        """
        self._acts.append(act)
        while self._acts and self._at_it.acquire(blocking=False):
            try:
                while self._acts:
                    self._acts.popleft()()
            finally:
                self._at_it.release()
