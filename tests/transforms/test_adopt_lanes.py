"""A lane that is orphaned while a job runs is adopted by it, on the whole streaming graph."""

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud import pubsub_v1

from runtime.clock import now_ms, rfc3339
from runtime.hold.directory import HoldQueue
from runtime.hold.lane_statuses import write_status
from runtime.hold.objects import HeldBatch
from sandbox.partners import PartnerSandbox, PostbackSite
from sandbox.samples import sample_events
from schemas.lane_status import LaneStatus
from tests.pipeline.running import eventually, ids_of, publish
from tests.transforms.streaming_run import postbacks, streaming_run
from transforms import adopt_lanes

EVENTS = list(sample_events(20, seed=6))
LOOK_SECONDS = 0.5


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopt_lanes, "LOOK_SECONDS", LOOK_SECONDS)


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite(), "busy": PostbackSite()}) as running:
        yield running


def leave_lane(folder: Path, attended_by: str) -> None:
    """What another job has held, and says that it attends."""
    at = now_ms()
    HoldQueue(str(folder / "held")).put(
        "hook",
        [
            HeldBatch(
                part="",
                oldest_ms=at,
                newest_ms=at,
                first_failed_ms=at,
                reason="status_503",
                events=EVENTS,
            )
        ],
    )
    attend(folder, attended_by)


def attend(folder: Path, attended_by: str) -> None:
    status = LaneStatus(
        lane="hook",
        connector="hook",
        state="suspended",
        reason="status_503",
        since=rfc3339(now_ms()),
        attended_by=attended_by,
        attended_at=rfc3339(now_ms()),
    )
    write_status(str(folder / "held"), status)


@pytest.mark.usefixtures("pubsub")
def test_what_another_job_left_while_we_run_is_found_and_delivered(
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    leave_lane(tmp_path, attended_by="elsewhere-1-abc")
    with streaming_run(tmp_path, postbacks(sandbox)) as run:
        fresh = {**json.loads(EVENTS[0]), "id": "fresh"}
        publish(publisher, [json.dumps(fresh).encode()])
        assert eventually(lambda: "fresh" in sandbox.accepted_ids("busy"))
        assert eventually(lambda: caplog.text.count("elsewhere-1-abc") >= 2)
        assert "fresh" in sandbox.accepted_ids("hook")
        assert not set(ids_of(EVENTS)) & set(sandbox.accepted_ids("hook"))
        attend(tmp_path, attended_by="")  # the other job has ended
        assert eventually(lambda: set(ids_of(EVENTS)) <= set(sandbox.accepted_ids("hook")))
        run.end()


@pytest.mark.usefixtures("pubsub")
def test_a_hold_that_takes_its_time_to_be_listed_stops_no_lane(
    publisher: pubsub_v1.PublisherClient,
    sandbox: PartnerSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_go_on = threading.Event()
    iterdir = Path.iterdir

    def slow(folder: Path) -> Iterator[Path]:
        if folder == tmp_path / "held" / "queue":
            assert may_go_on.wait(60)
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", slow)
    leave_lane(tmp_path, attended_by="")
    with streaming_run(tmp_path, postbacks(sandbox)) as run:
        publish(publisher, EVENTS[:5])
        assert eventually(lambda: len(sandbox.accepted_ids("busy")) == 5)
        assert not set(ids_of(EVENTS[5:])) & set(sandbox.accepted_ids("hook"))
        may_go_on.set()
        assert eventually(lambda: set(ids_of(EVENTS)) <= set(sandbox.accepted_ids("hook")))
        run.end()


@pytest.mark.usefixtures("pubsub", "publisher")
def test_a_hold_that_cannot_be_listed_is_listed_again(
    sandbox: PartnerSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors: list[Exception] = [RuntimeError("a mistake"), OSError("Input/output error")]
    iterdir = Path.iterdir

    def failing(folder: Path) -> Iterator[Path]:
        if folder == tmp_path / "held" / "queue" and errors:
            raise errors.pop()
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", failing)
    leave_lane(tmp_path, attended_by="")
    with streaming_run(tmp_path, postbacks(sandbox)) as run:
        assert eventually(lambda: set(ids_of(EVENTS)) <= set(sandbox.accepted_ids("hook")))
        run.end()
    assert len([said for said in caplog.messages if said.startswith("which lanes have")]) == 2
