"""What goes wrong around a held lane: each misfortune may delay or double events, and loses none."""

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.clock import rfc3339
from runtime.hold import release
from runtime.hold.adoption import unattended_lanes
from runtime.hold.bounded_release import held_lanes, release_lane
from runtime.hold.directory import HoldQueue
from runtime.hold.held_queue import UNREADABLE_MS
from runtime.hold.lane_statuses import ATTENDED_MS, read_status, write_status
from runtime.hold.objects import HeldBatch, HeldName, digest_of
from runtime.hold.watch import MOST_ASKED_MS, Failure, first_watch
from runtime.storage import StorageError
from sandbox.partners import Fault, PartnerSandbox
from schemas.lane import Lane
from tests.runtime.hold.attending import EVENTS, HOUR, IDS, MINUTE, START, Held, Start

REJECTED = Failure("rejected", "events", 422)
REFUSED_KEY = Failure("status_401", "lane", 401)


class Disk:
    """The local disk: no file can be made or removed whose path has `broken` in it, or read by an `unreadable` name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken: str | None = None
        self.unreadable: str | None = None
        self._replace, self._unlink, self._read = Path.replace, Path.unlink, Path.read_bytes
        disk = self

        def replace(path: Path, target: Path) -> Path:
            disk.check(target)
            return disk._replace(path, target)

        def unlink(path: Path, missing_ok: bool = False) -> None:
            if ".writing-" not in path.name:
                disk.check(path)
            disk._unlink(path, missing_ok=missing_ok)

        def read(path: Path) -> bytes:
            if path.name == disk.unreadable:
                raise OSError(errno.EIO, "Input/output error")
            return disk._read(path)

        monkeypatch.setattr(Path, "read_bytes", read)
        monkeypatch.setattr(Path, "replace", replace)
        monkeypatch.setattr(Path, "unlink", unlink)

    def check(self, path: Path) -> None:
        if self.broken is not None and self.broken in str(path):
            raise OSError(errno.EROFS, "Read-only file system")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def buried(held: Held) -> set[str]:
    """The ids of the events that were buried, each of them once."""
    ids = [json.loads(letter["event"])["id"] for letter in held.letters()]
    assert len(ids) == len(set(ids))
    return set(ids)


def lying(held: Held) -> int:
    """How many events lie in the hold."""
    return sum(known.events for name in held.objects() if (known := HeldName.parse(name)))


def persist(held: Held, turns: int) -> None:
    """Attend the lane for so many turns, or until nothing is held any more."""
    for _ in range(turns):
        held.turn()
        if held.watch is None:
            return
        assert held.last is not None
        held.now = max(held.now + 100, held.last.next_ms)


def half_sent(held: Held) -> int:
    """Send a part of 500 events, as a rate limit has it; returns how many the partner accepted."""
    held.hold(0, 500)
    held.now += 10_000
    held.turn()
    held.now += 5 * MINUTE
    held.turn()
    accepted = len(held.sandbox.accepted_ids("hook"))
    assert 0 < accepted < 500
    assert held.watch is not None
    assert held.watch.state == "resuming"
    return accepted


def attended_by_another(held: Held, at_ms: int) -> None:
    status = read_status(held.worker.settings.hold, "hook")
    assert status is not None
    status = msgspec.structs.replace(
        status, attended_by="elsewhere-1-abc", attended_at=rfc3339(at_ms)
    )
    write_status(held.worker.settings.hold, status)


# Poison


@pytest.mark.parametrize("every", [20, 5])
@pytest.mark.parametrize("bounded", [False, True])
def test_only_what_is_refused_by_itself_is_buried(
    every: int, bounded: bool, start: Start, sandbox: PartnerSandbox
) -> None:
    """A request says only that something in it is refused, and a batch's splits are counted."""
    held = start()
    poison = frozenset(IDS[0:500:every])
    sandbox.set_fault("hook", Fault(reject_ids=poison))
    held.hold(0, 500, REJECTED)
    if bounded:
        held.tally.add(release_lane(held.worker, "hook"))
    else:
        held.live(HOUR, MINUTE)
    assert buried(held) == poison
    assert held.counts == (500 - len(poison), 0, {"rejected": len(poison)})


def test_a_poison_at_the_head_does_not_keep_a_lane_shut(
    start: Start, sandbox: PartnerSandbox
) -> None:
    """A lane that rejected everything is probed with one object after the other."""
    held = start(max_events=1)
    sandbox.set_fault("hook", Fault(status=422))
    for first in range(150):
        held.hold(first, first + 1, Failure("rejected", "events", 422))
        held.now += 1
    held.live(10 * MINUTE, MINUTE)
    assert held.watch is not None
    assert held.watch.reason == "rejects_everything"
    left = [IDS[n] for n in range(150) if IDS[n] not in buried(held)]
    poison = frozenset(left[:3])  # at the head of the queue
    sandbox.set_fault("hook", Fault(reject_ids=poison))
    held.live(10 * HOUR, MINUTE)
    assert set(sandbox.accepted_ids("hook")) == set(left) - poison
    assert poison <= buried(held)
    assert held.watch is None


@pytest.mark.parametrize("size", [500, 7])
@pytest.mark.parametrize(("status", "reason"), [(422, "rejected"), (413, "too_large")])
def test_a_partner_that_rejects_everything_is_asked_some_hundreds_of_times_and_then_probed(
    status: int, reason: str, size: int, start: Start, sandbox: PartnerSandbox
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=status))
    for first in range(0, 3_000, size):
        held.hold(first, min(first + size, 3_000), Failure(reason, "events", status))
    held.live(MINUTE)
    assert held.watch is not None
    assert (held.watch.state, held.watch.reason) == ("suspended", "rejects_everything")
    assert held.counts == (0, 2_900, {reason: 100})
    assert held.requests < 300
    before = held.requests
    held.watch = msgspec.structs.replace(held.watch, next_try_ms=held.now)
    held.turn()
    assert held.requests - before <= 17
    sandbox.set_fault("hook", None)
    held.live(HOUR, MINUTE)
    assert held.counts == (2_900, 0, {reason: 100})


@pytest.mark.parametrize("state", ["holding", "suspended"])
def test_what_is_not_isolated_when_a_turn_is_over_goes_on_with_the_next(
    state: Any, start: Start, sandbox: PartnerSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = start()
    monkeypatch.setattr(release, "TURN_SECONDS", 0)  # one portion a turn
    sandbox.set_fault("hook", Fault(status=422, body=b"no such field"))
    (name,) = [held.hold(0, 500, REJECTED)]
    held.watch = msgspec.structs.replace(first_watch(held.now), state=state)
    before = 0
    while held.counts[2].get("rejected", 0) < 100:
        held.turn()
        assert held.watch is not None
        assert held.requests - before <= 8 * 17
        before = held.requests
        if not held.letters():
            assert held.objects() == [name]  # as it was
            assert held.watch.reason != "rejects_everything"
        held.now += 100
        assert held.turns < 60
    assert (held.watch.state, held.watch.reason) == ("suspended", "rejects_everything")
    assert (held.watch.status, held.watch.answer) == (422, "no such field")
    assert held.turns > 3
    assert held.requests < 300


def test_what_is_accepted_of_fresh_events_lets_more_of_the_held_ones_be_buried(
    start: Start, sandbox: PartnerSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partner that takes something does not reject everything, whatever is in the hold."""
    monkeypatch.setattr(release, "TURN_SECONDS", 0)
    held = start()
    sandbox.set_fault("hook", Fault(reject_ids=frozenset(IDS[:160])))
    held.hold(0, 80, REJECTED)
    held.now += 1
    held.hold(80, 160, REJECTED)
    while not held.letters():
        persist(held, 1)
        assert held.turns < 60
    assert held.counts == (0, 80, {"rejected": 80})
    entry = held.worker.config.current().connectors["hook"]
    fresh = held.worker.deliverer.start(Lane("hook", ""), entry, EVENTS[200:201])
    assert fresh.wait(10)
    persist(held, 10)
    assert held.counts == (0, 0, {"rejected": 160})
    assert held.watch is None


# Storage


@pytest.mark.parametrize("broken", ["/held/", "/dead/"])
def test_what_was_sent_is_not_sent_again_while_that_cannot_be_written(
    broken: str, start: Start, sandbox: PartnerSandbox, disk: Disk
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(reject_ids=frozenset(IDS[7:8])))
    held.hold(0, 100)
    disk.broken = broken
    persist(held, 20)
    assert len(sandbox.accepted_ids("hook")) == 99
    assert held.counts == (0, 100, {})
    disk.broken = None
    persist(held, 20)
    assert held.counts == (99, 0, {"rejected": 1})
    assert len(sandbox.accepted_ids("hook")) == 99
    assert buried(held) == {IDS[7]}
    assert held.watch is None


def test_what_expired_is_buried_once_though_it_cannot_be_removed(
    start: Start, sandbox: PartnerSandbox, disk: Disk
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=503))
    held.hold(0, 100)
    held.live(MINUTE)
    held.now += 49 * HOUR
    disk.broken = "/held/"
    persist(held, 10)
    assert len(list((held.folder / "dead").rglob("*.avro"))) == 1
    disk.broken = None
    persist(held, 10)
    assert held.counts == (0, 0, {"expired": 100})
    assert len(list((held.folder / "dead").rglob("*.avro"))) == 1


@pytest.mark.parametrize("broken", ["/status/", "/dead/"])
def test_no_more_than_a_hundred_are_buried_though_a_file_cannot_be_written(
    broken: str, start: Start, sandbox: PartnerSandbox, disk: Disk
) -> None:
    """Neither the lane's status nor the letters themselves."""
    held = start()
    for first in range(0, 600, 10):
        held.hold(first, first + 10, REJECTED)
        held.now += 1
    sandbox.set_fault("hook", Fault(status=422))
    disk.broken = broken
    persist(held, 8)
    disk.broken = None
    persist(held, 8)
    assert held.watch is not None
    assert held.watch.reason == "rejects_everything"
    assert len(buried(held)) == 100
    assert held.counts == (0, 500, {"rejected": 100})


def test_leaving_counts_what_was_delivered_though_the_status_cannot_be_written(
    start: Start, disk: Disk
) -> None:
    held = start(rate_limit=0.005)
    accepted = half_sent(held)
    disk.broken = "/status/"
    held.leave()
    assert held.counts == (accepted, 500 - accepted, {})
    assert lying(held) == 500 - accepted


def test_an_object_that_cannot_be_read_is_passed_over_and_tried_again_later(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = start()
    unreadable = held.hold(0, 50)
    held.now += 1_000
    held.hold(50, 100)
    read_bytes = Path.read_bytes
    tries: list[int] = []

    def read(path: Path) -> bytes:
        if path.name == unreadable and held.now < START + 24 * HOUR:
            tries.append(held.now)
            raise OSError(errno.EIO, "Input/output error")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    persist(held, 20)
    assert held.counts == (50, 50, {})
    assert len(tries) == 1
    held.now += UNREADABLE_MS
    held.turn()
    assert len(tries) == 2
    held.now -= HOUR  # the clock is put back: that it failed later than now says nothing
    held.turn()
    assert len(tries) == 3
    held.now = START + 24 * HOUR
    persist(held, 20)
    assert held.counts == (100, 0, {})


def test_an_object_that_cannot_be_read_keeps_no_other_from_being_buried(
    start: Start, sandbox: PartnerSandbox, disk: Disk
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=401))
    disk.unreadable = held.hold(0, 50)
    held.now += 1_000
    held.hold(50, 100)
    held.live(MINUTE, 5_000)
    held.now += 48 * HOUR
    held.live(MINUTE, 5_000)
    assert held.counts == (0, 50, {"expired": 50})


def test_a_lane_whose_status_cannot_be_read_keeps_no_other_from_being_adopted(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    held = start()
    held.hold(0, 10)
    HoldQueue(held.worker.settings.hold).put("other", [batch_of(0, 5)])
    status = held.folder / "held" / "status" / "hook.json"
    status.mkdir(parents=True)
    assert unattended_lanes(held.worker) == ["other"]
    assert caplog.messages == [f"lane hook is left alone: storage: {status}: Is a directory"]


def test_a_folder_whose_name_is_no_utf_8_is_no_lane(start: Start) -> None:
    held = start()
    held.hold(0, 10)
    strange = os.fsencode(held.folder / "held" / "queue") + b"/caf\xe9"
    folder = Path(os.fsdecode(strange))
    folder.mkdir()
    (folder / "x").write_bytes(b"")
    assert held.worker.hold.lanes() == ["hook"]
    assert held_lanes(held.worker) == unattended_lanes(held.worker) == ["hook"]


def test_what_could_be_written_only_in_part_is_counted_once(start: Start, disk: Disk) -> None:
    """The engine keeps all of it and writes it again, perhaps with more."""
    held = start()
    early, late = batch_of(0, 10), batch_of(10, 20, 400_000)
    disk.broken = f"{late.oldest_ms}-"
    with pytest.raises(StorageError):
        held.worker.hold.put_all("hook", [early, late])
    assert lying(held) == 10
    disk.broken = None
    held.worker.hold.put_all("hook", [early, batch_of(20, 30), late])
    held.tally.of("hook").held += 30
    persist(held, 10)
    hook = held.tally.of("hook")
    assert (hook.held, hook.delivered, hook.adopted) == (0, 40, 10)


def test_what_is_there_though_writing_it_failed_is_adopted(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = start()
    (held.folder / "held" / "queue" / "hook").mkdir(parents=True)
    fsync = os.fsync

    def refuse_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse_folders)
        with pytest.raises(StorageError):
            held.hold(0, 10)
    assert lying(held) == 10
    persist(held, 5)
    hook = held.tally.of("hook")
    assert (hook.adopted, hook.delivered, hook.held) == (10, 10, 0)


def test_a_lane_that_cannot_be_listed_fails_a_bounded_run(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have something held, of which the run would say nothing."""
    held = start()
    held.hold(0, 10)
    loop = held.folder / "held" / "queue" / "hook" / "loop"
    loop.symlink_to(loop)
    assert release_lane(held.worker, "hook").connectors == {}
    (said,) = held.worker.ledger.unread
    assert said.startswith("lane hook: storage: ")
    assert caplog.messages == [said.replace("lane hook", "lane hook stays held")]


def test_an_object_that_a_bounded_run_cannot_read_stays_held_and_the_log_says_so(
    start: Start, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    held = start()
    name = held.hold(0, 10)
    disk.unreadable = name
    assert release_lane(held.worker, "hook").connectors == {}
    path = held.folder / "held" / "queue" / "hook" / name
    why = f"storage: {path}: Input/output error"
    assert caplog.messages == [f"lane hook: {name} stays held: {why}"]
    assert held.objects() == [name]


def _header(**changes: int) -> bytes:
    """The line before the one event of an object."""
    about = {"part": "", "oldest_ms": 1, "newest_ms": 1, "first_failed_ms": 1, "reason": "x"}
    return msgspec.json.encode(about | {"count": 1, "format": 1} | changes) + b"\n"


@pytest.mark.parametrize(
    "content",
    [
        b'{"part":"","oldest_ms":1,"newest_ms":1,"first_failed_ms":1,"reason":"x","count":-1}\n',
        b'{"part":"\xff"}\n',
        b"[" * 100_000 + b"\n",
        _header() + b"no event\n",
        _header() + b'{"event_type":"a","id":"b","time":1,"user":"c"}\n',
        _header() + EVENTS[0].replace(b":", b": \xff", 1) + b"\n",
        _header() + b" " + EVENTS[0] + b"\n",
        _header(count=2) + EVENTS[0] + b"\n",
        _header(count=2**30) + EVENTS[0] + b"\n",
        _header(newest_ms=10**30) + EVENTS[0] + b"\n",
        _header(oldest_ms=-1) + EVENTS[0] + b"\n",
        _header(attempts=2**31) + EVENTS[0] + b"\n",
        _header(retry_at_ms=10**18) + EVENTS[0] + b"\n",
        _header() + EVENTS[0] + b"\n" + _header() + EVENTS[1] + b"\n",
    ],
)
def test_an_object_of_no_known_form_is_set_aside(
    content: bytes, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    held = start()
    name = str(HeldName(1, 1, 1, digest_of(content)))
    queue = held.folder / "held" / "queue" / "hook"
    queue.mkdir(parents=True)
    (queue / name).write_bytes(content)
    held.hold(0, 20)
    persist(held, 10)
    assert held.counts == (20, 0, {})
    (aside,) = (held.folder / "held" / "set-aside" / "hook").iterdir()
    assert aside.name == name
    (told,) = (said for said in caplog.messages if said.startswith("set aside"))
    about = f"set aside as {aside}: the object {name} of lane hook "
    assert told.startswith((f"{about}is of", f"{about}is cut", f"{about}has "))


# The partner


def test_a_partner_that_asks_for_years_is_tried_again_after_some_hours(start: Start) -> None:
    held = start()
    held.hold(0, 50, Failure("status_429", "try", 429, retry_at_ms=START + 10_000 * HOUR))
    held.live(MOST_ASKED_MS - 1, MINUTE)
    assert held.requests == 0
    held.live(MINUTE)
    assert held.counts == (50, 0, {})


def test_of_an_object_that_was_half_sent_only_the_rest_expires(
    start: Start, sandbox: PartnerSandbox
) -> None:
    """A fresh batch suspends the lane while its queue is being released."""
    held = start(rate_limit=0.005)
    half_sent(held)
    accepted = set(sandbox.accepted_ids("hook"))
    held.hold(500, 510, REFUSED_KEY)
    assert held.watch is not None
    held.watch = msgspec.structs.replace(held.watch, next_try_ms=held.now + 60 * HOUR)
    held.live(47 * HOUR, HOUR)
    held.live(HOUR - 2 * MINUTE, MINUTE)
    assert buried(held) == set(IDS[:500]) - accepted
    assert held.counts == (len(accepted), 10, {"expired": 500 - len(accepted)})


# Others


def test_what_another_job_has_taken_over_is_not_put_back(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start(rate_limit=0.005)
    half_sent(held)
    held.now += 11_000
    attended_by_another(held, held.now)
    held.turn()
    (name,) = held.objects()
    HoldQueue(held.worker.settings.hold).remove("hook", name)  # it has delivered all of it
    (held.folder / "held" / "status" / "hook.json").unlink()
    sandbox.set_fault("hook", Fault(status=503))
    held.now += ATTENDED_MS
    persist(held, 8)
    assert held.objects() == []


def test_a_bounded_run_leaves_a_lane_alone_that_a_live_job_attends(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    held = start(rate_limit=0.005)
    half_sent(held)
    before = held.requests
    attended_by_another(held, held.now)
    assert release_lane(held.worker, "hook").connectors == {}
    assert held.requests == before
    assert "lane hook is left alone: elsewhere-1-abc attends it" in caplog.text
    held.now += ATTENDED_MS
    assert release_lane(held.worker, "hook").of("hook").delivered == 500


def test_a_bounded_run_takes_a_lane_that_its_own_job_has_attended(start: Start) -> None:
    held = start(rate_limit=0.005)
    accepted = half_sent(held)
    status = read_status(held.worker.settings.hold, "hook")
    assert status is not None
    assert status.attended_by == held.worker.settings.job
    assert release_lane(held.worker, "hook").of("hook").delivered >= 500 - accepted


def test_a_bounded_run_leaves_a_lane_alone_if_it_cannot_tell_who_attends_it(start: Start) -> None:
    held = start()
    held.hold(0, 10)
    (held.folder / "held" / "status" / "hook.json").mkdir(parents=True)
    assert release_lane(held.worker, "hook").connectors == {}
    assert held.requests == 0
    (said,) = held.worker.ledger.unread
    assert said.startswith("lane hook: storage: ")


def test_a_status_of_the_future_does_not_keep_others_from_the_lane(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=503))
    held.hold(0, 50)
    held.live(10_000)
    sandbox.set_fault("hook", None)
    attended_by_another(held, held.now + 365 * 24 * HOUR)
    assert unattended_lanes(held.worker) == []  # this process attends it
    held.now += 11_000
    held.live(HOUR, MINUTE)
    assert held.counts == (50, 0, {})


# Changed settings


def test_a_changed_setting_is_not_forgotten_while_the_hold_cannot_be_written(
    start: Start, disk: Disk
) -> None:
    held = start(rate_limit=0.005)
    half_sent(held)
    held.hold(500, 510, REFUSED_KEY)
    assert held.watch is not None
    held.watch = msgspec.structs.replace(held.watch, next_try_ms=held.now + 24 * HOUR)
    held.connect()
    held.worker.config.refresh()
    disk.broken = "/held/"
    held.turn()
    disk.broken = None
    held.now += 5_000
    held.turn()
    assert held.counts == (510, 0, {})


@pytest.mark.parametrize("bounded", [False, True])
def test_what_is_of_no_app_group_of_the_connector_waits_for_the_deadline(
    bounded: bool, start: Start
) -> None:
    held = start(app_group_ids=["nobody"])
    held.hold(0, 50)
    held.live(48 * HOUR - 1, 5 * MINUTE)
    assert held.counts == (0, 50, {})
    held.now += 1
    if bounded:
        held.tally.add(release_lane(held.worker, "hook"))
    else:
        held.live(5_000 + 1)
    assert held.counts == (0, 0, {"expired": 50})
    assert held.requests == 0


def test_a_lane_with_nothing_to_send_is_looked_at_now_and_then(start: Start) -> None:
    held = start(app_group_ids=["nobody"])
    held.hold(0, 50)
    held.live(MINUTE)
    assert held.turns < 20


@pytest.fixture(params=["avro_files", "mparticle"])
def other_kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Another connector that has the name `hook`."""
    key = f"file:{tmp_path / 'token'}"
    kinds: dict[str, dict[str, Any]] = {
        "avro_files": {"path": str(tmp_path / "lake")},
        "mparticle": {"feeds": {"unbound": {"key": key, "secret": key}}},
    }
    yield {"name": "hook", "kind": request.param, **kinds[request.param]}
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("bounded", [False, True])
def test_what_another_kind_of_connector_has_held_waits_for_it_or_the_deadline(
    bounded: bool, start: Start, other_kind: dict[str, Any]
) -> None:
    held = start()
    held.hold(0, 50)
    held.connect_only(other_kind)
    if bounded:
        held.now += 48 * HOUR - 1
        held.tally.add(release_lane(held.worker, "hook"))
        assert held.counts == (0, 50, {})
        held.now += 1
        held.tally.add(release_lane(held.worker, "hook"))
    else:
        held.live(48 * HOUR - 1, 5 * MINUTE)
        assert held.counts == (0, 50, {})
        held.live(5_000 + 1)
    assert held.counts == (0, 0, {"expired": 50})
    assert {letter["detail"] for letter in held.letters()} == {"last: other_kind"}


def test_what_was_held_goes_on_when_its_connector_is_back(
    start: Start, other_kind: dict[str, Any]
) -> None:
    held = start()
    held.hold(0, 50)
    held.connect_only(other_kind)
    held.live(HOUR, MINUTE)
    assert held.counts == (0, 50, {})
    held.connect()
    held.worker.config.refresh()
    held.live(MINUTE)
    assert held.counts == (50, 0, {})


def batch_of(first: int, last: int, after_ms: int = 0) -> HeldBatch:
    at_ms = START + after_ms
    return HeldBatch(
        part="",
        oldest_ms=at_ms,
        newest_ms=at_ms,
        first_failed_ms=at_ms,
        reason="status_503",
        blame="try",
        events=EVENTS[first:last],
    )
