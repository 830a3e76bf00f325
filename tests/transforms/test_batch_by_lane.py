"""BatchByLane on an engine whose time a test advances: when batches leave, and what stays behind."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import pytest
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct import direct_runner
from apache_beam.runners.direct.clock import TestClock as EngineClock
from apache_beam.testing.test_stream import TestStream as EngineStream

from runtime.batching import LARGE_BYTES, LARGE_WINDOW_SECONDS, LOOK_SECONDS, RATE_LIMIT
from runtime.receipts import MAX_OUTSTANDING_MESSAGES
from runtime.worker import Worker, WorkerSettings, close_worker, worker_of
from schemas.batch import Batch, encode_batch, make_batch
from transforms.batch_by_lane import BatchByLane
from transforms.engine import Engine
from transforms.lane_batches import LaneBatch

STEP_SECONDS = 0.25
"""How far the engine's time moves between two looks at its timers."""

Act = Callable[[], tuple[str, bytes] | None]


class Left(NamedTuple):
    """A batch that has left."""

    at: float
    key: str
    batch: Batch


class _Stage:
    """What the steps of the running story share with the test; they run in its process."""

    clock: EngineClock
    acts: Sequence[Act] = ()
    seen: list[Left]
    result: Any
    started: threading.Event


def story_time() -> float:
    return _Stage.clock.time()


class _ActFn(beam.DoFn):
    def process(self, number: int) -> Iterator[tuple[str, bytes]]:
        found = _Stage.acts[number]()
        if found is not None:
            yield found


class _SeeFn(beam.DoFn):
    def process(self, element: LaneBatch) -> None:
        _Stage.seen.append(Left(story_time(), *element))


def fragment(key: str, count: int, size: int = 10) -> tuple[str, bytes]:
    return key, encode_batch(make_batch([b"x" * size] * count, 0, 0))


class Story:
    """What happens to some lanes, in order, with a time that passes in it alone."""

    def __init__(self, settings: WorkerSettings, engine: Engine) -> None:
        self.worker: Worker = worker_of(settings)
        self._settings = settings
        self._engine = engine
        self._stream = EngineStream(coder=FastPrimitivesCoder()).advance_watermark_to(0)
        self._acts: list[Act] = []

    def does(self, *acts: Act) -> None:
        """Have something done."""
        numbers = range(len(self._acts), len(self._acts) + len(acts))
        self._acts += acts
        self._stream = self._stream.add_elements(list(numbers))

    def adds(self, key: str, count: int, size: int = 10) -> None:
        """Let a fragment of `count` events of `size` bytes come."""
        self.does(lambda: fragment(key, count, size))

    def waits(self, seconds: float) -> None:
        for _ in range(int(seconds / STEP_SECONDS)):
            self._stream = self._stream.advance_processing_time(STEP_SECONDS)

    def tell(self) -> list[Left]:
        """The batches in the order in which they leave; at the end of input those of its hook."""
        _Stage.acts, _Stage.seen, _Stage.started = self._acts, [], threading.Event()
        options = PipelineOptions(["--runner=BundleBasedDirectRunner", "--streaming"])
        pipeline = beam.Pipeline(options=options)
        fragments = pipeline | "Story" >> self._stream | "Act" >> beam.ParDo(_ActFn())
        batches = fragments | "Batch" >> BatchByLane(self._settings, self._engine, story_time)
        _ = batches | "See" >> beam.ParDo(_SeeFn())
        _Stage.result = pipeline.run()
        _Stage.started.set()
        _Stage.result.wait_until_finish()
        return _Stage.seen


CONNECTORS = [
    {"name": "free", "kind": "postback", "url": "https://free.example.com/"},
    {"name": "slow", "kind": "postback", "url": "https://slow.example.com/", "rate_limit": 1},
    {"name": "paused", "kind": "postback", "url": "https://p.example.com/", "paused": True},
]
FREE, SLOW, PAUSED = "free/0/", "slow/0/", "paused/0/"
WINDOW_SECONDS = 10
FULL = 100
"""Events that make a batch of a postback full."""

Tell = Callable[..., Story]


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tell]:
    (tmp_path / "connectors.json").write_text(json.dumps({"connectors": CONNECTORS}))
    settings = WorkerSettings(
        connectors=str(tmp_path / "connectors.json"),
        hold=str(tmp_path / "held"),
        dead_letters=str(tmp_path / "dead"),
    )
    _Stage.clock = EngineClock()
    monkeypatch.setattr(direct_runner, "TestClock", lambda: _Stage.clock)
    yield lambda engine=Engine.DISTRIBUTED: Story(settings, engine)
    close_worker(settings)


def press(story: Story, share: float) -> Act:
    """Have so much read and not acknowledged: a share of what may be."""
    messages = int(MAX_OUTSTANDING_MESSAGES * share) + 1

    def act() -> None:
        story.worker.receipts.issue(messages, 1, lambda: None)

    return act


def left_behind() -> list[Any]:
    """The lanes of which the engine keeps state or timers."""
    _Stage.started.wait(10)
    states = _Stage.result._evaluation_context._transform_keyed_states
    (kept,) = (kept for step, kept in states.items() if step.full_label == "Batch/Gather")
    return [
        key
        for key, lane in kept.items()
        if any(lane.timers.values()) or any(any(tags.values()) for tags in lane.state.values())
    ]


def times(told: Sequence[Left]) -> list[float]:
    return [left.at for left in told]


def counts(told: Sequence[Left]) -> list[int]:
    return [left.batch.count for left in told]


def reasons(told: Sequence[Left]) -> set[str]:
    return {left.batch.hold_reason for left in told}


def test_a_lane_without_a_limit_leaves_when_it_is_full_or_its_window_is_over(story: Tell) -> None:
    told = story()
    told.adds(FREE, 60)
    told.waits(1)
    told.adds(FREE, 60)
    told.adds(FREE, 60)
    told.waits(WINDOW_SECONDS + 1)
    full, late = told.tell()
    assert (full.at, full.batch.count) == (1, 120)
    assert (late.at, late.batch.count) == (1 + WINDOW_SECONDS, 60)


def test_full_batches_leave_at_the_rate_of_their_connector_and_wait_meanwhile(story: Tell) -> None:
    told = story()
    for _ in range(5):
        told.adds(SLOW, FULL)
    told.waits(6)
    left = told.tell()
    assert counts(left) == [FULL] * 5
    assert reasons(left) == {""}
    assert times(left) == [0, 1.25, 2.5, 3.75, 5]  # a second each, and up to a step


def test_a_batch_pays_for_every_request_that_it_makes(story: Tell) -> None:
    told = story()
    told.adds(SLOW, 5 * FULL)
    told.adds(SLOW, FULL)
    told.waits(6)
    assert times(told.tell()) == [0, 5]


def test_a_limit_makes_no_lane_wait_that_keeps_to_it(story: Tell) -> None:
    told = story()
    for _ in range(3):
        told.adds(SLOW, FULL)
        told.waits(2)
    told.adds(FREE, FULL)
    assert times(told.tell()) == [0, 2, 4, 6]


def test_a_lane_has_half_of_its_share_while_its_queue_in_the_hold_is_released(story: Tell) -> None:
    told = story()
    told.does(lambda: told.worker.suspensions.mark("slow", "resuming"))
    for _ in range(3):
        told.adds(SLOW, FULL)
    told.waits(6)
    assert times(told.tell()) == [0, 2.25, 4.5]


def test_over_rate_a_lane_does_not_wait_where_that_would_press_the_others(story: Tell) -> None:
    told = story(Engine.DIRECT)
    for _ in range(3):
        told.adds(SLOW, FULL)
    told.does(press(told, 1 / 2))
    told.adds(SLOW, 1)
    told.waits(2)
    sent, held = told.tell()
    assert (sent.at, sent.batch.count, sent.batch.hold_reason) == (0, FULL, "")
    assert (held.at, held.batch.count, held.batch.hold_reason) == (0, 2 * FULL + 1, RATE_LIMIT)


def test_over_rate_a_lane_gathers_no_more_than_a_large_batch(story: Tell) -> None:
    told = story()
    for _ in range(12):
        told.adds(SLOW, 50, 20_000)
    left = told.tell()
    assert sum(counts(left)) == 600
    sent, overflow, rest = left
    assert (sent.batch.count, sent.batch.hold_reason) == (50, "")
    assert overflow.batch.hold_reason == RATE_LIMIT
    assert LARGE_BYTES - 50 * 20_001 < overflow.batch.size <= LARGE_BYTES
    assert rest.batch.hold_reason == RATE_LIMIT  # at the end of input


def test_the_end_of_input_lets_everything_out_at_once(story: Tell) -> None:
    told = story()
    for key in (FREE, SLOW, PAUSED):
        told.adds(key, 3)
    told.waits(1)
    for _ in range(4):
        told.adds(SLOW, FULL)
    left = told.tell()
    assert sorted((one.key, one.batch.count, one.batch.hold_reason) for one in left) == [
        (FREE, 3, ""),
        (PAUSED, 3, ""),
        (SLOW, 103, ""),
        (SLOW, 300, RATE_LIMIT),
    ]
    assert set(times(left)) == {1}


@pytest.mark.parametrize("engine", [Engine.DIRECT, Engine.DISTRIBUTED])
@pytest.mark.parametrize("suspended", [SLOW, FREE])
def test_what_a_suspended_lane_gathers_for_the_hold_is_large(
    suspended: str, engine: Engine, story: Tell
) -> None:
    told = story(engine)
    told.does(lambda: told.worker.suspensions.mark(suspended.partition("/")[0], "suspended"))
    for _ in range(4):
        told.adds(suspended, 100, 2_000)
    told.waits(2)
    for _ in range(10):
        told.adds(suspended, 100, 10_000)
    told.waits(LARGE_WINDOW_SECONDS)
    full, late = told.tell()
    assert (full.at, full.batch.count) == (2, 1_100)
    assert 7_000_000 < full.batch.size <= LARGE_BYTES
    assert (late.at, late.batch.count) == (2 + LARGE_WINDOW_SECONDS, 300)
    assert reasons([full, late]) == {""}  # why it is held, delivery knows


def test_a_paused_connector_gathers_like_a_suspended_lane(story: Tell) -> None:
    told = story()
    told.adds(PAUSED, FULL)
    told.waits(LARGE_WINDOW_SECONDS + 1)
    assert times(told.tell()) == [LARGE_WINDOW_SECONDS]


def test_a_suspended_lane_gives_way_before_it_presses_the_others(story: Tell) -> None:
    told = story(Engine.DIRECT)
    told.does(lambda: told.worker.suspensions.mark("slow", "suspended"))
    told.adds(SLOW, 3)
    told.adds(FREE, 3)
    told.waits(1)
    told.does(press(told, 1 / 4))
    told.waits(WINDOW_SECONDS)
    assert [(left.key, left.at) for left in told.tell()] == [
        (SLOW, LOOK_SECONDS),
        (FREE, WINDOW_SECONDS),
    ]


@pytest.mark.parametrize("engine", [Engine.DIRECT, Engine.DISTRIBUTED])
@pytest.mark.parametrize(("resumes_at", "leaves_at"), [(2, 5), (31, 35)])
def test_what_a_lane_gathered_for_the_hold_leaves_soon_after_it_resumes(
    resumes_at: int, leaves_at: int, engine: Engine, story: Tell
) -> None:
    told = story(engine)
    told.does(lambda: told.worker.suspensions.mark("free", "suspended"))
    told.adds(FREE, 3)
    told.waits(resumes_at)
    told.does(lambda: told.worker.suspensions.mark("free", "resuming"))
    told.waits(LOOK_SECONDS)
    assert times(told.tell()) == [leaves_at]


def test_ten_thousand_lanes_leave_neither_state_nor_timers(story: Tell) -> None:
    behind: list[int] = []
    told = story()
    look: Act = lambda: behind.append(len(left_behind()))  # noqa: E731
    told.does(*(lambda key=f"slow/0/{n}": fragment(key, 3) for n in range(10_000)))
    told.does(look)
    told.waits(WINDOW_SECONDS + 2 * STEP_SECONDS)
    told.does(look)
    told.waits(LOOK_SECONDS)
    told.does(look)
    assert counts(told.tell()) == [3] * 10_000
    assert behind == [10_000, 10_000, 0]  # first a batch, then a bucket, then nothing


def test_a_lane_that_is_still_in_debt_keeps_its_bucket_until_it_is_paid(story: Tell) -> None:
    behind: list[int] = []
    told = story()
    told.adds(SLOW, 10 * FULL)
    for _ in range(2):
        told.waits(9)
        told.does(lambda: behind.append(len(left_behind())))
    assert times(told.tell()) == [0]
    assert behind == [1, 0]
