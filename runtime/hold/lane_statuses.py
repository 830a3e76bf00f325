"""The statuses of the hold's lanes: one JSON file a lane, written by whoever attends it."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec

from runtime.clock import from_rfc3339, rfc3339
from runtime.hold.directory import HoldQueue
from runtime.hold.objects import Depth
from runtime.jobs import has_ended
from runtime.storage import StorageError, join, list_names, read_file, remove_file, write_whole
from schemas.lane import connector_of, file_name_of, lane_of_file
from schemas.lane_status import LaneStatus

ATTENDED_MS = 120_000
"""A lane whose status nobody has written for so long is attended by nobody; clocks may differ by it."""

_LISTINGS = 16
"""At a time: each is a round trip to an object store."""

_logger = logging.getLogger(__name__)


def write_status(root: str, status: LaneStatus) -> None:
    """Write a lane's status below the hold's root.

    Raises:
        StorageError: it could not be written.
    """
    text = msgspec.json.format(msgspec.json.encode(status), indent=2)
    write_whole(_place(root, status.lane), text + b"\n")


def read_status(root: str, lane: str) -> LaneStatus | None:
    """The status of a lane; None where there is none, or none that can be understood.

    Raises:
        StorageError: the hold cannot be read.
    """
    place = _place(root, lane)
    try:
        status = msgspec.json.decode(read_file(place), type=LaneStatus)
    except StorageError as error:
        if error.fault == "missing":
            return None
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _logger.warning("the status %s is damaged: %s", place, error)
        return None
    if status.lane != lane:
        _logger.warning("the status %s is damaged: it is of another lane", place)
        return None
    return status


def remove_status(root: str, lane: str) -> None:
    """Remove a lane's status, if there is one.

    Raises:
        StorageError: it could not be removed.
    """
    remove_file(_place(root, lane))


def is_attended(status: LaneStatus, now_ms: int) -> bool:
    """Whether a job says that it attends the lane, has said so lately, and is not known to be dead."""
    at_ms = from_rfc3339(status.attended_at)
    if not status.attended_by or at_ms is None or has_ended(status.attended_by):
        return False
    return abs(now_ms - at_ms) < ATTENDED_MS


def other_attendant(root: str, lane: str, job: str, now_ms: int) -> str | None:
    """The live job that attends a lane, if that is another than `job`.

    Raises:
        StorageError: the hold cannot be read.
    """
    status = read_status(root, lane)
    if status is None or status.attended_by == job or not is_attended(status, now_ms):
        return None
    return status.attended_by


@dataclass
class Survey:
    """What a hold has."""

    lanes: list[LaneStatus] = field(default_factory=list)
    """Those that have something held or set aside, by lane."""
    unread: list[str] = field(default_factory=list)
    """What could not be read, in words."""


def survey(root: str, max_age_seconds: float) -> Survey:
    """Look through a hold: how much it has is told by its listing, why by its lanes' statuses.

    Args:
        root: the hold's storage URI.
        max_age_seconds: how long events are tried, for lanes whose status does not say.

    Raises:
        StorageError: the hold cannot be listed.
    """
    queue = HoldQueue(root)
    set_aside = _set_aside(root)

    def look(lane: str) -> LaneStatus | str | None:
        try:
            return _look(queue, lane, set_aside.get(lane, 0), max_age_seconds)
        except StorageError as error:
            return f"lane {lane!r} cannot be read: {error}"

    found = Survey()
    with ThreadPoolExecutor(_LISTINGS) as threads:
        for seen in threads.map(look, sorted({*queue.lanes(), *set_aside})):
            if isinstance(seen, LaneStatus):
                found.lanes.append(seen)
            elif seen is not None:
                found.unread.append(seen)
    return found


def _set_aside(root: str) -> dict[str, int]:
    """How many objects of each lane were set aside."""
    folder = join(root, "set-aside")
    return {lane_of_file(name): len(list_names(join(folder, name))) for name in list_names(folder)}


def _look(queue: HoldQueue, lane: str, set_aside: int, max_age_seconds: float) -> LaneStatus | None:
    files = queue.files(lane)
    if not files and not set_aside:
        return None
    status = read_status(queue.root, lane) or _unknown(lane)
    depth = Depth.of(files)
    return msgspec.structs.replace(
        status,
        events=depth.events,
        objects=depth.objects,
        bytes=depth.bytes,
        oldest=None if depth.oldest_ms is None else rfc3339(depth.oldest_ms),
        dead_letters_from=_dead_letters_from(status, depth, int(max_age_seconds * 1_000)),
        set_aside=set_aside,
    )


def _unknown(lane: str) -> LaneStatus:
    """Of a lane that nobody attends or has attended: a bounded run left something there."""
    return LaneStatus(
        lane=lane, connector=connector_of(lane), state="holding", reason="unknown", since=""
    )


def _dead_letters_from(status: LaneStatus, depth: Depth, max_age_ms: int) -> str | None:
    """What the status says, moved on with the oldest event if that is another now."""
    if depth.oldest_ms is None or depth.newest_ms is None:
        return None
    if status.state == "resuming":
        return status.dead_letters_from
    said_ms = from_rfc3339(status.dead_letters_from or "")
    if said_ms is None:
        return rfc3339(depth.newest_ms + max_age_ms)
    before_ms = from_rfc3339(status.oldest or "")
    return rfc3339(said_ms + (0 if before_ms is None else depth.oldest_ms - before_ms))


def _place(root: str, lane: str) -> str:
    return join(root, "status", file_name_of(lane) + ".json")
