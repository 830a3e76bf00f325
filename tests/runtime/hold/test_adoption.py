"""Lanes that nobody attends are found: left by bounded runs, crashes and earlier jobs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.clock import rfc3339
from runtime.hold.adoption import unattended_lanes
from runtime.hold.attendants import attendants_of
from runtime.hold.directory import HoldQueue
from runtime.hold.lane_statuses import ATTENDED_MS, write_status
from runtime.hold.objects import HeldBatch
from runtime.hold.watch import first_watch
from runtime.jobs import has_ended, new_job_name
from runtime.worker import Worker, WorkerSettings
from schemas.lane_status import LaneStatus

NOW = 1_900_000_000_000


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    (tmp_path / "connectors.json").write_text(json.dumps({"connectors": []}))
    places = (str(tmp_path / "connectors.json"), str(tmp_path / "held"), str(tmp_path / "dead"))
    made = Worker(WorkerSettings(*places, job="ours"))
    made.now_ms = lambda: NOW
    batch = HeldBatch(
        part="", oldest_ms=NOW, newest_ms=NOW, first_failed_ms=NOW, reason="x", events=[b"{}"]
    )
    for lane in ("crm", "mobile+ios"):
        HoldQueue(made.settings.hold).put(lane, [batch])
    yield made
    made.close()


def attend(worker: Worker, lane: str, job: str, at_ms: int) -> None:
    status = LaneStatus(
        lane=lane,
        connector=lane,
        state="suspended",
        reason="status_503",
        since=rfc3339(at_ms),
        attended_by=job,
        attended_at=rfc3339(at_ms),
    )
    write_status(worker.settings.hold, status)


def test_lanes_without_a_status_are_found_and_empty_ones_are_not(
    worker: Worker, tmp_path: Path
) -> None:
    (tmp_path / "held" / "queue" / "empty").mkdir()
    assert sorted(unattended_lanes(worker)) == ["crm", "mobile+ios"]


def test_what_another_live_job_attends_is_left_to_it_until_it_is_silent(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="runtime.hold")
    attend(worker, "crm", "elsewhere-1-abc", NOW - ATTENDED_MS + 2_000)
    assert unattended_lanes(worker) == ["mobile+ios"]
    assert caplog.messages == ["lane crm is left alone: elsewhere-1-abc attends it"]
    attend(worker, "crm", "elsewhere-1-abc", NOW - ATTENDED_MS)
    assert sorted(unattended_lanes(worker)) == ["crm", "mobile+ios"]


def test_what_another_process_of_our_own_job_has_attended_is_found_at_once(worker: Worker) -> None:
    """It may have died; the engine sees to it that nobody attends a lane twice."""
    attend(worker, "crm", "ours", NOW)
    assert sorted(unattended_lanes(worker)) == ["crm", "mobile+ios"]


def test_what_this_process_attends_is_not_found_again(worker: Worker) -> None:
    attendants_of(worker).begin("crm", first_watch(NOW))
    assert attendants_of(worker).outcome("crm", 10) is not None
    attendants_of(worker).wrote("mobile+ios")  # who writes need not be who attends
    assert unattended_lanes(worker) == ["mobile+ios"]


def test_a_job_that_died_on_this_machine_attends_nothing(worker: Worker) -> None:
    ours = new_job_name()
    host, _, _ = ours.rpartition("-")[0].rpartition("-")
    dead = f"{host}-{2**22 + 1}-abcd"  # beyond the largest process number
    assert not has_ended(ours)
    assert has_ended(dead)
    assert has_ended(ours[:-4] + "zzzz")  # had our number before us
    assert not has_ended("elsewhere-1-abcd")
    attend(worker, "crm", dead, NOW)
    assert "crm" in unattended_lanes(worker)


@pytest.mark.parametrize("state", ["resuming", "suspended"])
def test_a_marker_that_a_dead_job_left_is_found_and_a_turn_removes_it(
    worker: Worker, tmp_path: Path, state: str
) -> None:
    marker = tmp_path / "held" / state / "gone"
    marker.parent.mkdir(parents=True)
    marker.touch()
    worker.suspensions.refresh()
    assert sorted(unattended_lanes(worker)) == ["crm", "gone", "mobile+ios"]
    attendants_of(worker).begin("gone", first_watch(NOW))
    outcome = attendants_of(worker).outcome("gone", 10)
    assert outcome is not None
    assert outcome.after is None
    assert not marker.exists()
    assert sorted(unattended_lanes(worker)) == ["crm", "mobile+ios"]
