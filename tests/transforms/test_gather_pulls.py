"""GatherPulls on an engine whose time a test advances: when pulls leave, and what is in them."""

from typing import Any, NamedTuple

import apache_beam as beam
import pytest
from apache_beam.coders import BytesCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct import direct_runner
from apache_beam.runners.direct.clock import TestClock as EngineClock
from apache_beam.testing.test_stream import TestStream as EngineStream

from schemas.pull import Pull, decode_pull, encode_pull, merge_pulls
from transforms import gather_pulls
from transforms.engine import Engine
from transforms.gather_pulls import TARGET_BYTES, WINDOW_SECONDS, GatherPulls

HOUR_MS = 3_600_000
NOW_MS = 500_000 * HOUR_MS
STEP_SECONDS = 0.25


class Left(NamedTuple):
    at: float
    pull: Pull


class _Stage:
    clock: EngineClock
    seen: list[Left]


def story_time() -> float:
    return _Stage.clock.time()


class _SeeFn(beam.DoFn):
    def process(self, encoded: bytes) -> None:
        _Stage.seen.append(Left(story_time(), decode_pull(encoded)))


@pytest.fixture(autouse=True)
def _engine_time(monkeypatch: pytest.MonkeyPatch) -> None:
    _Stage.clock, _Stage.seen = EngineClock(), []
    monkeypatch.setattr(direct_runner, "TestClock", lambda: _Stage.clock)
    monkeypatch.setattr(gather_pulls, "SHARDS", 1)


def one(message: bytes, at_ms: int = NOW_MS) -> bytes:
    return encode_pull(Pull(at_ms, at_ms, [message]))


def new_stream() -> Any:
    return EngineStream(coder=BytesCoder()).advance_watermark_to(0)


def wait(stream: Any, seconds: float) -> Any:
    for _ in range(int(seconds / STEP_SECONDS)):
        stream = stream.advance_processing_time(STEP_SECONDS)
    return stream


def tell(stream: Any) -> list[Left]:
    options = PipelineOptions(["--runner=BundleBasedDirectRunner", "--streaming"])
    with beam.Pipeline(options=options) as pipeline:
        pulls = pipeline | stream | "Typed" >> beam.Map(bytes).with_output_types(bytes)
        gathered = pulls | "GatherPulls" >> GatherPulls(Engine.DISTRIBUTED, story_time)
        _ = gathered | beam.ParDo(_SeeFn())
    return _Stage.seen


def messages_of(left: list[Left]) -> list[bytes]:
    return sorted(message for one in left for message in one.pull.messages)


def test_messages_that_come_within_a_second_are_one_pull() -> None:
    stream = new_stream()
    for number in range(4):
        stream = wait(stream.add_elements([one(b"%d" % number, NOW_MS + number)]), STEP_SECONDS)
    (left,) = tell(wait(stream, 2))
    assert left.pull == Pull(NOW_MS, NOW_MS + 3, [b"0", b"1", b"2", b"3"])
    assert left.at == pytest.approx(WINDOW_SECONDS, abs=STEP_SECONDS)


def test_a_megabyte_leaves_at_once_and_what_follows_waits_for_its_own_second() -> None:
    half = TARGET_BYTES // 2
    stream = new_stream().add_elements([one(b"a" * half)]).add_elements([one(b"b" * half)])
    stream = wait(wait(stream, 0.5).add_elements([one(b"c")]), 3)
    large, small = tell(stream)
    assert (large.at, [len(message) for message in large.pull.messages]) == (0, [half, half])
    assert small.pull.messages == [b"c"]
    assert small.at == pytest.approx(0.5 + WINDOW_SECONDS, abs=STEP_SECONDS)


def test_what_waits_leaves_when_the_input_has_ended() -> None:
    left = tell(new_stream().add_elements([one(b"a"), one(b"b")]))
    assert messages_of(left) == [b"a", b"b"]


def test_a_pull_is_of_one_hour_of_publishing() -> None:
    times = [NOW_MS, NOW_MS + HOUR_MS - 1, NOW_MS + HOUR_MS]
    stream = new_stream().add_elements([one(b"%d" % at, at) for at in times])
    left = tell(wait(stream, 2))
    assert sorted(one.pull.messages for one in left) == [
        [b"%d" % NOW_MS, b"%d" % (NOW_MS + HOUR_MS - 1)],
        [b"%d" % (NOW_MS + HOUR_MS)],
    ]


@pytest.mark.parametrize("shards", [1, 4])
def test_nothing_is_lost_or_doubled_and_no_pull_is_much_over_its_target(
    monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    monkeypatch.setattr(gather_pulls, "SHARDS", shards)
    sent = [b"%05d" % number + b"x" * (number % 7) * 10_000 for number in range(300)]
    stream = new_stream()
    for start in range(0, 300, 10):
        stream = stream.add_elements([one(message) for message in sent[start : start + 10]])
    left = tell(wait(stream, 2))
    assert messages_of(left) == sorted(sent)
    assert max(sum(map(len, one.pull.messages)) for one in left) < 2 * TARGET_BYTES
    assert len(left) < 40


def test_merging_keeps_messages_in_order_and_the_times_of_the_oldest_and_newest() -> None:
    pulls = [Pull(NOW_MS + 5, NOW_MS + 9, [b"a", b"b"]), Pull(NOW_MS + 1, NOW_MS + 2, [b"c"])]
    assert merge_pulls(pulls) == [Pull(NOW_MS + 1, NOW_MS + 9, [b"a", b"b", b"c"])]
    assert merge_pulls([]) == []
