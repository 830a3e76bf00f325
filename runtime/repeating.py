"""Doing something every so often, on a thread of its own."""

import logging
import threading
import traceback
from collections.abc import Callable

_logger = logging.getLogger(__name__)


class Repeating:
    """Calls `act` every so many seconds, from `start` to `close`; goes on where it raises."""

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
            try:
                self._act()
            except Exception as error:  # noqa: BLE001 - nothing else would ever call it again
                place = traceback.extract_tb(error.__traceback__)[-1]
                _logger.error(
                    "%s: a mistake, it is tried again in %g s: %s at %s:%d",
                    self._name,
                    self._every_seconds,
                    type(error).__name__,  # its text may hold what is read: a key, an event
                    place.name,
                    place.lineno,
                )
