"""What is held and buried on DirectRunner is written beside its one thread: a slow disk stops nobody."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.cloud import pubsub_v1

from runtime import background
from runtime.hold.directory import HoldQueue
from runtime.ledger import Tally
from runtime.storage import StorageError
from runtime.worker import Worker, WorkerSettings, close_worker, worker_of
from sandbox.partners import PartnerSandbox
from sandbox.pubsub import EmbeddedPubSub
from sandbox.samples import sample_events
from tests.pipeline.running import SUBSCRIPTION, eventually, held_events, ids_of, publish
from tests.transforms.streaming_run import StreamingRun, balanced, postbacks, streaming_run
from transforms import gather_and_write
from transforms.engine import Engine
from transforms.gather_and_write import FileWriter, Written

EVENTS = list(sample_events(300, seed=9))


@pytest.fixture
def run(
    pubsub: EmbeddedPubSub,  # noqa: ARG001 - it has to be there
    publisher: pubsub_v1.PublisherClient,  # noqa: ARG001
    hook_and_down: PartnerSandbox,
    tmp_path: Path,
) -> Iterator[StreamingRun]:
    with streaming_run(tmp_path, postbacks(hook_and_down)) as running:
        yield running


class SlowDisk:
    """A disk that flushes nothing until it is let."""

    def __init__(self, flush: Callable[[int], None]) -> None:
        self._flush = flush
        self._may_go_on = threading.Event()
        self.waiting = 0

    def fsync(self, handle: int) -> None:
        self.waiting += not self._may_go_on.is_set()
        assert self._may_go_on.wait(60)
        self._flush(handle)

    def go_on(self) -> None:
        self._may_go_on.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    slow = SlowDisk(os.fsync)
    monkeypatch.setattr(os, "fsync", slow.fsync)
    yield slow
    slow.go_on()


def test_a_slow_disk_stops_no_other_lane(
    disk: SlowDisk,
    run: StreamingRun,
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    hook_and_down: PartnerSandbox,
    tmp_path: Path,
) -> None:
    publish(publisher, [*EVENTS[:100], b"no event"])
    assert eventually(lambda: disk.waiting >= 2)  # what is held, and what is buried
    publish(publisher, EVENTS[100:])
    assert eventually(lambda: len(hook_and_down.accepted_ids("hook")) == 300)
    assert pubsub.acknowledged(SUBSCRIPTION) == 0
    disk.go_on()
    assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 301)
    run.end()
    assert sorted(hook_and_down.accepted_ids("hook")) == sorted(ids_of(EVENTS))
    assert sorted(ids_of(held_events(tmp_path, "down"))) == sorted(ids_of(EVENTS))
    assert balanced(run)


def test_a_run_that_ends_waits_for_what_is_being_written(
    disk: SlowDisk,
    run: StreamingRun,
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    hook_and_down: PartnerSandbox,
    tmp_path: Path,
) -> None:
    publish(publisher, EVENTS[:100])
    assert eventually(lambda: disk.waiting >= 1)
    publish(publisher, EVENTS[100:200])
    assert eventually(lambda: len(hook_and_down.accepted_ids("hook")) == 200)
    ending = threading.Thread(target=run.end)
    ending.start()
    disk.go_on()
    ending.join(60)
    assert not ending.is_alive()
    assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 200)
    assert sorted(ids_of(held_events(tmp_path, "down"))) == sorted(ids_of(EVENTS[:200]))
    assert balanced(run)


def test_what_gathers_while_a_file_is_written_goes_to_further_files(
    monkeypatch: pytest.MonkeyPatch,
    disk: SlowDisk,
    run: StreamingRun,
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(gather_and_write, "MAX_FILE_BYTES", 30_000)
    for begin in range(0, 300, 20):
        publish(publisher, EVENTS[begin : begin + 20])
    assert eventually(lambda: disk.waiting >= 1)
    disk.go_on()
    assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 300)
    run.end()
    assert sorted(ids_of(held_events(tmp_path, "down"))) == sorted(ids_of(EVENTS))
    assert len(list((tmp_path / "held" / "queue" / "down").iterdir())) > 1
    assert balanced(run)


@pytest.mark.parametrize("error", [StorageError("storage", "not today"), RuntimeError("a mistake")])
def test_what_raises_there_is_tried_again_and_counted_once(
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    run: StreamingRun,
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    tmp_path: Path,
) -> None:
    errors = [error, error]
    put_all = HoldQueue.put_all

    def put(queue: HoldQueue, *arguments: Any) -> None:
        if errors:
            raise errors.pop()
        put_all(queue, *arguments)

    monkeypatch.setattr(HoldQueue, "put_all", put)
    publish(publisher, EVENTS)
    assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 300)
    run.end()
    assert sorted(ids_of(held_events(tmp_path, "down"))) == sorted(ids_of(EVENTS))
    assert balanced(run)


class Bag(list[bytes]):
    """An engine's state, which a bundle that fails leaves as it was."""

    add = list.append

    def read(self) -> list[bytes]:
        return list(self)


class Cell:
    content: bytes | None = None

    def read(self) -> bytes | None:
        return self.content

    def write(self, content: bytes) -> None:
        self.content = content

    def clear(self) -> None:
        self.content = None


class Timer:
    due: float | None = None

    def set(self, due: float) -> None:
        self.due = due

    def clear(self) -> None:
        self.due = None

    @property
    def is_set(self) -> bool:
        return self.due is not None

    @property
    def seconds(self) -> float:
        assert self.due is not None
        return self.due - Engine.DIRECT.now()


class Files(FileWriter):
    """Keeps what it is to write, when it is let."""

    name = "kept"
    window_seconds = 1

    def __init__(self) -> None:
        self.files: list[list[bytes]] = []
        self.may_go_on = threading.Event()
        self.tries = 0
        self.errors: list[Exception] = []

    def write(self, worker: Worker, key: str, parts: Sequence[bytes]) -> Written:  # noqa: ARG002
        self.tries += 1
        assert self.may_go_on.wait(10)
        if self.errors:
            raise self.errors.pop()
        self.files.append(list(parts))
        tally = Tally()
        tally.of(key).held += len(parts)
        return Written(tally, (), [(key, part) for part in parts])


class Step:
    """The step for one key, bundle by bundle, as an engine calls it."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.writer = Files()
        self.bag, self.gathered, self.window, self.drain = Bag(), Cell(), Timer(), Timer()
        self._step = gather_and_write._GatherInBackgroundFn(
            worker.settings, Engine.DIRECT, self.writer
        )
        self._step.setup()

    def bundle(
        self, *parts: bytes, timer: bool = False, end: bool = False, fails: bool = False
    ) -> list[bytes]:
        """What flows on from a bundle that brings these parts, and then a timer."""
        before = list(self.bag), self.gathered.content
        state = self.bag, self.gathered, self.window
        self._step.start_bundle()
        found = [
            output
            for part in parts
            for output in self._step.process(("hook", part), *state, self.drain)
        ]
        if timer:
            found += self._step.window_is_over("hook", *state, self.drain)
        if end:
            found += self._step.input_has_ended("hook", *state)
        if fails:
            self.bag[:], self.gathered.content = before
            return []
        self._step.finish_bundle()
        return [part for _, part in found]

    def write(self) -> None:
        """Let what is being written be written, and wait until it is."""
        self.writer.may_go_on.set()
        assert self.worker.background.outcome("kept hook", wait_seconds=10) is not None
        self.writer.may_go_on.clear()

    @property
    def held(self) -> int:
        return self.worker.ledger.read().of("hook").held


@pytest.fixture
def step(tmp_path: Path) -> Iterator[Step]:
    (tmp_path / "connectors.json").write_text('{"connectors": []}')
    settings = WorkerSettings(str(tmp_path / "connectors.json"), str(tmp_path), str(tmp_path))
    made = Step(worker_of(settings))
    yield made
    made.writer.may_go_on.set()
    close_worker(settings)


def test_a_bundle_that_is_retried_finds_what_was_written(step: Step) -> None:
    step.bundle(b"a", b"b")
    assert step.bundle(timer=True) == []
    step.write()
    step.bundle(timer=True, fails=True)
    assert step.bundle(timer=True) == [b"a", b"b"]
    assert step.bundle(timer=True) == []
    assert (step.writer.files, step.held) == ([[b"a", b"b"]], 2)
    assert not step.window.is_set
    assert not step.drain.is_set


def test_what_has_come_meanwhile_stays(step: Step) -> None:
    step.bundle(b"a")
    step.bundle(timer=True)
    step.bundle(b"b")
    step.write()
    assert step.bundle(b"c", timer=True) == [b"a"]
    assert (step.bag, step.window.is_set, step.drain.is_set) == ([b"b", b"c"], True, True)
    step.bundle(timer=True)
    step.write()
    assert step.bundle(timer=True) == [b"b", b"c"]
    assert (step.writer.files, step.held) == ([[b"a"], [b"b", b"c"]], 3)


def test_a_write_is_taken_once_in_a_bundle(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_and_write, "MAX_FILE_BYTES", 2)
    step.bundle(b"aa", b"aa")
    step.write()
    assert step.bundle(b"bb", b"bb", timer=True) == [b"aa"]
    assert (step.bag, step.held) == ([b"aa", b"bb", b"bb"], 1)


def test_parts_that_are_others_than_those_written_are_written(step: Step) -> None:
    step.bundle(b"a", timer=True, fails=True)
    step.write()
    assert step.bundle(b"b", timer=True) == []
    assert step.bundle(timer=True) == []
    step.write()
    assert step.bundle(timer=True) == [b"b"]
    assert (step.writer.files, step.held) == ([[b"a"], [b"b"]], 1)


def test_the_end_waits_for_what_is_being_written_and_writes_the_rest(step: Step) -> None:
    step.bundle(b"a")
    step.bundle(timer=True)
    step.bundle(b"b")
    step.writer.may_go_on.set()
    assert step.bundle(end=True) == [b"a", b"b"]
    assert (step.writer.files, step.held) == ([[b"a"], [b"b"]], 2)


def test_the_end_in_the_bundle_that_takes_a_write_writes_the_rest(step: Step) -> None:
    step.bundle(b"a")
    step.bundle(timer=True)
    step.writer.may_go_on.set()
    step.worker.background.outcome("kept hook", wait_seconds=10)
    assert step.bundle(b"b", timer=True, end=True) == [b"a", b"b"]
    assert (step.writer.files, step.held) == ([[b"a"], [b"b"]], 2)


def test_a_file_is_no_larger_than_it_may_be_and_the_next_follows_at_once(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather_and_write, "MAX_FILE_BYTES", 3)
    step.writer.window_seconds = 60
    step.bundle(b"aa", b"bb", b"cc", b"dd", b"e")
    step.write()
    assert step.bundle(timer=True) == [b"aa", b"bb"]
    assert step.window.seconds < 1
    step.bundle(timer=True)
    step.write()
    assert step.bundle(timer=True) == [b"cc", b"dd"]
    assert 50 < step.window.seconds <= 60
    step.writer.may_go_on.set()
    assert step.bundle(end=True) == [b"e"]
    assert step.writer.files == [[b"aa", b"bb"], [b"cc", b"dd"], [b"e"]]


@pytest.mark.parametrize("error", [StorageError("storage", "not today"), RuntimeError("a mistake")])
def test_what_failed_is_not_tried_again_at_once(
    error: Exception, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    step.writer.errors = [error]
    step.bundle(b"a", timer=True)
    step.write()
    for _ in range(5):
        assert step.bundle(timer=True) == []
    assert step.writer.tries == 1
    monkeypatch.setattr(gather_and_write, "_AGAIN_SECONDS", 0)
    step.bundle(timer=True)
    step.write()
    assert step.bundle(timer=True) == [b"a"]
    assert (step.writer.tries, step.held) == (2, 1)


def test_the_end_tries_again_what_has_failed_before(step: Step) -> None:
    step.writer.errors = [StorageError("storage", "not today")]
    step.bundle(b"a", timer=True)
    step.write()
    step.writer.may_go_on.set()
    assert step.bundle(b"b", end=True) == [b"a", b"b"]
    assert (step.writer.files, step.held) == ([[b"a", b"b"]], 2)


def test_a_mistake_at_the_end_is_loud(step: Step) -> None:
    step.writer.errors = [RuntimeError("a mistake"), RuntimeError("a mistake")]
    step.bundle(b"a", timer=True)
    step.write()
    step.writer.may_go_on.set()
    with pytest.raises(RuntimeError, match="a mistake"):
        step.bundle(end=True)


def test_what_comes_when_the_end_has_come_is_looked_after(step: Step) -> None:
    step.writer.errors = [StorageError("storage", "not today")]
    step.writer.may_go_on.set()
    step.bundle(b"a", end=True)
    step.drain.clear()
    step.bundle(b"b")
    assert step.drain.is_set
    assert step.bundle(end=True) == [b"a", b"b"]


def test_a_write_that_takes_its_time_is_looked_at_less_often(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    step.bundle(b"a", timer=True)
    assert step.window.seconds <= 0.05
    monkeypatch.setattr(step.worker.background, "seconds", lambda _: 30.0)
    step.bundle(timer=True)
    assert 0.5 < step.window.seconds <= 1.0


def test_what_is_gathered_waits_for_room_while_a_write_takes_its_time(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather_and_write, "MAX_GATHERED_BYTES", 2)
    monkeypatch.setattr(gather_and_write, "_ROOM_SECONDS", 10)
    step.bundle(b"aa", timer=True)
    threading.Timer(0.1, step.writer.may_go_on.set).start()
    step.bundle(b"b")
    assert step.writer.files == [[b"aa"]]
    assert step.worker.unwritten == {"kept hook": 3}
    step.bundle(end=True)
    assert step.worker.unwritten == {}


def test_what_is_written_at_once_is_taken_at_once(step: Step) -> None:
    step.writer.may_go_on.set()
    assert step.bundle(b"a", b"b", timer=True) == [b"a", b"b"]
    assert (step.bag, step.held, step.worker.unwritten) == ([], 2, {})


def test_after_a_write_that_takes_its_time_nobody_waits_for_a_while(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    step.bundle(b"a", timer=True)  # waits for a moment, in vain
    step.write()
    assert step.bundle(timer=True) == [b"a"]
    monkeypatch.setattr(background, "MOMENT_SECONDS", 60)
    assert step.bundle(b"b", timer=True) == []
    step.write()
    assert step.bundle(timer=True) == [b"b"]
    step.worker.background._slow_until = 0
    step.writer.may_go_on.set()
    assert step.bundle(b"c", timer=True) == [b"c"]
