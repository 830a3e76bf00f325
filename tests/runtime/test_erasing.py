"""Erasing a person: all that is theirs goes, nothing else does, and whatever stops it loses nothing."""

import hashlib
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastavro
import pytest

from runtime.clock import now_ms, rfc3339
from runtime.dead_letters import letter_files, read_letters, write_letters
from runtime.erasing import Eraser
from runtime.hold.directory import HoldQueue
from runtime.hold.lane_statuses import read_status, write_status
from runtime.hold.objects import Depth, HeldBatch
from runtime.jobs import new_job_name
from runtime.persons import Persons
from runtime.storage import join, read_file, write_whole
from schemas.lane_status import LaneStatus
from tests.runtime.test_dead_letters import letter_of

ROOT = Path(__file__).parents[2]
MOMENT = 1_800_000_000_000
THEM = "customer-81"


def event(number: int, person: str | None = None, **user: Any) -> bytes:
    user = {"external_user_id": person, **user} if person else user
    return json.dumps(
        {"event_type": "users.custom.X", "id": f"e-{number}", "time": 1, "user": user}
    ).encode()


def batch(*events: bytes, at_ms: int = MOMENT, **about: Any) -> HeldBatch:
    known: dict[str, Any] = {"part": "", "first_failed_ms": at_ms, "reason": "status_503"}
    return HeldBatch(oldest_ms=at_ms, newest_ms=at_ms + 5, events=[*events], **{**known, **about})


def erase(
    root: str, dead: str = "", *, is_dry: bool = False, persons: Persons | None = None
) -> Eraser:
    eraser = Eraser(persons or Persons([THEM]), new_job_name(), is_dry)
    eraser.erase_held(root)
    if dead:
        eraser.erase_letters(dead)
    return eraser


def held(root: str, lane: str) -> list[bytes]:
    queue = HoldQueue(root)
    return [one for name in queue.objects(lane) for b in queue.read(lane, name) for one in b.events]


def letters_at(root: str) -> list[Any]:
    return [letter for uri in letter_files(root) for letter in read_letters(uri)]


# Who is meant


@pytest.mark.parametrize(
    "message",
    [
        event(1, THEM),
        event(1, None, user_id=THEM),
        event(1, "other", user_id=THEM),
        event(1, f"sha256:{hashlib.sha256(THEM.encode()).hexdigest()}"),
        b'{"user": {"external_user_id": "custom\\u0065r-81"}}',
        b'{"user": {"user_id": "customer-81"}, "properties": {',
        b'"external_user_id" :\n"customer-81"',
        b'\xff{"external_user_id":"customer-81"}',
    ],
)
def test_an_event_is_about_a_person_by_either_id_and_however_it_is_spelled(message: bytes) -> None:
    assert Persons(["other-1", THEM]).concern(message)


@pytest.mark.parametrize(
    "message",
    [
        event(1, "customer-8"),
        event(1, "customer-811"),
        event(1),
        b'{"user": null}',
        b'{"user": ["customer-81"]}',
        b'{"properties": {"external_user_id": "customer-81"}}',
        b'{"user": {"timezone": "customer-81"}}',
        b'{"external_user_id":"customer-811", "name": "customer-81"',
        b"customer-81",
        b"",
        b"null",
    ],
)
def test_nobody_else_is_meant(message: bytes) -> None:
    assert not Persons([THEM]).concern(message)


def test_an_id_may_be_a_number_or_have_other_letters() -> None:
    assert Persons(["81"]).concern(event(1, None, user_id=81))
    assert Persons(["Zoë"]).concern(event(1, "Zoë"))
    assert Persons(["Zoë"]).concern(json.dumps({"user_id": "Zoë"}).encode()[:-1])
    assert Persons(['a"b']).concern(b'{"user_id": "a\\"b"')


# The hold


def test_their_events_go_and_all_others_stay_as_they_were(storage_root: str) -> None:
    queue = HoldQueue(storage_root)
    before = batch(event(1, "a"), event(2, THEM), event(3, "b"), attempts=4, retry_at_ms=7)
    queue.put("crm", [before, batch(event(4, THEM), reason="timeout")])
    queue.put("crm", [batch(event(5, THEM), at_ms=MOMENT + 9)])
    kept = queue.put("crm", [batch(event(6, "a"), at_ms=MOMENT + 99)])
    queue.put("other+ios", [batch(event(7), part="ios")])
    found = erase(storage_root).found
    (lane,) = found.lanes
    assert (lane.place, lane.before, lane.erased, lane.attended_by) == ("crm", 6, 3, "")
    assert found.unread == []
    first, second = queue.objects("crm")
    assert second == kept
    (left,) = queue.read("crm", first)
    assert left == batch(event(1, "a"), event(3, "b"), attempts=4, retry_at_ms=7)
    assert Depth.of(queue.files("crm")).events == 3
    assert held(storage_root, "other+ios") == [event(7)]
    assert erase(storage_root).found.lanes == []


def test_a_dry_run_counts_and_changes_nothing(tmp_path: Path) -> None:
    root, dead = str(tmp_path / "held"), str(tmp_path / "dead")
    HoldQueue(root).put("crm", [batch(event(1), event(2, THEM))])
    write_letters(dead, [letter_of(event(3, THEM)), letter_of(event(4))])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found = erase(root, dead, is_dry=True).found
    assert [(one.erased, one.before) for one in [*found.lanes, *found.files]] == [(1, 2), (1, 2)]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def status(lane: str, attended_by: str, at_ms: int) -> LaneStatus:
    return LaneStatus(
        lane=lane,
        connector=lane,
        state="suspended",
        reason="status_401",
        since=rfc3339(at_ms),
        probes_failed=3,
        attended_by=attended_by,
        attended_at=rfc3339(at_ms),
    )


def test_a_lane_that_a_live_job_attends_is_left_alone_and_named(tmp_path: Path) -> None:
    root = str(tmp_path)
    HoldQueue(root).put("crm", [batch(event(1), event(2, THEM))])
    write_status(root, status("crm", "elsewhere-7-ab", now_ms()))
    (lane,) = erase(root).found.left_alone
    assert (lane.place, lane.erased, lane.attended_by) == ("crm", 1, "elsewhere-7-ab")
    assert held(root, "crm") == [event(1), event(2, THEM)]
    write_status(root, status("crm", "elsewhere-7-ab", now_ms() - 300_000))  # silent for 5 minutes
    assert erase(root).found.left_alone == []
    assert held(root, "crm") == [event(1)]


def test_meanwhile_the_lane_is_attended_and_then_as_before(tmp_path: Path) -> None:
    root = str(tmp_path)
    HoldQueue(root).put("crm", [batch(event(1), event(2, THEM))])
    before = status("crm", "", now_ms() - 300_000)
    write_status(root, before)
    attended: list[str] = []

    class Looking(Persons):
        def concern(self, message: bytes) -> bool:
            seen = read_status(root, "crm")
            attended.append(seen.attended_by if seen else "")
            return super().concern(message)

    eraser = Eraser(Looking([THEM]), new_job_name(), is_dry=False)
    eraser.erase_held(root)
    assert attended[0]
    assert len(set(attended)) == 1
    assert read_status(root, "crm") == before


def test_a_lane_of_which_nothing_is_left_has_no_status(tmp_path: Path) -> None:
    root = str(tmp_path)
    HoldQueue(root).put("crm", [batch(event(1, THEM))])
    write_status(root, status("crm", "", now_ms()))
    erase(root)
    assert HoldQueue(root).objects("crm") == []
    assert read_status(root, "crm") is None


def test_what_cannot_be_looked_through_is_named(tmp_path: Path) -> None:
    root, dead = str(tmp_path / "held"), str(tmp_path / "dead")
    queue = HoldQueue(root)
    name = queue.put("crm", [batch(event(1, THEM))])
    write_whole(join(root, "queue", "crm", name), b"damaged")
    queue.put("crm", [batch(event(2), event(3, THEM), at_ms=MOMENT + 1)])
    write_whole(join(root, "set-aside", "crm", "x"), event(4, THEM))
    damaged = write_letters(dead, [letter_of(event(5, THEM))])
    write_whole(damaged, read_file(damaged)[:-20])
    write_letters(dead, [letter_of(event(6, THEM))])
    found = erase(root, dead).found
    assert [one.split(" of ")[0] for one in found.unread if "is not whole" in one]
    assert [one for one in found.unread if "set-aside/crm: look at them" in one]
    assert [one for one in found.unread if one.startswith(f"{damaged} cannot be read to its end")]
    assert len(found.unread) == 3
    assert [letter.event for letter in letters_at(str(tmp_path / "none"))] == []
    assert held_lines(root, "crm", except_for=name) == [event(2)]


def held_lines(root: str, lane: str, except_for: str) -> list[bytes]:
    queue = HoldQueue(root)
    names = [name for name in queue.objects(lane) if name != except_for]
    return [one for name in names for b in queue.read(lane, name) for one in b.events]


def test_what_was_done_is_told_where_the_rest_cannot_be(tmp_path: Path) -> None:
    root = str(tmp_path)
    queue = HoldQueue(root)
    queue.put("crm", [batch(event(1, THEM))])
    large = event(2, "a" * 9_000)
    queue.put("crm", [batch(large, event(3, THEM), at_ms=MOMENT + 1)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))  # what is left is a larger file
    try:
        found = erase(root).found
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [lane.erased for lane in found.lanes] == [1]
    assert [one.partition(": ")[0] for one in found.unread] == ["lane crm"]
    assert held(root, "crm") == [large, event(3, THEM)]
    assert [lane.erased for lane in erase(root).found.lanes] == [1]
    assert held(root, "crm") == [large]


# Dead letters


def test_their_letters_go_and_all_others_stay_with_their_ids(storage_root: str) -> None:
    letters = [letter_of(event(n, THEM if n % 3 == 0 else "a"), replays=n) for n in range(7)]
    write_letters(storage_root, letters)
    alone = write_letters(storage_root, [letter_of(event(9, THEM))])
    other = write_letters(storage_root, [letter_of(event(10))])
    found = erase(join(storage_root, "no-hold"), storage_root).found
    assert sorted(one.erased for one in found.files) == [1, 3]
    uris = list(letter_files(storage_root))
    assert alone not in uris
    assert other in uris
    assert {letter.letter_id for letter in letters_at(storage_root)} == {
        *(one.letter_id for one in letters if one.replays % 3),
        letter_of(event(10)).letter_id,
    }
    left = [one for one in letters_at(storage_root) if one.replays == 4]
    assert [(one.event, one.buried_ms) for one in left] == [(event(4, "a"), letters[4].buried_ms)]


def test_a_file_of_another_schema_keeps_it(tmp_path: Path) -> None:
    """A later version's fields, and an earlier one's lack of them, survive."""
    uri = write_letters(str(tmp_path), [letter_of(event(1, THEM)), letter_of(event(2))])
    with Path(uri).open("rb") as file:
        reader = fastavro.reader(file)
        schema: Any = reader.writer_schema
        records: list[Any] = list(reader)
    schema["fields"].append({"name": "later", "type": "string"})
    with Path(uri).open("wb") as file:
        fastavro.writer(file, schema, [{**one, "later": "kept"} for one in records])
    erase(str(tmp_path / "none"), str(tmp_path))
    (left,) = letter_files(str(tmp_path))
    with Path(left).open("rb") as file:
        (record,) = list(fastavro.reader(file))
    assert record == {**records[1], "later": "kept"}


# Whatever stops it

_DIES = """
import os, sys
from runtime.erasing import Eraser
from runtime.jobs import new_job_name
from runtime.persons import Persons

def erase(folder, steps):
    def count(name, arguments):
        nonlocal steps
        if name in ("os.rename", "os.remove") and folder in str(arguments[0]):
            steps -= 1
            if steps < 0:
                os._exit(9)
    sys.addaudithook(count)
    eraser = Eraser(Persons([sys.argv[1]]), new_job_name(), False)
    eraser.erase_held(folder + "/held")
    eraser.erase_letters(folder + "/dead")
    os._exit(0)

for steps, folder in enumerate(sys.argv[2:]):
    child = os.fork()
    if not child:
        erase(folder, steps)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_killed_at_any_step_it_loses_nothing_and_the_next_one_ends_it(tmp_path: Path) -> None:
    folders = [tmp_path / str(steps) for steps in range(10)]
    for folder in folders:
        queue = HoldQueue(str(folder / "held"))
        queue.put("crm", [batch(event(1, "a"), event(2, THEM))])
        queue.put("crm", [batch(event(3, THEM), at_ms=MOMENT + 1)])
        write_letters(str(folder / "dead"), [letter_of(event(4, THEM)), letter_of(event(5, "a"))])
    ended = subprocess.run(
        [sys.executable, "-c", _DIES, THEM, *map(str, folders)],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=True,
    )
    codes = [int(code) for code in ended.stdout.split()]
    killed = codes.count(9)
    assert codes == [9] * killed + [0] * (len(folders) - killed)
    assert killed >= 6  # of a status, of what is left and of what goes, each
    for folder in folders:
        root, dead = str(folder / "held"), str(folder / "dead")
        assert event(1, "a") in held(root, "crm")
        assert event(5, "a") in [one.event for one in letters_at(dead)]
        found = erase(root, dead).found
        assert (found.unread, found.left_alone) == ([], [])
        assert held(root, "crm") == [event(1, "a")]
        assert {one.event for one in letters_at(dead)} == {event(5, "a")}
