"""Burying what is held past its deadline, gathered into files of megabytes."""

import time
from collections import Counter

from runtime.connectors import ConnectorEntry
from runtime.dead_letters import write_letters
from runtime.held_object import HeldObject
from runtime.held_queue import HeldQueue
from runtime.hold import HeldFile
from runtime.worker import Worker
from schemas.dead_letter import DeadLetter

FILE_BYTES = 8_000_000
TURN_SECONDS = 2.0


def bury_expired(worker: Worker, queue: HeldQueue, entry: ConnectorEntry | None) -> Counter[str]:
    """Bury what of a queue is past its deadline, for as long as a turn lasts; returns how many, by reason.

    Raises:
        StorageError: the letters could not be written, and their events stay held.
    """
    until = time.monotonic() + TURN_SECONDS
    doomed: list[HeldObject] = []
    size = 0
    buried: Counter[str] = Counter()
    for file in [file for file in queue.files if _is_late(worker, entry, file)]:
        held = queue.open(file)
        if held is None:
            continue
        held.bury_expired(worker.now_ms())
        doomed.append(held)
        size += file.size
        if size >= FILE_BYTES:
            buried += _bury(worker, queue, doomed)
            doomed, size = [], 0
        if time.monotonic() > until:
            break
    return buried + _bury(worker, queue, doomed)


def _bury(worker: Worker, queue: HeldQueue, doomed: list[HeldObject]) -> Counter[str]:
    letters: list[DeadLetter] = [letter for held in doomed for letter in held.letters]
    if letters:
        write_letters(worker.settings.dead_letters, letters)
    for held in doomed:
        if held.letters:
            queue.close(held)
    return Counter(letter.reason for letter in letters)


def _is_late(worker: Worker, entry: ConnectorEntry | None, file: HeldFile) -> bool:
    """A name that is not one of ours counts as late: it is found out by reading."""
    known = file.known
    return known is None or worker.deadlines.of(entry, known.newest_ms) <= worker.now_ms()
