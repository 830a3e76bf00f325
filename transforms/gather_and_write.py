"""Gathering what goes to one file before it is written: the shared half of holding and burying.

A write that fails is tried again by the timer and loses nothing: what could not be written stays in
state, its shares unsettled.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.coders import BytesCoder
from apache_beam.pvalue import PCollection
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import (
    BagStateSpec,
    ReadModifyWriteStateSpec,
    TimerSpec,
    on_timer,
)

from runtime.ledger import Tally
from runtime.storage import StorageError
from runtime.worker import Worker, WorkerSettings, worker_of
from transforms.counting import enter
from transforms.engine import END_OF_INPUT, Engine
from transforms.signatures import with_known_signatures

MAX_FILE_BYTES = 8_000_000
MAX_GATHERED_BYTES = 32_000_000
"""What all keys of a bundle may gather together."""
_AGAIN_SECONDS = 2.0

_logger = logging.getLogger(__name__)

Keyed = tuple[str, bytes]


class FileWriter(ABC):
    """What is done with the encoded elements that one key has gathered."""

    window_seconds: float
    """How long they wait for more to come."""

    @abstractmethod
    def write(self, worker: Worker, key: str, parts: Sequence[bytes]) -> "Written":
        """Write them; called again with the same parts, it may double them but not lose them.

        Raises:
            StorageError: they are not written.
        """


@dataclass(frozen=True)
class Written:
    """What a write did to the books, the shares that it settles, and what flows on from it."""

    tally: Tally
    tokens: Sequence[Any]
    outputs: Sequence[Keyed] = ()


@dataclass
class GatherAndWrite(beam.PTransform[PCollection[Keyed], PCollection[Any]]):
    """(key, encoded part) to files of one key each, and to what the writer says of them."""

    settings: WorkerSettings
    engine: Engine
    writer: FileWriter

    def expand(self, parts: PCollection[Keyed]) -> PCollection[Any]:
        if self.engine is Engine.BOUNDED:
            return parts | "WriteBundle" >> beam.ParDo(_WriteBundleFn(self.settings, self.writer))
        return parts | "GatherAndWrite" >> beam.ParDo(
            _GatherFn(self.settings, self.engine, self.writer)
        )


@with_known_signatures
class _WriteBundleFn(beam.DoFn):
    """Gathers within the bundle; a write that fails ends a bounded run, whose input is still there."""

    def __init__(self, settings: WorkerSettings, writer: FileWriter) -> None:
        self._settings = settings
        self._writer = writer

    def setup(self) -> None:
        self._worker: Worker = worker_of(self._settings)

    def start_bundle(self) -> None:
        self._parts: dict[str, list[bytes]] = {}
        self._sizes: dict[str, int] = {}

    def process(self, element: Keyed) -> None:
        key, part = element
        self._parts.setdefault(key, []).append(part)
        self._sizes[key] = self._sizes.get(key, 0) + len(part)
        if self._sizes[key] >= MAX_FILE_BYTES:
            self._write(key)
        elif sum(self._sizes.values()) >= MAX_GATHERED_BYTES:
            self._write(max(self._sizes, key=lambda key: self._sizes[key]))

    def finish_bundle(self) -> None:
        for key in list(self._parts):
            self._write(key)

    def _write(self, key: str) -> None:
        del self._sizes[key]
        written = self._writer.write(self._worker, key, self._parts.pop(key))
        enter(self._worker, written.tally)


class _Gathered(msgspec.Struct, array_like=True, frozen=True):
    version: int
    size: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Gathered).decode


@with_known_signatures
@beam.typehints.with_input_types(tuple[str, bytes])
@beam.typehints.with_output_types(tuple[str, bytes])
class _GatherFn(beam.DoFn):
    BAG = BagStateSpec("parts", BytesCoder())
    GATHERED = ReadModifyWriteStateSpec("gathered", BytesCoder())
    WINDOW = TimerSpec("window", TimeDomain.REAL_TIME)
    DRAIN = TimerSpec("drain", TimeDomain.WATERMARK)

    def __init__(self, settings: WorkerSettings, engine: Engine, writer: FileWriter) -> None:
        self._settings = settings
        self._engine = engine
        self._writer = writer

    def setup(self) -> None:
        self._worker: Worker = worker_of(self._settings)

    def start_bundle(self) -> None:
        self._written: list[Written] = []

    def process(
        self,
        element: Keyed,
        bag: Any = beam.DoFn.StateParam(BAG),
        gathered: Any = beam.DoFn.StateParam(GATHERED),
        window: Any = beam.DoFn.TimerParam(WINDOW),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> Iterator[Keyed]:
        key, part = element
        before = gathered.read()
        size = len(part) + (_decode(before).size if before else 0)
        bag.add(part)
        gathered.write(_encode(_Gathered(1, size)))
        written = self._write(key, bag, gathered) if size >= MAX_FILE_BYTES else None
        if written is not None:
            yield from written.outputs
            window.clear()
            drain.clear()
        elif not before:
            window.set(self._engine.now() + self._writer.window_seconds)
            drain.set(END_OF_INPUT)

    @on_timer(WINDOW)
    def window_is_over(
        self,
        key: Any = beam.DoFn.KeyParam,
        bag: Any = beam.DoFn.StateParam(BAG),
        gathered: Any = beam.DoFn.StateParam(GATHERED),
        window: Any = beam.DoFn.TimerParam(WINDOW),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> Iterator[Keyed]:
        written = self._write(key, bag, gathered)
        if written is not None:
            yield from written.outputs
            drain.clear()
        else:
            window.set(self._engine.now() + _AGAIN_SECONDS)

    @on_timer(DRAIN)
    def input_has_ended(
        self,
        key: Any = beam.DoFn.KeyParam,
        bag: Any = beam.DoFn.StateParam(BAG),
        gathered: Any = beam.DoFn.StateParam(GATHERED),
        window: Any = beam.DoFn.TimerParam(WINDOW),
    ) -> Iterator[Keyed]:
        window.clear()
        written = self._write(key, bag, gathered)
        if written is not None:
            yield from written.outputs

    def finish_bundle(self) -> Iterator[Any]:
        for written in self._written:
            enter(self._worker, written.tally)
            self._worker.receipts.settle(written.tokens)
        return iter(())

    def _write(self, key: str, bag: Any, gathered: Any) -> Written | None:
        """None where it could not be written."""
        parts = list(bag.read())
        if not parts:
            return Written(Tally(), ())
        try:
            written = self._writer.write(self._worker, key, parts)
        except StorageError as error:
            _logger.error("%s cannot be written and is kept: %s", key, error)
            return None
        self._written.append(written)
        bag.clear()
        gathered.clear()
        return written
