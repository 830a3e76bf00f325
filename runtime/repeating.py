"""Doing something every so often, on a thread of its own."""

import threading
from collections.abc import Callable


class Repeating:
    """Calls `act`, which must not raise, every so many seconds, from `start` to `close`."""

    def __init__(self, name: str, every_seconds: float, act: Callable[[], None]) -> None:
        self._name = name
        self._every_seconds = every_seconds
        self._act = act
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if that was not done."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End, after the call that is under way."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_seconds):
            self._act()
