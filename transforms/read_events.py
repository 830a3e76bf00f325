"""ReadEvents: messages in, as pulls; from files, Pub/Sub, dead letters, or from nowhere."""

import functools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub
from apache_beam.pvalue import AsIter, PBegin, PCollection

from runtime.files import DamagedInput, FileRange, read_range
from runtime.replay import LetterPart, Pace, Replay, pulls_of
from runtime.worker import Worker, WorkerSettings, worker_of
from schemas.pull import Pull, encode_pull
from transforms.engine import Engine
from transforms.gather_pulls import GatherPulls
from transforms.pull_from_pubsub import PullFromPubSub
from transforms.release_held import ReleaseHeld
from transforms.signatures import with_known_signatures

_logger = logging.getLogger(__name__)


@dataclass
class ReadEvents(beam.PTransform[PBegin, PCollection[bytes]]):
    """Pulls of a subscription, of dead letters or, after what is held was tried, of file ranges."""

    settings: WorkerSettings
    engine: Engine
    subscription: str | None
    ranges: Sequence[FileRange]
    replay: Replay | None = None

    def expand(self, begin: PBegin) -> PCollection[bytes]:
        match self.engine:
            case Engine.DIRECT:  # our subscriber stands behind it: its messages are pulls
                return begin | "ReadPulls" >> ReadFromPubSub(subscription=self.subscription)
            case Engine.DISTRIBUTED:
                return (
                    begin
                    | "ReadMessages"
                    >> ReadFromPubSub(subscription=self.subscription, with_attributes=True)
                    | "WrapMessages" >> beam.Map(_pull_of).with_output_types(bytes)
                    | "GatherPulls" >> GatherPulls(self.engine)
                )
            case Engine.PORTABLE:
                return begin | "PullFromPubSub" >> PullFromPubSub(self.subscription or "")
            case Engine.BOUNDED if self.replay is not None:
                parts = [tuple(part) for part in self.replay.parts]
                return (
                    begin
                    | "Letters" >> beam.Create(parts, reshuffle=False)
                    | "ReadLetters" >> beam.ParDo(_ReadLettersFn(self.settings, self.replay.rate))
                )
            case Engine.BOUNDED:
                released = begin | "ReleaseHeld" >> ReleaseHeld(self.settings)
                return (
                    begin
                    | "Ranges" >> beam.Create(list(self.ranges), reshuffle=False)
                    | "ReadFiles" >> beam.ParDo(_ReadFilesFn(self.settings), AsIter(released))
                )


def _pull_of(message: PubsubMessage) -> bytes:
    published = int(message.publish_time.timestamp() * 1_000)
    return encode_pull(Pull(published, published, [message.data]))


@with_known_signatures
@beam.typehints.with_output_types(bytes)
class _ReadFilesFn(beam.DoFn):
    """Reads what can be read: one damaged file must not keep the others' events back."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings

    def process(self, part: FileRange, released: Any) -> Iterator[bytes]:  # noqa: ARG002
        worker = worker_of(self._settings)
        part = FileRange(*part)
        pulls = read_range(part, functools.partial(worker.input_read.tell, part))
        try:
            yield from _until_stopped(worker, part.path, pulls)
        except DamagedInput as error:
            _logger.error("the rest of a file cannot be read: %s", error)
            worker.ledger.unread.append(str(error))


def _until_stopped(worker: Worker, name: str, pulls: Iterable[Pull]) -> Iterator[bytes]:
    """The pulls, encoded; what is left of them when the run is stopped counts as not read."""
    for pull in pulls:
        if worker.stopping.is_set():
            rest = f"{name}: the run was stopped, and the rest is not read"
            _logger.warning("%s", rest)
            worker.ledger.unread.append(rest)
            return
        yield encode_pull(pull)


@with_known_signatures
@beam.typehints.with_output_types(bytes)
class _ReadLettersFn(beam.DoFn):
    """Reads chosen dead letters; what was there when they were chosen must still be."""

    def __init__(self, settings: WorkerSettings, rate: float | None) -> None:
        self._settings = settings
        self._rate = rate

    def setup(self) -> None:
        self._pace = Pace(self._rate) if self._rate else None

    def process(self, part: tuple[str, list[int]]) -> Iterator[bytes]:
        letters = LetterPart(*part)
        worker = worker_of(self._settings)
        yield from _until_stopped(worker, letters.uri, pulls_of(letters, self._pace))
