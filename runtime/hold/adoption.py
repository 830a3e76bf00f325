"""Finding lanes of the hold that nobody attends: left by bounded runs, crashes and earlier jobs."""

import logging

from runtime.hold.attendants import attendants_of
from runtime.hold.lane_statuses import other_attendant
from runtime.worker import Worker

_logger = logging.getLogger(__name__)


def unattended_lanes(worker: Worker) -> list[str]:
    """Lanes with something held, but for those that this process or another live job attends.

    Raises:
        StorageError: the hold cannot be read.
    """
    found = [lane for lane in worker.hold.lanes() if not attendants_of(worker).attends(lane)]
    # The status first: it is one small file, and a queue that others attend may be long.
    return [lane for lane in found if not _is_others(worker, lane) and worker.hold.objects(lane)]


def _is_others(worker: Worker, lane: str) -> bool:
    settings = worker.settings
    other = other_attendant(settings.hold, lane, settings.job, worker.now_ms())
    if other is not None:
        _logger.info("lane %s is left alone: %s attends it", lane, other)
    return other is not None
