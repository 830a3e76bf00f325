"""The graph: the life of an event, in order."""

from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam

from runtime.files import FileRange
from runtime.replay import Replay
from runtime.worker import WorkerSettings
from transforms.batch_by_lane import BatchByLane
from transforms.decode_and_route import FRAGMENTS, DecodeAndRoute
from transforms.deliver_batches import DeliverBatches
from transforms.engine import Engine
from transforms.hold_undelivered import UNDELIVERED, HoldUndelivered
from transforms.read_events import ReadEvents
from transforms.write_dead_letters import LETTERS, WriteDeadLetters


@dataclass(frozen=True)
class Source:
    """Where events come from; a bounded run begins with what is held, unless it is a replay."""

    engine: Engine
    subscription: str | None = None
    ranges: Sequence[FileRange] = ()
    replay: Replay | None = None


def build(pipeline: beam.Pipeline, source: Source, settings: WorkerSettings) -> None:
    """Lay out all steps. Connectors are keys, not edges: one graph serves any number of them."""
    engine = source.engine
    pulls = pipeline | "ReadEvents" >> ReadEvents(
        settings, engine, source.subscription, source.ranges, source.replay
    )
    routed = pulls | "DecodeAndRoute" >> DecodeAndRoute(settings, engine)
    batches = routed[FRAGMENTS] | "BatchByLane" >> BatchByLane(settings, engine)
    delivered = batches | "DeliverBatches" >> DeliverBatches(settings, engine)
    _ = delivered[UNDELIVERED] | "HoldUndelivered" >> HoldUndelivered(settings, engine)
    _ = routed[LETTERS] | "WriteInvalid" >> WriteDeadLetters(settings, engine)
    _ = delivered[LETTERS] | "WriteGivenUp" >> WriteDeadLetters(settings, engine)
