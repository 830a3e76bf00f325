"""AttendLanes on an engine whose time a test advances: 48 hours of back-off in seconds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct import direct_runner
from apache_beam.runners.direct.clock import TestClock as EngineClock
from apache_beam.testing.test_stream import TestStream as EngineStream

from runtime.address import AddressPolicy
from runtime.hold.attendants import attendants_of
from runtime.hold.objects import HeldBatch
from runtime.hold.watch import Failure, encode_failure
from runtime.worker import Worker, WorkerSettings, close_worker, worker_of
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.samples import sample_events
from tests.pipeline.running import letters_in
from transforms.attend_lanes import ADOPT, AttendLanes
from transforms.engine import Engine

EVENTS = list(sample_events(300, seed=31))
BUSY = encode_failure(Failure("status_503", "try", 503))
MINUTE = 60
HOUR = 60 * MINUTE


class _Acts:
    """What the story does besides, on the engine's thread."""

    clock: EngineClock
    fault: Any
    sandbox: PartnerSandbox
    worker: Worker
    ahead_seconds: int
    result: Any


def story_time() -> float:
    return _Acts.clock.time()


def time_of_day_ms() -> int:
    return int((story_time() + _Acts.ahead_seconds) * 1_000)


class _ActFn(beam.DoFn):
    """Passes a notice on, has the partner healed, or puts the time of day back after a turn."""

    def process(self, element: tuple[str, bytes]) -> Iterator[tuple[str, bytes]]:
        if element[0] == "heal":
            _Acts.sandbox.set_fault("hook", None)
        elif element[0] == "put back":
            assert attendants_of(_Acts.worker).outcome("hook", wait_seconds=10) is not None
            _Acts.ahead_seconds = 0
        else:
            yield element


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    _Acts.clock = EngineClock()
    monkeypatch.setattr(direct_runner, "TestClock", lambda: _Acts.clock)
    with PartnerSandbox({"hook": PostbackSite()}) as sandbox:
        _Acts.sandbox = sandbox
        sandbox.set_fault("hook", Fault(status=503))
        connector = {"name": "hook", "kind": "postback", "url": sandbox.url("hook")}
        (tmp_path / "connectors.json").write_text(json.dumps({"connectors": [connector]}))
        settings = WorkerSettings(
            connectors=str(tmp_path / "connectors.json"),
            hold=str(tmp_path / "held"),
            dead_letters=str(tmp_path / "dead"),
            job="test",
            address_policy=AddressPolicy(allow_local=True),
        )
        made = worker_of(settings)
        made.now_ms = time_of_day_ms
        _Acts.worker, _Acts.ahead_seconds = made, 0
        yield made
        close_worker(settings)


def hold(worker: Worker) -> None:
    batch = HeldBatch(
        part="",
        oldest_ms=0,
        newest_ms=0,
        first_failed_ms=0,
        reason="status_503",
        blame="try",
        events=EVENTS,
    )
    worker.hold.put("hook", [batch])
    attendants_of(worker).wrote("hook")


def tell(worker: Worker, stream: Any) -> None:
    """Run the story; at the end of its input the lane is left."""
    options = PipelineOptions(["--runner=BundleBasedDirectRunner", "--streaming"])
    pipeline = beam.Pipeline(options=options)
    notices = pipeline | "Story" >> stream | "Act" >> beam.ParDo(_ActFn())
    notices = notices | "Typed" >> beam.Map(lambda x: x).with_output_types(tuple[str, bytes])
    _ = notices | "Attend" >> AttendLanes(
        worker.settings, Engine.DIRECT, story_time, patience_seconds=10
    )
    _Acts.result = pipeline.run()
    _Acts.result.wait_until_finish()


def begin() -> Any:
    return EngineStream(coder=FastPrimitivesCoder()).advance_watermark_to(0)


def passing(stream: Any, seconds: float, step: float) -> Any:
    for _ in range(int(seconds / step)):
        stream = stream.advance_processing_time(step)
    return stream


def letters(worker: Worker) -> list[Any]:
    return letters_in(Path(worker.settings.dead_letters))


def test_48_hours_of_back_off_end_in_dead_letters(worker: Worker) -> None:
    hold(worker)
    stream = begin().add_elements([("hook", BUSY)])
    tell(worker, passing(stream, 48 * HOUR + 20 * MINUTE, 10 * MINUTE))
    assert {letter["reason"] for letter in letters(worker)} == {"expired"}
    assert sorted(letter["event"] for letter in letters(worker)) == sorted(EVENTS)
    assert min(letter["buried_at"].timestamp() for letter in letters(worker)) >= 48 * HOUR
    assert 48 <= _Acts.sandbox.counts("hook").requests <= 48 * 6
    assert worker.hold.objects("hook") == []
    hook = worker.ledger.read().of("hook")
    assert (hook.held, dict(hook.dead)) == (-300, {"expired": 300})  # the test held them itself


def test_a_lane_that_is_adopted_is_tried_at_once_and_resumes_when_its_partner_is_back(
    worker: Worker,
) -> None:
    hold(worker)
    stream = passing(begin().add_elements([("hook", ADOPT)]), 10 * HOUR, 10 * MINUTE)
    stream = stream.add_elements([("heal", b"")])
    tell(worker, passing(stream, HOUR, 10 * MINUTE))
    assert len(_Acts.sandbox.accepted_ids("hook")) == 300
    assert letters(worker) == []
    assert worker.suspensions.state_of("hook") is None


def test_a_clock_that_is_put_back_between_a_turn_and_the_look_at_it_does_not_stop_the_lane(
    worker: Worker,
) -> None:
    _Acts.ahead_seconds = 10 * HOUR
    hold(worker)
    stream = begin().add_elements([("hook", ADOPT)]).add_elements([("put back", b"")])
    tell(worker, passing(stream, HOUR, 10 * MINUTE))
    assert _Acts.sandbox.counts("hook").requests >= 3


def test_at_the_end_of_input_what_is_held_stays_and_the_lane_is_free_for_others(
    worker: Worker,
) -> None:
    hold(worker)
    stream = passing(begin().add_elements([("hook", BUSY)]), HOUR, 10 * MINUTE)
    tell(worker, stream)
    assert len(worker.hold.objects("hook")) == 1
    assert not attendants_of(worker).attends("hook")
    status = json.loads((Path(worker.settings.hold) / "status" / "hook.json").read_text())
    assert (status["state"], status["attended_by"]) == ("suspended", "")


def test_lanes_that_come_and_go_leave_neither_state_nor_timers(worker: Worker) -> None:
    notices = [(f"gone-{number}", BUSY) for number in range(1_000)]
    tell(worker, passing(begin().add_elements(notices), 10 * MINUTE, 30))
    states = _Acts.result._evaluation_context._transform_keyed_states
    (kept,) = (kept for step, kept in states.items() if step.full_label == "Attend/Attend")
    left = [
        key
        for key, lane in kept.items()
        if any(lane.timers.values()) or any(any(tags.values()) for tags in lane.state.values())
    ]
    assert left == []
    assert not any(attendants_of(worker).attends(lane) for lane, _ in notices)
