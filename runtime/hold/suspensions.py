"""Which lanes are suspended: markers below the hold that every process lists every few seconds."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from runtime.repeating import Repeating
from runtime.storage import StorageError, join, list_names, remove_file, write_whole
from schemas.lane import file_name_of, lane_of_file

LOOK_SECONDS = 3.0
OURS_SECONDS = 15.0
"""Who attends a lane says its state more often; so long his word counts more than the markers."""

LaneState = Literal["suspended", "resuming"]

_UNKNOWN = "unknown"

_logger = logging.getLogger(__name__)


class _Ours(NamedTuple):
    """What this process has said of a lane; another may attend it later."""

    state: LaneState | None
    until: float


class Suspensions:
    """The lanes of the hold that are suspended or resuming, as this process knows them.

    A marker is an empty object `<hold>/suspended/<lane>`, or `<hold>/resuming/<lane>` while what is
    held is being released beside fresh events. The hold writes them; other processes list them.
    """

    def __init__(self, root: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._root = root
        self._lock = threading.Lock()
        self._states: dict[str, LaneState] = {}
        self._ours: dict[str, _Ours] = {}
        self._told: dict[str, LaneState | None] = {}
        self._repeating = Repeating("suspensions", LOOK_SECONDS, self.refresh)

    def state_of(self, lane: str) -> LaneState | None:
        """The state of a lane of the hold; None where it is neither suspended nor resuming."""
        return self._states.get(lane)

    def lanes(self) -> list[str]:
        """The lanes that are suspended or resuming, as far as is known."""
        return list(self._states)

    def mark(self, lane: str, state: LaneState | None) -> None:
        """Say what a lane's state is now, to this process at once and to others by a marker.

        A marker that cannot be written is written at the next call.
        """
        with self._lock:
            self._ours[lane] = _Ours(state, self._clock() + OURS_SECONDS)
            self._set(lane, state)
        if self._told.get(lane, _UNKNOWN) != state:
            self._tell(lane, state)

    def _tell(self, lane: str, state: LaneState | None) -> None:
        self._told[lane] = state
        for folder in ("suspended", "resuming"):
            uri = join(self._root, folder, file_name_of(lane))
            try:
                if folder == state:
                    write_whole(uri, b"")
                else:
                    remove_file(uri)
            except StorageError as error:
                self._told.pop(lane, None)
                _logger.error("the state of lane %s cannot be told to others: %s", lane, error)

    def follow(self) -> None:
        """List the markers now, and begin to do so every few seconds, on a thread of its own."""
        self.refresh()
        self._repeating.start()

    def close(self) -> None:
        self._repeating.close()

    def refresh(self) -> None:
        """List the markers now; where that fails, what was known stays."""
        found: dict[str, LaneState] = {}
        states: tuple[LaneState, ...] = ("resuming", "suspended")
        try:
            for state in states:
                for name in list_names(join(self._root, state)):
                    found[lane_of_file(name)] = state
        except StorageError as error:
            _logger.error("which lanes are suspended cannot be read: %s", error)
            return
        with self._lock:
            self._states = found
            now = self._clock()
            self._ours = {lane: ours for lane, ours in self._ours.items() if now < ours.until}
            self._told = {lane: told for lane, told in self._told.items() if lane in self._ours}
            for lane, ours in self._ours.items():
                self._set(lane, ours.state)

    def _set(self, lane: str, state: LaneState | None) -> None:
        if state is None:
            self._states.pop(lane, None)
        else:
            self._states[lane] = state
