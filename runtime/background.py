"""Tasks in the background: they run beside the engine's thread, which comes back for what became of them."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from runtime.pool import LanePool

MOMENT_SECONDS = 0.1
SLOW_SECONDS = 1.0
"""So long nobody waits for a moment after somebody has in vain."""

OutcomeT = TypeVar("OutcomeT")


@dataclass
class _Running(Generic[OutcomeT]):
    begun: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    outcome: OutcomeT | None = None


class Background(Generic[OutcomeT]):
    """One task of a key at a time, and its outcome until it is collected.

    What is done for a key is done by one thread at a time: that is how engines treat keys.
    """

    def __init__(self, threads: int) -> None:
        self._pool = LanePool(threads)
        self._running: dict[str, _Running[OutcomeT]] = {}
        self._slow_until = 0.0
        """By the monotonic clock."""

    def begin(self, key: str, task: Callable[[], OutcomeT]) -> None:
        """Begin a task, which must not raise, unless one of the key runs or waits to be collected.

        Raises:
            RuntimeError: the system has no thread for it; it is not begun.
        """
        if key in self._running:
            return
        running = self._running[key] = _Running[OutcomeT]()

        def run() -> None:
            if self._running.get(key) is not running:
                return  # it was said that it is not begun
            try:
                running.outcome = task()
            finally:
                running.done.set()

        try:
            self._pool.submit(key, 1, run)
        except RuntimeError:
            del self._running[key]
            raise

    def outcome(self, key: str, wait_seconds: float | None = 0) -> OutcomeT | None:
        """What became of the key's task; None where none was begun, or it still runs after that time."""
        running = self._running.get(key)
        if running is None or not running.done.wait(wait_seconds):
            return None
        return running.outcome

    def outcome_in_a_moment(self, key: str) -> OutcomeT | None:
        """The same for a task that may end at once: to let go of it then costs more than to wait."""
        if time.monotonic() < self._slow_until:
            return None
        outcome = self.outcome(key, MOMENT_SECONDS)
        if outcome is None:
            self._slow_until = time.monotonic() + SLOW_SECONDS
        return outcome

    def seconds(self, key: str) -> float | None:
        """How long ago the key's task was begun; None where there is none that was not collected."""
        running = self._running.get(key)
        return None if running is None else time.monotonic() - running.begun

    def wait_for_oldest(self, wait_seconds: float) -> None:
        """Wait, but no longer than that, until the oldest of the tasks that run has ended."""
        running = [one for one in list(self._running.values()) if not one.done.is_set()]
        if running:
            running[0].done.wait(wait_seconds)

    def collect(self, key: str, outcome: OutcomeT) -> bool:
        """Say that an outcome was acted on, so that the key's next task can begin; False if it had been before."""
        running = self._running.get(key)
        if running is None or running.outcome is not outcome:
            return False
        del self._running[key]
        return True

    def close(self) -> None:
        """Wait for the tasks that run; what has not begun is dropped."""
        self._pool.close()
