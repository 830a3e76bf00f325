"""Which lanes are suspended: markers below the hold that every process lists every few seconds."""

import logging
import threading
import urllib.parse
from typing import Literal

from runtime.storage import StorageError, join, list_names, remove_file, write_whole

LOOK_SECONDS = 3.0

LaneState = Literal["suspended", "resuming"]

_UNKNOWN = "unknown"

_logger = logging.getLogger(__name__)


class Suspensions:
    """The lanes of the hold that are suspended or resuming, as this process knows them.

    A marker is an empty object `<hold>/suspended/<lane>`, or `<hold>/resuming/<lane>` while what is
    held is being released beside fresh events. The hold writes them; other processes list them.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._states: dict[str, LaneState] = {}
        self._ours: dict[str, LaneState | None] = {}
        self._told: dict[str, LaneState | None] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def state_of(self, lane: str) -> LaneState | None:
        """The state of a lane of the hold; None where it is neither suspended nor resuming."""
        return self._states.get(lane)

    def mark(self, lane: str, state: LaneState | None) -> None:
        """Say what a lane's state is now, to this process at once and to others by a marker.

        A marker that cannot be written is written at the next call.
        """
        with self._lock:
            self._ours[lane] = state
            self._set(lane, state)
        if self._told.get(lane, _UNKNOWN) != state:
            self._tell(lane, state)

    def _tell(self, lane: str, state: LaneState | None) -> None:
        self._told[lane] = state
        for folder in ("suspended", "resuming"):
            uri = join(self._root, folder, urllib.parse.quote(lane, safe="+"))
            try:
                if folder == state:
                    write_whole(uri, b"")
                else:
                    remove_file(uri)
            except StorageError as error:
                self._told.pop(lane, None)
                _logger.error("the state of lane %s cannot be told to others: %s", lane, error)

    def forget(self, lane: str) -> None:
        """Say that this process no longer decides the lane's state."""
        with self._lock:
            self._ours.pop(lane, None)
            self._told.pop(lane, None)

    def follow(self) -> None:
        """Begin to list the markers every few seconds, on a thread of its own."""
        if self._thread is None:
            self.refresh()
            self._thread = threading.Thread(target=self._follow, name="suspensions", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def refresh(self) -> None:
        """List the markers now; where that fails, what was known stays."""
        found: dict[str, LaneState] = {}
        states: tuple[LaneState, ...] = ("resuming", "suspended")
        try:
            for state in states:
                for name in list_names(join(self._root, state)):
                    found[urllib.parse.unquote(name)] = state
        except StorageError as error:
            _logger.error("which lanes are suspended cannot be read: %s", error)
            return
        with self._lock:
            self._states = found
            for lane, ours in self._ours.items():
                self._set(lane, ours)

    def _set(self, lane: str, state: LaneState | None) -> None:
        if state is None:
            self._states.pop(lane, None)
        else:
            self._states[lane] = state

    def _follow(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            self.refresh()
