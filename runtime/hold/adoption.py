"""Finding lanes of the hold that nobody attends: left by bounded runs, crashes and earlier jobs."""

import logging

from runtime.hold.attendants import attendants_of
from runtime.hold.lane_statuses import other_attendant
from runtime.storage import StorageError
from runtime.worker import Worker

_logger = logging.getLogger(__name__)


def unattended_lanes(worker: Worker) -> list[str]:
    """Lanes that wait for somebody, but for those that this process or another live job attends.

    A lane of which nothing but a marker is left, by a job that died, waits for it to be removed: it
    would halve the rate of its fresh events for ever.

    Raises:
        StorageError: the hold cannot be read.
    """
    known = dict.fromkeys([*worker.hold.lanes(), *worker.suspensions.lanes()])
    found = [lane for lane in known if not attendants_of(worker).attends(lane)]
    return [lane for lane in found if _is_to_be_adopted(worker, lane)]


def _is_to_be_adopted(worker: Worker, lane: str) -> bool:
    """Whether nobody attends a lane that waits; one that cannot be read is left alone."""
    try:
        # The status first: it is one small file, and a queue that others attend may be long.
        return not _is_others(worker, lane) and _waits(worker, lane)
    except StorageError as error:
        _logger.error("lane %s is left alone: %s", lane, error)
        return False


def _waits(worker: Worker, lane: str) -> bool:
    return bool(worker.hold.objects(lane)) or worker.suspensions.state_of(lane) is not None


def _is_others(worker: Worker, lane: str) -> bool:
    settings = worker.settings
    other = other_attendant(settings.hold, lane, settings.job, worker.now_ms())
    if other is not None:
        _logger.info("lane %s is left alone: %s attends it", lane, other)
    return other is not None
