"""`currents status`: what a hold has, as people and as programs read it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.words import in_words
from runtime.clock import now_ms, rfc3339
from runtime.hold.directory import HoldQueue
from runtime.hold.lane_statuses import write_status
from runtime.hold.objects import HeldBatch
from schemas.lane_status import LaneStatus

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


def hold(root: Path, lane: str, count: int, age_ms: int = MINUTE) -> None:
    moment = now_ms() - age_ms
    batch = HeldBatch(
        part="",
        oldest_ms=moment,
        newest_ms=moment,
        first_failed_ms=moment,
        reason="status_503",
        events=[b'{"id":"%d"}' % number for number in range(count)],
    )
    HoldQueue(str(root)).put(lane, [batch])


def say(root: Path, lane: str, **fields: Any) -> LaneStatus:
    now = now_ms()
    known: dict[str, Any] = {
        "connector": lane.partition("+")[0],
        "state": "suspended",
        "reason": "status_401",
        "since": rfc3339(now - HOUR),
        "attended_by": "host-1",
        "attended_since": rfc3339(now - 2 * HOUR),
        "attended_at": rfc3339(now),
    }
    status = LaneStatus(lane=lane, **{**known, **fields})
    write_status(str(root), status)
    return status


def status_of(root: Path | str, *arguments: str, width: int | None = None) -> Result:
    """Run the command; with a width as at a terminal, else as in a pipe."""
    terminal = {"COLUMNS": str(width), "TTY_COMPATIBLE": "1", "TERM": "dumb"} if width else {}
    environment = {"COLUMNS": None, "FORCE_COLOR": None, "TTY_COMPATIBLE": None, **terminal}
    return CliRunner().invoke(main, ["status", "--hold", str(root), *arguments], env=environment)


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_lane_says_why_it_is_held_and_what_comes_next(tmp_path: Path) -> None:
    hold(tmp_path, "crm", 1_200, 41 * HOUR + 47 * MINUTE + 30 * SECOND)
    say(
        tmp_path,
        "crm",
        status=401,
        answer="invalid token",
        next_probe=rfc3339(now_ms() + 12 * MINUTE + 30 * SECOND),
        probes_failed=7,
    )
    shown = status_of(tmp_path)
    assert shown.exit_code == 0
    text = words(shown.output)
    assert "crm suspended status_401 1,200 1 0.0 41 h 47 min in 12 min (7 failed)" in text
    assert "in 6 h 12 min" in text
    assert "host-1 (2 h 0 min)" in text
    assert "invalid token" in text
    assert "1 lane, 1,200 events, 0.0 MB" in text


def test_a_narrow_terminal_gets_the_same_in_paragraphs(tmp_path: Path) -> None:
    hold(tmp_path, "crm", 7, 41 * HOUR + 47 * MINUTE + 30 * SECOND)
    say(tmp_path, "crm", answer="invalid token")
    shown = status_of(tmp_path, width=80)
    assert max(map(len, shown.output.splitlines())) <= 80
    text = words(shown.output)
    for said in ("suspended: status_401", "7 events, 0.0 MB", "invalid token", "by host-1"):
        assert said in text
    assert "begins dead-lettering in 6" in text


def test_a_pipe_gets_a_line_a_lane_whatever_the_terminal(tmp_path: Path) -> None:
    for number in range(20):
        hold(tmp_path, f"lane-{number:02}", 1)
        say(tmp_path, f"lane-{number:02}")
    lines = [line for line in status_of(tmp_path).output.splitlines() if "suspended" in line]
    assert [line.split()[0] for line in lines] == [f"lane-{number:02}" for number in range(20)]
    assert all("host-1" in line for line in lines)


@pytest.mark.parametrize(
    ("fields", "is_attended"),
    [
        ({}, True),
        ({"attended_at": rfc3339(now_ms() - 3 * MINUTE)}, False),
        ({"attended_by": ""}, False),
        ({"attended_at": "yesterday"}, False),
    ],
)
def test_a_lane_that_nobody_has_attended_for_two_minutes_is_attended_by_nobody(
    fields: dict[str, str], is_attended: bool, tmp_path: Path
) -> None:
    hold(tmp_path, "crm", 1)
    say(tmp_path, "crm", next_probe=rfc3339(now_ms() + HOUR), **fields)
    text = status_of(tmp_path).output
    assert ("nobody attends it" in text) is not is_attended
    assert ("in 59 min" in text) is is_attended, "nobody will probe it"


def test_a_lane_that_resumes_buries_nothing(tmp_path: Path) -> None:
    hold(tmp_path, "crm", 1, 50 * HOUR)
    say(tmp_path, "crm", state="resuming")
    assert "not while it resumes" in words(status_of(tmp_path, width=200).output)


def test_what_is_past_its_deadline_is_due(tmp_path: Path) -> None:
    hold(tmp_path, "crm", 1, 50 * HOUR + MINUTE)
    assert "due 2 h 1 min ago" in words(status_of(tmp_path).output)
    assert "due 40 h 1 min ago" in words(status_of(tmp_path, "--max_event_age", "10h").output)


def test_json_has_the_fields_of_the_struct_sorted_by_lane(tmp_path: Path) -> None:
    for lane in ("zeta", "crm+ios", "crm"):
        hold(tmp_path, lane, 3)
    said = say(tmp_path, "crm+ios", status=401, answer="no")
    shown = status_of(tmp_path, "--json")
    assert shown.exit_code == 0
    lanes = json.loads(shown.output)["lanes"]
    assert [lane["lane"] for lane in lanes] == ["crm", "crm+ios", "zeta"]
    assert all(list(lane) == list(LaneStatus.__struct_fields__) for lane in lanes)
    one = lanes[1]
    assert (one["state"], one["status"], one["answer"]) == ("suspended", 401, "no")
    assert (one["events"], one["objects"], one["since"]) == (3, 1, said.since)


def test_a_folder_whose_name_is_no_utf_8_is_told_like_any_other(tmp_path: Path) -> None:
    hold(tmp_path, "crm", 1)
    aside = tmp_path / "set-aside" / os.fsdecode(b"\xff")
    aside.mkdir(parents=True)
    (aside / "object").write_bytes(b"damaged")
    shown = status_of(tmp_path, "--json")
    assert shown.exit_code == 0, shown.output
    assert [lane["set_aside"] for lane in json.loads(shown.output)["lanes"]] == [0, 1]
    assert "1 object set aside" in words(status_of(tmp_path).output)
    erased = CliRunner().invoke(main, ["erase", "--hold", str(tmp_path), "--user", "u", "--json"])
    assert len(json.loads(erased.stdout)["unread"]) == 1


@pytest.mark.parametrize("was_used", [True, False])
def test_an_empty_hold_is_said_to_be_empty(was_used: bool, tmp_path: Path) -> None:
    root = tmp_path / "held"
    root.mkdir()
    if was_used:
        hold(root, "crm", 1)
        queue = HoldQueue(str(root))
        queue.remove("crm", *queue.objects("crm"))
        say(root, "crm")
    shown = status_of(root)
    assert (shown.exit_code, shown.output) == (0, f"nothing is held in {root}\n")
    assert json.loads(status_of(root, "--json").output) == {"lanes": []}


@pytest.mark.parametrize("name", ["typo", "file", ""])
def test_a_hold_that_is_no_folder_is_not_said_to_be_empty(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    shown = status_of(tmp_path / name if name else "", "--json")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "there is no folder" in shown.stderr


def test_a_hold_that_cannot_be_read_is_bad_usage() -> None:
    shown = status_of("nosuch://bucket/held")
    assert shown.exit_code == 2
    assert shown.output.startswith("the hold cannot be read: ")
    assert len(shown.output.splitlines()) == 1


def test_a_lane_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    hold(tmp_path, "crm", 1)
    hold(tmp_path, "other", 2)
    (tmp_path / "status" / "other.json").mkdir(parents=True)
    shown = status_of(tmp_path, "--json")
    assert shown.exit_code == 2
    assert [lane["lane"] for lane in json.loads(shown.stdout)["lanes"]] == ["crm"]
    assert shown.stderr.startswith("lane 'other' cannot be read: ")


def test_a_hold_of_which_nothing_could_be_read_is_not_said_to_be_empty(tmp_path: Path) -> None:
    hold(tmp_path, "crm", 1)
    (tmp_path / "status" / "crm.json").mkdir(parents=True)
    shown = status_of(tmp_path)
    assert (shown.exit_code, shown.stdout) == (2, "")


def test_what_a_partner_or_a_folder_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    hold(tmp_path, "crm\x1b[2J", 1)
    say(tmp_path, "crm\x1b[2J", answer="[red]no[/red] \x1b[2J", reason="\x1b[2J")
    for width in (80, 160, None):
        text = status_of(tmp_path, width=width).output
        assert "\x1b[2J" not in text
        assert "[red]" in text


def test_a_bad_age_is_refused(tmp_path: Path) -> None:
    shown = status_of(tmp_path, "--max_event_age", "soon")
    assert shown.exit_code == 2
    assert "'48h'; found 'soon'" in shown.output


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (-5 * SECOND, "0 s"),
        (59 * SECOND + 999, "59 s"),
        (MINUTE, "1 min"),
        (HOUR - 1, "59 min"),
        (6 * HOUR + 12 * MINUTE, "6 h 12 min"),
        (48 * HOUR - 1, "47 h 59 min"),
        (76 * HOUR, "3 d 4 h"),
    ],
)
def test_a_length_of_time_is_said_in_its_two_largest_units(ms: int, said: str) -> None:
    assert in_words(ms) == said
