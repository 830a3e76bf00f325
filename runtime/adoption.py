"""Finding lanes of the hold that nobody attends: left by bounded runs, crashes and earlier jobs."""

import logging

from runtime.attendants import attendants_of
from runtime.lane_statuses import is_attended, read_status
from runtime.worker import Worker

_logger = logging.getLogger(__name__)


def unattended_lanes(worker: Worker) -> list[str]:
    """Lanes with something held, but for those that this process or another live job attends.

    Raises:
        StorageError: the hold cannot be read.
    """
    found = [lane for lane in worker.hold.lanes() if not attendants_of(worker).attends(lane)]
    return [lane for lane in found if worker.hold.objects(lane) and not _is_others(worker, lane)]


def _is_others(worker: Worker, lane: str) -> bool:
    status = read_status(worker.settings.hold, lane)
    if status is None or not is_attended(status, worker.now_ms()):
        return False
    _logger.info("lane %s is left alone: %s attends it", lane, status.attended_by)
    return status.attended_by != worker.settings.job
