"""Releasing what is held, in a bounded run: every lane is tried at once, oldest first."""

import logging
from dataclasses import dataclass, field

import msgspec

from runtime.clock import now_ms
from runtime.connectors import Config, ConnectorEntry
from runtime.dead_letters import write_letters
from runtime.delivery import Delivery
from runtime.hold import ForeignObject, HeldBatch
from runtime.keeping import Life, held_batches, letters_of
from runtime.ledger import Tally
from runtime.storage import StorageError
from runtime.worker import Worker
from schemas.dead_letter import DeadLetter
from schemas.event import app_group_of
from schemas.lane import Lane, connector_of

_logger = logging.getLogger(__name__)


@dataclass
class _Left:
    """What is left of an object after a try."""

    held: list[HeldBatch] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)


def release_lane(worker: Worker, held_lane: str) -> Tally:
    """Try to deliver all that a lane of the hold has; returns what became of it.

    What is delivered is removed from the hold, what is given up is buried first, and of an object
    that is delivered in part the rest is written before the whole is removed.
    """
    config = worker.config.current()
    tally = Tally()
    for name in _objects(worker, held_lane):
        try:
            _release_object(worker, config, held_lane, name, tally)
        except ForeignObject as error:
            _logger.error("left alone: %s", error)
        except StorageError as error:
            _logger.error("lane %s: %s stays held: %s", held_lane, name, error)
    return tally


def _release_object(
    worker: Worker, config: Config, held_lane: str, name: str, tally: Tally
) -> None:
    batches = worker.hold.read(held_lane, name)
    tried = Tally()
    left = _deliver(worker, config, connector_of(held_lane), batches, tried)
    if left.letters:
        write_letters(worker.settings.dead_letters, left.letters)
    kept = worker.hold.put(held_lane, left.held) if left.held else None
    if kept != name:  # the same content has the same name: nothing changed, nothing goes
        worker.hold.remove(held_lane, name)
    tally.add(tried)


def _deliver(
    worker: Worker, config: Config, connector: str, batches: list[HeldBatch], tally: Tally
) -> _Left:
    entry = config.connectors.get(connector)
    counts = tally.of(connector)
    counts.adopted += sum(len(batch.events) for batch in batches)
    left = _Left()
    started: list[tuple[HeldBatch, Delivery]] = []
    for batch in batches:
        theirs, others = _by_tenant(entry, batch)
        if others.events:
            left.held.append(others)
        if theirs.events:
            lane = Lane(connector, batch.part)
            started.append((batch, worker.deliverer.start(lane, entry, theirs.events)))
    for batch, delivery in started:
        delivery.wait()
        life = _life(batch, delivery.lane, config)
        left.held += held_batches(life, delivery.outcome.undelivered)
        left.letters += letters_of(life, delivery.outcome.given_up)
        counts.add(delivery.outcome.tally)
    counts.held += sum(len(part.events) for part in left.held)
    counts.dead.update(letter.reason for letter in left.letters)
    return left


def _by_tenant(entry: ConnectorEntry | None, batch: HeldBatch) -> tuple[HeldBatch, HeldBatch]:
    """The events of app groups that the connector names today, and the others: not its to send."""
    groups = entry.settings.app_group_ids if entry else None
    theirs: list[bytes] = []
    others: list[bytes] = []
    for event in batch.events:
        is_theirs = groups is None or app_group_of(event) in groups
        (theirs if is_theirs else others).append(event)
    return (
        msgspec.structs.replace(batch, events=theirs),
        msgspec.structs.replace(batch, events=others, reason="other_app_group"),
    )


def _life(batch: HeldBatch, lane: Lane, config: Config) -> Life:
    return Life(
        lane=lane.key,
        connector=lane.connector,
        part=lane.part,
        oldest_ms=batch.oldest_ms,
        newest_ms=batch.newest_ms,
        now_ms=now_ms(),
        config_version=config.version,
        first_failed_ms=batch.first_failed_ms,
        attempts=batch.attempts,
        replays=batch.replays,
    )


def held_lanes(worker: Worker) -> list[str]:
    """The lanes that have something held."""
    return [lane for lane in worker.hold.lanes() if _objects(worker, lane)]


def _objects(worker: Worker, held_lane: str) -> list[str]:
    """A lane's objects; a lane that cannot be read must not stop the others."""
    try:
        return worker.hold.objects(held_lane)
    except StorageError as error:
        _logger.error("lane %s stays held: %s", held_lane, error)
        return []
