"""Burying what is held past its deadline, gathered into files of megabytes."""

import time
from collections import Counter
from collections.abc import Sequence

from runtime.connectors import ConnectorEntry
from runtime.hold.held_object import HeldObject
from runtime.hold.held_queue import HeldQueue
from runtime.hold.objects import HeldFile
from runtime.hold.turn import TURN_SECONDS
from runtime.worker import Worker

FILE_BYTES = 8_000_000


def bury_expired(worker: Worker, queue: HeldQueue, entry: ConnectorEntry | None) -> Counter[str]:
    """Bury what of a queue is past its deadline, for as long as a turn lasts; returns how many, by reason.

    Raises:
        StorageError: the letters could not be written, and their events stay held.
    """
    until = time.monotonic() + TURN_SECONDS
    doomed: list[HeldObject] = []
    size = 0
    buried: Counter[str] = Counter()
    late = [file for file in queue.files if is_late(worker, entry, file)]
    for file in filter(queue.may_read, late):
        held = queue.open(file)
        if held is None:
            continue
        held.bury_expired(worker.now_ms())
        doomed.append(held)
        size += file.size
        if size >= FILE_BYTES:
            buried += _bury(queue, doomed)
            doomed, size = [], 0
        if time.monotonic() > until:
            break
    return buried + _bury(queue, doomed)


def _bury(queue: HeldQueue, doomed: Sequence[HeldObject]) -> Counter[str]:
    buried = [held for held in doomed if held.letters]
    if buried:
        queue.end_together(buried)
    return Counter(letter.reason for held in buried for letter in held.letters)


def is_late(worker: Worker, entry: ConnectorEntry | None, file: HeldFile) -> bool:
    """Whether an object has to be read because it may be past its deadline.

    One whose name is not ours has to be read too, for that is how it is found out.
    """
    known = file.known
    if known is None:
        return True
    return worker.deadlines.has_passed(entry, known.newest_ms, worker.now_ms())
