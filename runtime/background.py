"""Tasks in the background: they run beside the engine's thread, which comes back for what became of them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from runtime.pool import LanePool

OutcomeT = TypeVar("OutcomeT")


@dataclass
class _Running(Generic[OutcomeT]):
    done: threading.Event = field(default_factory=threading.Event)
    outcome: OutcomeT | None = None


class Background(Generic[OutcomeT]):
    """One task of a key at a time, and its outcome until it is collected.

    What is done for a key is done by one thread at a time: that is how engines treat keys.
    """

    def __init__(self, threads: int) -> None:
        self._pool = LanePool(threads)
        self._running: dict[str, _Running[OutcomeT]] = {}

    def begin(self, key: str, task: Callable[[], OutcomeT]) -> None:
        """Begin a task, which must not raise, unless one of the key runs or waits to be collected."""
        if key in self._running:
            return
        running = self._running[key] = _Running[OutcomeT]()

        def run() -> None:
            running.outcome = task()
            running.done.set()

        self._pool.submit(key, 1, run)

    def outcome(self, key: str, wait_seconds: float | None = 0) -> OutcomeT | None:
        """What became of the key's task; None where none was begun, or it still runs after that time."""
        running = self._running.get(key)
        if running is None or not running.done.wait(wait_seconds):
            return None
        return running.outcome

    def collect(self, key: str) -> None:
        """Say that the outcome was acted on, so that the key's next task can begin."""
        self._running.pop(key, None)

    def close(self) -> None:
        """Wait for the tasks that run; what has not begun is dropped."""
        self._pool.close()
