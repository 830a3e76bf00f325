"""The hold on this disk and on object stores: the same queue, markers and statuses everywhere."""

import json
from pathlib import Path

import pytest

from runtime.address import AddressPolicy
from runtime.dead_letters import letter_files, read_letters, write_letters
from runtime.hold.attendant import Attendant
from runtime.hold.directory import HoldQueue
from runtime.hold.lane_statuses import read_status, survey, write_status
from runtime.hold.objects import ForeignObject, HeldBatch
from runtime.hold.suspensions import Suspensions
from runtime.hold.watch import first_watch
from runtime.storage import join, list_names, write_whole
from runtime.worker import Worker, WorkerSettings
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.samples import sample_events
from schemas.dead_letter import DeadLetter
from schemas.lane_status import LaneStatus

EVENTS = list(sample_events(200, seed=51))
LANES = ["crm", "mobile+ios", "mobile+a b/c%2F"]


def batch(first: int, last: int) -> HeldBatch:
    return HeldBatch(
        part="",
        oldest_ms=1_900_000_000_000 + first,
        newest_ms=1_900_000_000_000 + last,
        first_failed_ms=1_900_000_000_000,
        reason="status_503",
        events=EVENTS[first:last],
    )


def test_a_queue_is_the_same_on_every_storage(storage_root: str) -> None:
    queue = HoldQueue(storage_root)
    for lane in LANES:
        names = [queue.put(lane, [batch(first, first + 50)]) for first in (50, 0)]
        assert queue.put(lane, [batch(0, 50)]) == names[1]  # the same again
        assert queue.objects(lane) == sorted(names)
        assert [file.size > 10_000 for file in queue.files(lane)] == [True, True]
        assert [*queue.read(lane, names[1])[0].events] == EVENTS[:50]
        queue.remove(lane, names[1])
        queue.remove(lane, names[1])
        assert queue.objects(lane) == [names[0]]
    assert sorted(queue.lanes()) == sorted(LANES)


def test_a_damaged_object_is_set_aside_on_every_storage(storage_root: str) -> None:
    queue = HoldQueue(storage_root)
    name = queue.put("crm", [batch(0, 50)])
    write_whole(join(storage_root, "queue", "crm", name), b"cut")
    with pytest.raises(ForeignObject):
        queue.read("crm", name)
    queue.set_aside("crm", name, "it is cut")
    assert queue.objects("crm") == []
    assert list_names(join(storage_root, "set-aside", "crm")) == [name]


def test_a_marker_is_seen_by_other_processes_on_every_storage(storage_root: str) -> None:
    ours, others = Suspensions(storage_root), Suspensions(storage_root)
    for lane in LANES:
        ours.mark(lane, "suspended")
    others.refresh()
    assert [others.state_of(lane) for lane in LANES] == ["suspended"] * 3
    ours.mark("crm", "resuming")
    ours.mark("mobile+ios", None)
    others.refresh()
    assert [others.state_of(lane) for lane in LANES] == ["resuming", None, "suspended"]


def test_a_look_through_a_hold_finds_the_same_on_every_storage(storage_root: str) -> None:
    queue = HoldQueue(storage_root)
    assert survey(storage_root, 3_600).lanes == []
    for lane in LANES:
        queue.put(lane, [batch(0, 50)])
        queue.put(lane, [batch(50, 60)])
    queue.set_aside("mobile+ios", queue.objects("mobile+ios")[0], "it is cut")
    write_status(
        storage_root,
        LaneStatus(
            lane=LANES[2], connector="mobile", state="suspended", reason="status_401", since=""
        ),
    )
    found = survey(storage_root, 3_600)
    seen = {one.lane: (one.reason, one.events, one.objects, one.set_aside) for one in found.lanes}
    assert seen == {
        LANES[0]: ("unknown", 60, 2, 0),
        LANES[1]: ("unknown", 10, 1, 1),
        LANES[2]: ("status_401", 60, 2, 0),
    }
    assert all(one.bytes > 1_000 for one in found.lanes)
    assert found.unread == []


def test_dead_letters_are_found_and_read_again_on_every_storage(storage_root: str) -> None:
    letters = [
        DeadLetter(event=event, stage="hold", reason="expired", buried_ms=1_900_000_000_000)
        for event in EVENTS
    ]
    assert list(letter_files(storage_root)) == []
    uri = write_letters(storage_root, letters)
    assert write_letters(storage_root, letters) == uri  # the same again
    assert list(letter_files(storage_root)) == [uri]
    assert [letter.event for letter in read_letters(uri)] == EVENTS


def test_a_lane_is_held_and_released_on_every_storage(storage_root: str, tmp_path: Path) -> None:
    with PartnerSandbox({"hook": PostbackSite()}) as sandbox:
        connector = {"name": "hook", "kind": "postback", "url": sandbox.url("hook")}
        (tmp_path / "connectors.json").write_text(json.dumps({"connectors": [connector]}))
        worker = Worker(
            WorkerSettings(
                str(tmp_path / "connectors.json"),
                storage_root,
                join(storage_root, "dead"),
                job="ours",
                address_policy=AddressPolicy(allow_local=True),
            )
        )
        worker.now_ms = lambda: 1_900_000_000_000
        for first in (0, 100):
            worker.hold.put("hook", [batch(first, first + 100)])
        attendant = Attendant(worker, "hook")
        sandbox.set_fault("hook", Fault(status=401))
        suspended = attendant.turn(first_watch(worker.now_ms()), written=True).after
        assert suspended is not None
        status = read_status(storage_root, "hook")
        assert status is not None
        assert (status.state, status.events, status.attended_by) == ("suspended", 200, "ours")
        sandbox.set_fault("hook", None)
        worker.now_ms = lambda: suspended.next_try_ms
        assert attendant.turn(suspended, written=False).after is None
        assert len(sandbox.accepted_ids("hook")) == 200
        assert read_status(storage_root, "hook") is None
        assert worker.hold.objects("hook") == []
        worker.close()
