"""The statuses of lanes, and what a look through a hold finds with and without them."""

import logging
from pathlib import Path
from typing import Any

import pytest

from runtime.clock import from_rfc3339
from runtime.hold.directory import HoldQueue
from runtime.hold.lane_statuses import (
    ATTENDED_MS,
    is_attended,
    read_status,
    remove_status,
    survey,
    write_status,
)
from runtime.hold.objects import HeldBatch
from runtime.jobs import new_job_name
from runtime.storage import StorageError, join, list_names, write_whole
from schemas.lane import lane_of_file
from schemas.lane_status import LaneStatus

LANES = ["crm", "crm+ios", "crm+a/b é", "crm+%2e", "crm+..", "crm+x.json"]
HOUR_MS = 3_600_000
OLDEST_MS = 1_790_000_000_000
OLDEST = "2026-09-21T14:13:20Z"


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "held")


def status_of(lane: str, **fields: Any) -> LaneStatus:
    known: dict[str, Any] = {"connector": "crm", "state": "suspended", "reason": "status_401"}
    return LaneStatus(lane=lane, **{**known, "since": OLDEST, **fields})


def hold(root: str, lane: str, oldest_ms: int = OLDEST_MS, count: int = 2) -> str:
    batch = HeldBatch(
        part="",
        oldest_ms=oldest_ms,
        newest_ms=oldest_ms + 30_000,
        first_failed_ms=oldest_ms,
        reason="status_503",
        events=[b"event"] * count,
    )
    return HoldQueue(root).put(lane, [batch])


# One status


@pytest.mark.parametrize("lane", LANES)
def test_a_status_is_read_as_it_was_written_until_it_is_removed(lane: str, root: str) -> None:
    status = status_of(lane, status=401, answer='no "key"', events=7, attended_by="host-1")
    assert read_status(root, lane) is None
    write_status(root, status_of(lane))
    write_status(root, status)
    assert read_status(root, lane) == status
    assert len(list_names(join(root, "status"))) == 1
    remove_status(root, lane)
    remove_status(root, lane)
    assert read_status(root, lane) is None


def test_a_person_finds_and_reads_a_status(tmp_path: Path) -> None:
    write_status(str(tmp_path), status_of("crm+ios"))
    text = (tmp_path / "status" / "crm+ios.json").read_text()
    assert text.startswith('{\n  "lane": "crm+ios",\n')
    assert text.endswith("}\n")


def test_every_lane_has_a_status_of_its_own(root: str) -> None:
    assert [read_status(root, lane) for lane in LANES] == [None] * len(LANES)
    for lane in LANES:
        write_status(root, status_of(lane))
    assert [read_status(root, lane) for lane in LANES] == [status_of(lane) for lane in LANES]
    files = list_names(join(root, "status"))
    assert sorted(lane_of_file(name.removesuffix(".json")) for name in files) == sorted(LANES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"lane": "crm", "connector": "c',
        b'{"lane": "crm"}',
        b"\xff",
        b"[" * 5_000,
        b'{"a": ' + b"[" * 500_000,
        b'{"lane": "\xff", "connector": "c", "state": "holding", "reason": "r", "since": ""}',
        b'{"\xff": 1, "a": "\xff"}',
        b'{"lane": "other", "connector": "c", "state": "holding", "reason": "r", "since": ""}',
        b'{"lane": "crm", "connector": "c", "state": "sleeping", "reason": "r", "since": ""}',
    ],
)
def test_a_damaged_status_is_none_and_is_logged(
    content: bytes, root: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_whole(join(root, "status", "crm.json"), content)
    write_status(root, status_of("fine"))
    with caplog.at_level(logging.WARNING):
        assert read_status(root, "crm") is None
    (told,) = caplog.messages
    place = join(root, "status", "crm.json")
    assert told.startswith(f"the status {place} is damaged: ")
    assert "None" not in told
    assert read_status(root, "fine") == status_of("fine")


def test_what_a_later_version_adds_to_a_status_is_no_damage(root: str) -> None:
    write_whole(
        join(root, "status", "crm.json"),
        b'{"lane":"crm","connector":"crm","state":"holding","reason":"","since":"","mood":"good"}',
    )
    assert read_status(root, "crm") == status_of("crm", state="holding", reason="", since="")


def test_a_status_that_cannot_be_reached_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "status" / "crm.json").mkdir(parents=True)
    with pytest.raises(StorageError):
        read_status(str(tmp_path), "crm")


@pytest.mark.parametrize(
    ("fields", "after_ms", "attended"),
    [
        ({}, 0, True),
        ({}, ATTENDED_MS - 1, True),
        ({}, ATTENDED_MS, False),
        ({}, 1 - ATTENDED_MS, True),  # the clocks of two machines differ
        ({}, -ATTENDED_MS, False),  # one of them is wrong
        ({"attended_by": ""}, 0, False),
        ({"attended_at": "soon"}, 0, False),
    ],
)
def test_a_lane_is_attended_where_somebody_said_so_not_two_minutes_ago_or_ahead(
    fields: dict[str, str], after_ms: int, attended: bool
) -> None:
    status = status_of("crm", **{"attended_by": "host-1", "attended_at": OLDEST, **fields})
    assert is_attended(status, OLDEST_MS + after_ms) is attended


def test_a_lane_whose_job_is_known_to_have_ended_is_attended_by_nobody_at_once() -> None:
    ours = new_job_name()
    ended = ours[:-4] + "zzzz"  # of a process that had our number before us
    attended = [
        is_attended(status_of("crm", attended_by=job, attended_at=OLDEST), OLDEST_MS)
        for job in (ours, ended)
    ]
    assert attended == [True, False]


# All that a hold has


def test_a_lane_without_a_status_is_known_by_its_files_alone(root: str) -> None:
    hold(root, "crm+ios", OLDEST_MS + 60_000, count=3)
    hold(root, "crm+ios", OLDEST_MS, count=2)
    (lane,) = survey(root, 48 * 3_600).lanes
    assert (lane.lane, lane.connector, lane.state) == ("crm+ios", "crm", "holding")
    assert (lane.reason, lane.since, lane.attended_by) == ("unknown", "", "")
    assert (lane.events, lane.objects, lane.oldest) == (5, 2, OLDEST)
    queue = HoldQueue(root)
    assert lane.bytes == sum(file.size for file in queue.files("crm+ios")) > 0
    # Never early: an object goes by its newest event.
    assert lane.dead_letters_from == "2026-09-23T14:13:50Z"


def test_depth_is_that_of_the_files_and_the_rest_is_that_of_the_status(root: str) -> None:
    said = status_of("crm", events=900, objects=9, bytes=9, answer="no", probes_failed=3)
    write_status(root, said)
    hold(root, "crm")
    (lane,) = survey(root, 48 * 3_600).lanes
    assert (lane.events, lane.objects, lane.oldest) == (2, 1, OLDEST)
    assert (lane.state, lane.answer, lane.probes_failed) == ("suspended", "no", 3)


@pytest.mark.parametrize("gone_on_ms", [0, 90_000])
def test_the_deadline_is_the_statuss_and_moves_on_with_the_oldest_event(
    gone_on_ms: int, root: str
) -> None:
    """A connector may have a deadline of its own, and a status may be older than the queue."""
    write_status(root, status_of("crm", oldest=OLDEST, dead_letters_from="2026-09-21T15:13:25Z"))
    hold(root, "crm", OLDEST_MS + gone_on_ms + 999)
    (lane,) = survey(root, 48 * 3_600).lanes
    expected = OLDEST_MS + gone_on_ms + HOUR_MS + 5_000
    assert from_rfc3339(lane.dead_letters_from or "") == expected


def test_a_deadline_of_a_status_that_tells_no_oldest_event_stays_as_it_is(root: str) -> None:
    """Somebody has mended it by hand."""
    write_status(root, status_of("crm", dead_letters_from="2026-09-21T15:13:25Z"))
    hold(root, "crm", OLDEST_MS + 90_000)
    assert survey(root, 48 * 3_600).lanes[0].dead_letters_from == "2026-09-21T15:13:25Z"


def test_nothing_is_buried_while_a_lane_resumes(root: str) -> None:
    write_status(root, status_of("crm", state="resuming"))
    hold(root, "crm")
    assert survey(root, 48 * 3_600).lanes[0].dead_letters_from is None


def test_lanes_come_in_order_and_those_with_nothing_held_do_not(root: str) -> None:
    queue = HoldQueue(root)
    for lane in reversed(LANES):
        hold(root, lane)
    queue.remove("empty", hold(root, "empty"))
    write_status(root, status_of("empty"))
    write_status(root, status_of("never"))
    assert [lane.lane for lane in survey(root, 1).lanes] == sorted(LANES)


def test_what_is_not_ours_is_counted_and_disturbs_nothing(root: str) -> None:
    hold(root, "crm")
    write_whole(join(root, "queue", "crm", "notes.txt"), b"hello")
    far = f"{10**17}-{10**17}-1-{'0' * 32}"
    write_whole(join(root, "queue", "odd", far), b"")
    write_whole(join(root, "queue", "stray"), b"hello")
    found = survey(root, 1)
    assert not found.unread
    assert [(lane.lane, lane.events, lane.objects) for lane in found.lanes] == [
        ("crm", 2, 2),
        ("odd", 1, 1),
    ]
    assert found.lanes[1].oldest == "9999-12-31T23:59:59Z"


def test_what_was_set_aside_is_told_even_where_nothing_is_held(root: str) -> None:
    """An object store has no folder without objects."""
    queue = HoldQueue(root)
    for lane, name in (("crm", "a"), ("crm", "b"), ("gone", "c")):
        write_whole(join(root, "queue", lane, name), b"?")
        queue.set_aside(lane, name, "not ours")
    Path(join(root, "queue", "gone")).rmdir()
    hold(root, "crm")
    lanes = survey(root, 1).lanes
    assert [(lane.lane, lane.objects, lane.set_aside) for lane in lanes] == [
        ("crm", 1, 2),
        ("gone", 0, 1),
    ]
    assert lanes[1].oldest is None
    assert lanes[1].dead_letters_from is None


def test_a_lane_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    root = str(tmp_path)
    hold(root, "crm")
    hold(root, "other")
    (tmp_path / "status" / "crm.json").mkdir(parents=True)
    found = survey(root, 1)
    assert [lane.lane for lane in found.lanes] == ["other"]
    assert len(found.unread) == 1
    assert found.unread[0].startswith("lane 'crm' cannot be read: ")
