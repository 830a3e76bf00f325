"""Attending a lane: real partners and files, and a clock that is moved by hand."""

from typing import Any

import msgspec
import pytest

from runtime.clock import rfc3339
from runtime.hold import expiry, release
from runtime.hold.directory import HoldQueue
from runtime.hold.lane_statuses import read_status, write_status
from runtime.hold.objects import HeldBatch
from runtime.hold.turn import TURN_SECONDS
from runtime.hold.watch import Failure
from sandbox.partners import Fault, PartnerSandbox
from tests.runtime.hold.attending import EVENTS, HOUR, IDS, MINUTE, START, Start


def test_an_outage_of_48_hours_is_probed_at_a_growing_distance_and_then_buried(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=503))
    held.hold(0, 200)
    held.live(47 * HOUR, 5 * MINUTE)
    assert held.watch is not None
    assert held.watch.state == "suspended"
    assert 47 * 2 <= held.requests <= 47 * 2 * 60
    assert held.counts == (0, 200, {})
    held.live(HOUR - 1, MINUTE)
    assert held.letters() == []  # never early
    held.live(1 + 5_000)
    assert held.counts == (0, 0, {"expired": 200})
    assert {letter["reason"] for letter in held.letters()} == {"expired"}
    assert sorted(letter["event"] for letter in held.letters()) == sorted(EVENTS[:200])
    assert held.objects() == []


def test_a_partner_that_is_back_at_hour_47_loses_nothing(
    start: Start, sandbox: PartnerSandbox
) -> None:
    """Releasing takes longer than the deadline leaves, and nothing expires meanwhile."""
    held = start(rate_limit=0.005)
    sandbox.set_fault("hook", Fault(status=503))
    for first in range(0, 2_000, 500):
        held.hold(first, first + 500)
    held.live(47 * HOUR, 5 * MINUTE)
    sandbox.set_fault("hook", None)
    held.live(24 * HOUR, 5 * MINUTE)
    assert held.counts == (2_000, 0, {})
    assert held.now > START + 48 * HOUR
    assert sorted(sandbox.accepted_ids("hook")) == sorted(IDS[:2_000])
    assert held.letters() == []


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(hang=True)])
def test_a_probe_is_one_request_though_little_was_held_at_a_time(
    fault: Fault, start: Start, sandbox: PartnerSandbox
) -> None:
    """A partner that hangs would keep its attendant busy for the deadlines of all of them."""
    held = start()
    sandbox.set_fault("hook", fault)
    held.hold(0, 40, in_batches_of=1)
    for number in range(1, 4):
        held.now += HOUR
        held.turn()
        assert held.requests == number
    sandbox.set_fault("hook", None)
    held.live(HOUR, MINUTE)
    assert held.counts == (40, 0, {})


def test_what_is_released_goes_oldest_first_and_in_growing_portions(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start(concurrency=1)
    for first in (0, 1_000, 2_000):
        held.hold(first, first + 1_000)
        held.now += MINUTE
    held.live(HOUR, MINUTE)
    assert sandbox.accepted_ids("hook") == IDS
    assert held.counts == (3_000, 0, {})
    assert held.tally.of("hook").adopted == 0  # it was counted when it was held
    assert held.watch is None
    assert held.objects() == []
    assert read_status(held.worker.settings.hold, "hook") is None


def test_a_release_grows_from_turn_to_turn(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a long queue would go out at the pace of its first probe."""
    held = start(max_events=10, concurrency=4)
    monkeypatch.setattr(release, "TURN_SECONDS", 0)  # one portion a turn
    held.hold(0, 500)
    held.live(HOUR)
    assert held.counts == (500, 0, {})
    assert held.requests == 50
    assert held.turns <= 20


def test_what_was_probed_in_vain_is_still_the_first_to_go(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=503))
    for first in (0, 50, 100):
        held.hold(first, first + 50)
        held.now += 1_000
    assert held.watch is not None
    held.watch = msgspec.structs.replace(held.watch, next_try_ms=held.now)
    held.turn()
    assert held.requests == 1
    sandbox.set_fault("hook", None)
    held.live(HOUR)
    assert sandbox.accepted_ids("hook") == IDS[:150]


@pytest.mark.parametrize("turn_seconds", [0, TURN_SECONDS])
def test_a_release_is_not_suspended_for_what_failed_once(
    turn_seconds: float,
    start: Start,
    sandbox: PartnerSandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = start(max_events=10, concurrency=1)
    monkeypatch.setattr(release, "TURN_SECONDS", turn_seconds)
    sandbox.set_fault("hook", Fault(status=503, reject_ids=frozenset(IDS[15:16]), times=1))
    held.hold(0, 100)
    held.now += 10_000
    while held.watch is not None:
        held.turn()
        assert held.watch is None or held.watch.state == "resuming"
        assert held.turns < 20
    assert held.counts == (100, 0, {})
    assert held.requests == 11


def test_under_a_rate_limit_the_next_turn_is_when_the_next_request_may_go(start: Start) -> None:
    held = start(rate_limit=0.005)
    held.hold(0, 500)
    held.now += 10_000
    held.turn()
    assert held.requests == 1
    assert held.last is not None
    assert 0 < held.last.next_ms - held.now < 10 * MINUTE
    due = held.last.next_ms
    held.now = due - 1_000
    held.turn()
    assert held.requests == 1
    held.now = due
    held.turn()
    assert held.requests > 1


def test_a_changed_secret_is_tried_at_once(start: Start) -> None:
    held = start()
    (held.folder / "token").write_text("wrong")
    held.hold(0, 50, Failure("status_401", "lane", 401))
    held.live(30 * MINUTE, MINUTE)
    assert held.watch is not None
    held.watch = msgspec.structs.replace(held.watch, next_try_ms=held.now + 30 * MINUTE)
    before = held.requests
    (held.folder / "token").write_text("right")
    held.live(5_000 + 1)
    assert held.requests > before
    assert held.counts == (50, 0, {})


def test_a_changed_setting_is_tried_at_once(start: Start) -> None:
    held = start(paused=True)
    held.hold(0, 50, Failure("paused", "lane"))
    held.live(24 * HOUR, 5 * MINUTE)
    assert held.watch is not None
    assert (held.watch.state, held.watch.reason, held.requests) == ("suspended", "paused", 0)
    held.connect()
    held.worker.config.refresh()
    held.live(5_000 + 1)
    assert held.counts == (50, 0, {})


@pytest.mark.parametrize("change", [{"gone": True}, {"enabled": False}])
def test_what_a_removed_connector_held_waits_for_the_deadline(
    change: dict[str, Any], start: Start
) -> None:
    held = start()
    held.hold(0, 50, Failure("status_503", "lane", 503))
    held.connect(**change)
    held.worker.config.refresh()
    held.live(48 * HOUR - 1, 5 * MINUTE)
    assert held.counts == (0, 50, {})
    held.live(5_000 + 1)
    assert held.counts == (0, 0, {"connector_removed": 50})
    assert held.requests == 0


def test_a_connector_has_a_deadline_of_its_own(start: Start, sandbox: PartnerSandbox) -> None:
    held = start(max_event_age="2 h")
    sandbox.set_fault("hook", Fault(status=503))
    held.hold(0, 50)
    held.live(2 * HOUR - 1, MINUTE)
    assert held.counts == (0, 50, {})
    held.live(5_000 + 1)
    assert held.counts == (0, 0, {"expired": 50})


def test_a_clock_that_jumps_back_expires_nothing_and_is_probed_on(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=503))
    held.hold(0, 50)
    held.live(24 * HOUR, 5 * MINUTE)
    held.now -= 20 * HOUR
    before = held.requests
    held.live(31 * MINUTE, MINUTE)
    assert held.requests > before
    assert held.counts == (0, 50, {})
    sandbox.set_fault("hook", None)
    held.live(31 * MINUTE, MINUTE)
    assert held.counts == (50, 0, {})


def test_a_partner_that_rejects_everything_is_suspended_after_a_hundred_letters(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=422))
    held.hold(0, 500, Failure("rejected", "events", 422))
    held.live(HOUR, MINUTE)
    assert held.watch is not None
    assert (held.watch.state, held.watch.reason) == ("suspended", "rejects_everything")
    assert held.counts == (0, 400, {"rejected": 100})
    sandbox.set_fault("hook", None)
    held.live(HOUR, MINUTE)
    assert held.counts == (400, 0, {"rejected": 100})


def test_poison_events_among_good_ones_are_buried_and_suspend_nothing(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start()
    poison = frozenset(IDS[0:2_000:20])
    sandbox.set_fault("hook", Fault(reject_ids=poison))
    for first in range(0, 2_000, 20):
        held.hold(first, first + 20, Failure("rejected", "events", 422))
    held.live(HOUR, MINUTE)
    assert held.counts == (1_900, 0, {"rejected": 100})
    assert held.watch is None


def test_a_lane_that_another_live_job_attends_is_left_alone_until_it_is_stale(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start()
    held.hold(0, 50)
    sandbox.set_fault("hook", Fault(status=503))
    held.now += 10_000
    held.turn()
    status = read_status(held.worker.settings.hold, "hook")
    assert status is not None
    assert status.attended_by == "ours"
    write_status(held.worker.settings.hold, msgspec.structs.replace(status, attended_by="theirs"))
    sandbox.set_fault("hook", None)
    before = held.requests
    held.now += 11_000
    held.turn()
    assert held.last is not None
    assert held.requests == before
    assert held.last.after == held.last.before
    held.live(3 * MINUTE)
    assert held.counts[0] == 50


def test_a_status_says_all_that_is_known(start: Start, sandbox: PartnerSandbox) -> None:
    held = start(contact="it@example.com")
    sandbox.set_fault("hook", Fault(status=503))
    held.hold(0, 50)
    held.now += 10_000
    held.turn()
    status = read_status(held.worker.settings.hold, "hook")
    assert status is not None
    assert (status.state, status.reason, status.status) == ("suspended", "status_503", 503)
    assert (status.events, status.objects, status.bytes > 10_000) == (50, 1, True)
    assert (status.oldest, status.dead_letters_from) == (
        "2027-01-15T08:00:00Z",
        "2027-01-17T08:00:00Z",
    )
    assert status.set_aside == 0
    assert status.next_probe is not None
    assert status.next_probe > "2027-01-15T08:00:10Z"


def test_the_next_probe_is_told_as_soon_as_it_is_known(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=503))
    held.hold(0, 50)
    held.now += 10_000
    held.turn()
    before = read_status(held.worker.settings.hold, "hook")
    held.now += 1_000
    assert held.watch is not None
    held.watch = msgspec.structs.replace(held.watch, next_try_ms=held.now)
    held.turn()
    after = read_status(held.worker.settings.hold, "hook")
    assert before is not None
    assert after is not None
    assert after.probes_failed == before.probes_failed + 1
    assert after.next_probe == rfc3339(held.watch.next_try_ms)


def test_a_damaged_object_is_set_aside_and_does_not_stop_the_lane(start: Start) -> None:
    held = start()
    name = held.hold(0, 50)
    held.hold(50, 100)
    path = held.folder / "held" / "queue" / "hook" / name
    path.write_bytes(path.read_bytes()[:1_000])
    (path.parent / "notes.txt").write_text("not ours")
    held.live(HOUR, MINUTE)
    aside = {one.name for one in (held.folder / "held" / "set-aside" / "hook").iterdir()}
    assert aside == {name, "notes.txt"}
    assert held.counts[0] == 50


def test_a_status_says_how_many_objects_were_set_aside(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=503))
    for first in (0, 50):
        name = held.hold(first, first + 50)
        (held.folder / "held" / "queue" / "hook" / name).write_bytes(b"cut")
        held.now += 1_000
    held.hold(100, 150)
    held.live(MINUTE)
    status = read_status(held.worker.settings.hold, "hook")
    assert status is not None
    assert (status.events, status.objects, status.set_aside) == (50, 1, 2)


def test_of_a_lane_with_nothing_but_damage_no_status_and_no_turn_is_left(start: Start) -> None:
    held = start()
    name = held.hold(0, 50)
    (held.folder / "held" / "queue" / "hook" / name).write_bytes(b"cut")
    held.now += 10_000
    held.turn()
    assert held.watch is None
    assert read_status(held.worker.settings.hold, "hook") is None


def test_what_others_have_delivered_meanwhile_is_passed_over_at_once(start: Start) -> None:
    """It was listed, and is gone when it is its turn."""
    held = start()
    held.hold(0, 50)
    gone = held.folder / "held" / "queue" / "hook" / "0000000000001-gone"
    gone.symlink_to(held.folder / "none")
    held.now += 10_000
    held.turn()
    assert held.counts == (50, 0, {})
    assert held.watch is None


def test_what_others_write_to_a_suspended_lane_is_in_its_status_within_a_minute(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=401))
    held.hold(0, 50)
    held.live(10_000)
    assert held.watch is not None
    held.watch = msgspec.structs.replace(held.watch, next_try_ms=held.now + HOUR)
    others = HeldBatch(
        part="",
        oldest_ms=held.now,
        newest_ms=held.now,
        first_failed_ms=held.now,
        reason="status_401",
        events=EVENTS[50:60],
    )
    HoldQueue(held.worker.settings.hold).put("hook", [others])
    held.live(MINUTE)
    status = read_status(held.worker.settings.hold, "hook")
    assert status is not None
    assert (status.events, status.objects) == (60, 2)


def test_what_others_write_is_found_and_counted_as_adopted(
    start: Start, sandbox: PartnerSandbox
) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=503))
    held.hold(0, 50)
    held.live(MINUTE)
    held.worker.hold._own.clear()  # as after a restart
    sandbox.set_fault("hook", None)
    held.live(HOUR, MINUTE)
    hook = held.tally.of("hook")
    assert (hook.adopted, hook.delivered, hook.held) == (50, 50, 50)


def test_leaving_puts_back_what_is_half_sent(start: Start, sandbox: PartnerSandbox) -> None:
    held = start(rate_limit=1)
    held.hold(0, 1_000)
    held.now += 10_000
    held.turn()
    assert held.watch is not None
    delivered = len(sandbox.accepted_ids("hook"))
    assert 0 < delivered < 1_000
    held.leave()
    assert held.counts == (delivered, 1_000 - delivered, {})
    (name,) = held.objects()
    assert [event for batch in held.worker.hold.read("hook", name) for event in batch.events] == (
        EVENTS[delivered:1_000]
    )
    status = read_status(held.worker.settings.hold, "hook")
    assert status is None or status.attended_by == ""


def test_an_expiry_storm_is_gathered_into_few_files(start: Start, sandbox: PartnerSandbox) -> None:
    held = start()
    sandbox.set_fault("hook", Fault(status=503))
    for first in range(0, 3_000, 10):
        held.hold(first, first + 10)
    held.live(48 * HOUR + MINUTE, 5 * MINUTE)
    assert held.counts == (0, 0, {"expired": 3_000})
    assert len(held.letters()) == 3_000
    assert len(list((held.folder / "dead").rglob("*.avro"))) <= 3


def test_what_expires_is_buried_file_by_file_and_all_of_it_is_told(
    start: Start,
    sandbox: PartnerSandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = start()
    monkeypatch.setattr(expiry, "FILE_BYTES", 60_000)
    sandbox.set_fault("hook", Fault(status=503))
    for first in range(0, 300, 10):
        held.hold(first, first + 10)
    held.live(MINUTE)
    held.now += 48 * HOUR
    held.turn()
    assert held.counts == (0, 0, {"expired": 300})
    sizes = [path.stat().st_size for path in (held.folder / "dead").rglob("*.avro")]
    assert 3 <= len(sizes) <= 6
    assert '"buried":{"expired":300}' in caplog.text


def test_what_has_expired_and_is_not_buried_when_a_turn_is_over_is_buried_in_the_next(
    start: Start, sandbox: PartnerSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = start()
    monkeypatch.setattr(expiry, "TURN_SECONDS", 0)  # one object a turn
    sandbox.set_fault("hook", Fault(status=503))
    for first in range(0, 30, 10):
        held.hold(first, first + 10)
    held.live(MINUTE)
    held.now += 48 * HOUR
    for buried in (10, 20, 30):
        held.turn()
        assert held.counts == (0, 30 - buried, {"expired": buried})
    assert held.watch is None


def test_a_foreign_name_that_is_no_time_does_not_stop_the_lane(
    start: Start, sandbox: PartnerSandbox
) -> None:
    """It looks like one of ours, so the status tells its times until it is found out by reading."""
    held = start()
    sandbox.set_fault("hook", Fault(status=503))
    held.hold(0, 50)
    endless = "9" * 30
    foreign = held.folder / "held" / "queue" / "hook" / f"{endless}-{endless}-1-{'0' * 32}"
    foreign.write_text("not ours")
    held.live(10 * MINUTE, MINUTE)
    assert held.watch is not None
    assert held.watch.state == "suspended"
    sandbox.set_fault("hook", None)
    held.live(HOUR, MINUTE)
    assert held.counts == (50, 0, {})
    assert not foreign.exists()


def test_a_slow_lane_that_rejects_everything_is_not_buried_bit_by_bit(
    start: Start, sandbox: PartnerSandbox
) -> None:
    """What is held is all buried each time, so that the lane is forgotten in between."""
    held = start()
    sandbox.set_fault("hook", Fault(status=400))
    for first in range(0, 400, 50):
        held.hold(first, first + 50)
        held.live(5 * MINUTE, 5_000)
    assert held.counts == (0, 300, {"rejected": 100})
    assert held.watch is not None
    assert (held.watch.state, held.watch.reason) == ("suspended", "rejects_everything")
    sandbox.set_fault("hook", None)
    held.live(HOUR, MINUTE)
    assert held.counts == (300, 0, {"rejected": 100})
    sandbox.set_fault("hook", Fault(status=400))  # it has taken events since: the count begins anew
    held.hold(400, 450)
    held.live(5 * MINUTE, 5_000)
    assert held.counts == (300, 0, {"rejected": 150})
