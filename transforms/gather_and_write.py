"""Gathering what goes to one file before it is written: the shared half of holding and burying.

A write that fails is tried again by the timer and loses nothing: what could not be written stays in
state, its shares unsettled. On DirectRunner, which has one thread, files are written in the background and
the timer comes back for them: a slow storage holds up no other lane, until too much waits for it.
"""

import itertools
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
"""What all keys may gather together: of a bundle, or of a process that writes in the background."""
_AGAIN_SECONDS = 2.0
_LOOK_SECONDS = 0.05
"""How long a write in the background is given before it is looked at; and then as long again as it takes by then."""
_SLOW_LOOK_SECONDS = 1.0
"""But no longer than that."""
_ROOM_SECONDS = 0.2
"""How long a bundle waits for room where more than `MAX_GATHERED_BYTES` wait for a slow storage."""

_logger = logging.getLogger(__name__)

Keyed = tuple[str, bytes]


class FileWriter(ABC):
    """What is done with the encoded elements that one key has gathered."""

    name: str
    """Tells its files from other writers' of the same key."""
    window_seconds: float
    """How long they wait for more to come."""

    @abstractmethod
    def write(self, worker: Worker, key: str, parts: Sequence[bytes]) -> "Written":
        """Write them, on whatever thread; called again with the same parts, it may double them but not lose them.

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
        gather = _GatherInBackgroundFn if self.engine is Engine.DIRECT else _GatherFn
        return parts | "GatherAndWrite" >> beam.ParDo(
            gather(self.settings, self.engine, self.writer)
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


@dataclass(frozen=True)
class _Attempt:
    """What came of writing some parts: they are written, or this is when to come back."""

    parts: Sequence[bytes] = ()
    written: Written | None = None
    again_seconds: float = _AGAIN_SECONDS
    ended: float = field(default_factory=time.monotonic)


@with_known_signatures
@beam.typehints.with_input_types(tuple[str, bytes])
@beam.typehints.with_output_types(tuple[str, bytes])
class _GatherFn(beam.DoFn):
    """Gathers in state, and writes within the bundle."""

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
        self._keep(key, size, gathered)
        drain.set(END_OF_INPUT)
        if not before:
            window.set(self._engine.now() + self._writer.window_seconds)
        self._wait_for_room()
        if size >= MAX_FILE_BYTES:
            yield from self._write(key, bag, gathered, window, drain)

    @on_timer(WINDOW)
    def window_is_over(
        self,
        key: Any = beam.DoFn.KeyParam,
        bag: Any = beam.DoFn.StateParam(BAG),
        gathered: Any = beam.DoFn.StateParam(GATHERED),
        window: Any = beam.DoFn.TimerParam(WINDOW),
        drain: Any = beam.DoFn.TimerParam(DRAIN),
    ) -> Iterator[Keyed]:
        if gathered.read():
            yield from self._write(key, bag, gathered, window, drain)

    @on_timer(DRAIN)
    def input_has_ended(
        self,
        key: Any = beam.DoFn.KeyParam,
        bag: Any = beam.DoFn.StateParam(BAG),
        gathered: Any = beam.DoFn.StateParam(GATHERED),
        window: Any = beam.DoFn.TimerParam(WINDOW),
    ) -> Iterator[Keyed]:
        window.clear()
        while parts := list(bag.read()):
            attempt = self._last_attempt(key, parts)
            if attempt.written is None:
                break
            yield from attempt.written.outputs
            self._take(key, attempt.written, parts[len(attempt.parts) :], bag, gathered)

    def finish_bundle(self) -> Iterator[Any]:
        for written in self._written:
            enter(self._worker, written.tally)
            self._worker.receipts.settle(written.tokens)
        return iter(())

    def _write(self, key: str, bag: Any, gathered: Any, window: Any, drain: Any) -> Iterator[Keyed]:
        """Write what is gathered, and have the timer come back for what is left of it."""
        attempt = self._attempt(key, bag)
        again_seconds = attempt.again_seconds
        if attempt.written is not None:
            yield from attempt.written.outputs
            left = list(bag.read())[len(attempt.parts) :]
            size = self._take(key, attempt.written, left, bag, gathered)
            if not size:
                window.clear()
                drain.clear()
                return
            is_full = size >= MAX_FILE_BYTES
            again_seconds = _LOOK_SECONDS if is_full else self._writer.window_seconds
        window.set(self._engine.now() + again_seconds)

    def _take(
        self, key: str, written: Written, left: Sequence[bytes], bag: Any, gathered: Any
    ) -> int:
        """Have state hold what is left; returns how many bytes that is."""
        self._written.append(written)
        bag.clear()
        for part in left:
            bag.add(part)
        size = sum(map(len, left))
        self._keep(key, size, gathered)
        return size

    def _keep(self, key: str, size: int, gathered: Any) -> None:  # noqa: ARG002
        """Remember how many bytes of a key state holds."""
        if size:
            gathered.write(_encode(_Gathered(1, size)))
        else:
            gathered.clear()

    def _wait_for_room(self) -> None:
        """Let something be written first, if too much is gathered."""

    def _attempt(self, key: str, bag: Any) -> _Attempt:
        """Write what is in the bag, or have the first of it written."""
        return self._try(key, list(bag.read()))

    def _last_attempt(self, key: str, parts: Sequence[bytes]) -> _Attempt:
        """The same where nobody will come back."""
        return self._try(key, parts)

    def _try(self, key: str, parts: Sequence[bytes]) -> _Attempt:
        try:
            return _Attempt(parts, self._writer.write(self._worker, key, parts))
        except StorageError as error:
            _logger.error("%s cannot be written and is kept: %s", key, error)
            return _Attempt(parts)


@with_known_signatures
class _GatherInBackgroundFn(_GatherFn):
    """Writes while the bundles go on: state keeps what is being written until it is."""

    def start_bundle(self) -> None:
        super().start_bundle()
        self._taken: dict[str, _Attempt] = {}
        """The writes whose end this bundle acts on: it may be retried, and do so again."""

    def finish_bundle(self) -> Iterator[Any]:
        nothing = super().finish_bundle()
        for name, attempt in self._taken.items():
            self._worker.background.collect(name, attempt)
        return nothing

    def _keep(self, key: str, size: int, gathered: Any) -> None:
        super()._keep(key, size, gathered)
        if size:
            self._worker.unwritten[self._name_of(key)] = size
        else:
            self._worker.unwritten.pop(self._name_of(key), None)

    def _wait_for_room(self) -> None:
        if sum(self._worker.unwritten.values()) > MAX_GATHERED_BYTES:
            self._worker.background.wait_for_oldest(_ROOM_SECONDS)

    def _attempt(self, key: str, bag: Any) -> _Attempt:
        name, background = self._name_of(key), self._worker.background
        if name in self._taken:
            return _Attempt(again_seconds=_LOOK_SECONDS)
        ended: _Attempt | None = background.outcome(name)
        if ended is not None and ended.written is None and _has_rested(ended):
            background.collect(name, ended)
        seconds = background.seconds(name)
        if seconds is None:
            parts = _of_one_file(list(bag.read()))
            background.begin(name, lambda: self._try_there(key, parts))
            ended = background.outcome_in_a_moment(name)
        if ended is not None and ended.written is not None:
            taken = self._take_up(name, ended, list(bag.read()))
            return taken or _Attempt(again_seconds=_LOOK_SECONDS)
        wait_seconds = max(_LOOK_SECONDS, min(seconds or 0, _SLOW_LOOK_SECONDS))
        return _Attempt(again_seconds=wait_seconds)

    def _last_attempt(self, key: str, parts: Sequence[bytes]) -> _Attempt:
        name = self._name_of(key)
        taken: _Attempt | None = None
        if name not in self._taken:
            taken = self._take_up(name, self._worker.background.outcome(name, None), parts)
        return taken or self._try(key, _of_one_file(parts))

    def _take_up(
        self, name: str, ended: _Attempt | None, parts: Sequence[bytes]
    ) -> _Attempt | None:
        """What was written, if it is the first of these parts; others must not be taken for written."""
        if ended is None or ended.written is None:
            return None
        self._taken[name] = ended
        is_of_these = list(parts[: len(ended.parts)]) == list(ended.parts)
        return ended if is_of_these else None

    def _name_of(self, key: str) -> str:
        return f"{self._writer.name} {key}"

    def _try_there(self, key: str, parts: Sequence[bytes]) -> _Attempt:
        try:
            return self._try(key, parts)
        except Exception as error:  # noqa: BLE001 - nobody would end the write; its text may hold an event
            _logger.error("%s is kept: a mistake, %s", key, type(error).__name__)
            return _Attempt(parts)


def _has_rested(failed: _Attempt) -> bool:
    """Whether what failed may be tried again."""
    return time.monotonic() - failed.ended >= _AGAIN_SECONDS


def _of_one_file(parts: Sequence[bytes]) -> Sequence[bytes]:
    """The first of these parts that make a file."""
    ends = itertools.accumulate(map(len, parts))
    whole = sum(1 for end in ends if end < MAX_FILE_BYTES)
    return parts[: whole + 1]
