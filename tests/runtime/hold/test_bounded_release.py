"""Releasing a hold: what is delivered is removed, what is not stays, and the books balance."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from runtime.address import AddressPolicy
from runtime.breaker import Breaker
from runtime.delivery import QUICK_TRIES
from runtime.hold.bounded_release import held_lanes, release_lane
from runtime.hold.directory import HoldQueue
from runtime.hold.objects import HeldBatch
from runtime.ledger import ConnectorTally
from runtime.worker import Worker, WorkerSettings
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.samples import sample_events
from schemas.event import app_group_of
from tests.pipeline.running import letters_in

EVENTS = list(sample_events(60, seed=11))
IDS = [json.loads(event)["id"] for event in EVENTS]
YEAR_SECONDS = 365 * 86_400
START_MS = 1_700_000_000_000

Open = Callable[..., Worker]


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite(token="right")}) as running:
        yield running


@pytest.fixture
def open_worker(
    sandbox: PartnerSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Makes a worker whose connectors file holds the connector `hook`, changed as asked."""
    monkeypatch.setenv("TOKEN", "right")
    hook = {
        "name": "hook",
        "kind": "postback",
        "url": sandbox.url("hook"),
        "token": "env:TOKEN",
        "timeout": "1 s",
    }
    workers: list[Worker] = []

    def make(
        connectors: Sequence[dict[str, Any]] | None = None,
        max_age: float = 100 * YEAR_SECONDS,
        **changes: Any,
    ) -> Worker:
        path = tmp_path / "connectors.json"
        listed = [{**hook, **changes}] if connectors is None else list(connectors)
        path.write_text(json.dumps({"connectors": listed}))
        policy = AddressPolicy(allow_local=True)
        folders = (str(tmp_path / "held"), str(tmp_path / "dead"))
        settings = WorkerSettings(
            str(path), *folders, max_event_age_seconds=max_age, address_policy=policy
        )
        workers.append(Worker(settings))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


def hold(worker: Worker, first: int, last: int, **changes: Any) -> str:
    """Hold the sample events [first, last) as one object, published at that many seconds."""
    batch = HeldBatch(
        part="",
        oldest_ms=START_MS + first * 1_000,
        newest_ms=START_MS + last * 1_000,
        first_failed_ms=START_MS + 60_000,
        reason=changes.pop("reason", "status_503"),
        events=EVENTS[first:last],
        **changes,
    )
    return worker.hold.put("hook", [batch])


def release(worker: Worker) -> ConnectorTally:
    """Release the lane as a new run does; whatever happened, the books balance."""
    worker.deliverer.breaker = Breaker()
    worker.hold = HoldQueue(worker.settings.hold)
    tally = release_lane(worker, "hook").of("hook")
    assert tally.adopted == tally.delivered + tally.held + tally.dead.total()
    return tally


def held_batches(worker: Worker) -> list[HeldBatch]:
    return [
        batch for name in worker.hold.objects("hook") for batch in worker.hold.read("hook", name)
    ]


def held_events(worker: Worker) -> list[bytes]:
    return [event for batch in held_batches(worker) for event in batch.events]


def dead_letters(worker: Worker) -> list[Any]:
    return letters_in(Path(worker.settings.dead_letters))


def test_what_is_delivered_is_removed_and_the_oldest_goes_first(
    open_worker: Open, sandbox: PartnerSandbox
) -> None:
    worker = open_worker()
    for first in (40, 0, 20):
        hold(worker, first, first + 20)
    tally = release(worker)
    assert (tally.adopted, tally.delivered, tally.held) == (60, 60, 0)
    assert sandbox.accepted_ids("hook") == IDS
    assert worker.hold.objects("hook") == []
    assert dead_letters(worker) == []


def test_an_object_of_several_batches_is_delivered_whole(
    open_worker: Open, sandbox: PartnerSandbox
) -> None:
    worker = open_worker()
    batches = [
        HeldBatch(
            part="",
            oldest_ms=START_MS,
            newest_ms=START_MS,
            first_failed_ms=START_MS,
            reason=reason,
            events=events,
        )
        for reason, events in (("timeout", EVENTS[:30]), ("network", EVENTS[30:]))
    ]
    worker.hold.put("hook", batches)
    assert release(worker).delivered == 60
    assert sorted(sandbox.accepted_ids("hook")) == sorted(IDS)
    assert worker.hold.objects("hook") == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(status=503), "status_503"),
        (Fault(status=401), "status_401"),
        (Fault(hang=True), "timeout"),
        (Fault(reset=True), "network"),
    ],
)
def test_what_fails_again_stays_held_and_keeps_its_times(
    fault: Fault, reason: str, open_worker: Open, sandbox: PartnerSandbox
) -> None:
    worker = open_worker()
    hold(worker, 0, 5, reason="old", attempts=7)
    sandbox.set_fault("hook", fault)
    tally = release(worker)
    assert (tally.adopted, tally.delivered, tally.held) == (5, 0, 5)
    assert sorted(held_events(worker)) == sorted(EVENTS[:5])
    for batch in held_batches(worker):
        assert (batch.reason, batch.attempts > 7) == (reason, True)
        assert (batch.oldest_ms, batch.newest_ms) == (START_MS, START_MS + 5_000)
        assert batch.first_failed_ms == START_MS + 60_000
    sandbox.set_fault("hook", None)
    assert release(worker).delivered == 5
    assert held_events(worker) == []


def test_of_what_is_delivered_in_part_only_the_rest_stays(
    open_worker: Open, sandbox: PartnerSandbox
) -> None:
    worker = open_worker(max_events=10)
    hold(worker, 0, 60)
    sandbox.set_fault("hook", Fault(status=503, reject_ids=frozenset({IDS[25]})))
    tally = release(worker)
    assert (tally.delivered, tally.held) == (50, 10)
    assert held_events(worker) == EVENTS[20:30]
    assert len(worker.hold.objects("hook")) == 1
    sandbox.set_fault("hook", None)
    assert release(worker).delivered == 10
    assert sorted(sandbox.accepted_ids("hook")) == sorted(IDS)  # and none of them twice


@pytest.mark.parametrize("reason", ["paused", "status_503"])
def test_nothing_is_lost_while_the_connector_is_paused(
    reason: str, open_worker: Open, sandbox: PartnerSandbox
) -> None:
    paused = open_worker(paused=True)
    hold(paused, 0, 10, reason=reason)
    for _ in range(3):  # from the second time on, the same content has the same name
        tally = release(paused)
        assert (tally.adopted, tally.held) == (10, 10)
        assert held_events(paused) == EVENTS[:10]
        assert [batch.reason for batch in held_batches(paused)] == ["paused"]
    assert sandbox.counts("hook").requests == 0
    assert release(open_worker()).delivered == 10


def test_nothing_is_lost_while_the_connector_is_gone(open_worker: Open) -> None:
    worker = open_worker(connectors=[])
    hold(worker, 0, 10)
    for _ in range(3):
        assert release(worker).held == 10
        assert held_events(worker) == EVENTS[:10]
    assert {batch.reason for batch in held_batches(worker)} == {"connector_removed"}
    assert release(open_worker()).delivered == 10


def test_nothing_is_lost_while_the_secret_is_gone(
    open_worker: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = open_worker()
    hold(worker, 0, 10)
    monkeypatch.delenv("TOKEN")
    assert release(worker).held == 10
    assert held_events(worker) == EVENTS[:10]
    monkeypatch.setenv("TOKEN", "right")
    assert release(worker).delivered == 10


def test_an_event_that_is_given_up_is_buried_with_its_life(
    open_worker: Open, sandbox: PartnerSandbox
) -> None:
    worker = open_worker()
    hold(worker, 0, 20, attempts=4)
    sandbox.set_fault("hook", Fault(reject_ids=frozenset({IDS[7]})))
    tally = release(worker)
    assert (tally.delivered, dict(tally.dead)) == (19, {"rejected": 1})
    assert worker.hold.objects("hook") == []
    (letter,) = dead_letters(worker)
    assert (letter["event"], letter["connector"], letter["reason"]) == (
        EVENTS[7],
        "hook",
        "rejected",
    )
    assert letter["attempts"] > 4
    assert letter["first_failed_at"].timestamp() * 1_000 == START_MS + 60_000
    assert letter["config_version"] == worker.config.current().version


def test_what_cannot_be_buried_stays_held_and_is_not_counted(
    open_worker: Open, sandbox: PartnerSandbox, tmp_path: Path
) -> None:
    (tmp_path / "dead").write_bytes(b"")  # a file where the folder would be
    worker = open_worker()
    name = hold(worker, 0, 20)
    sandbox.set_fault("hook", Fault(reject_ids=frozenset({IDS[7]})))
    tally = release(worker)
    assert (tally.adopted, tally.delivered) == (0, 0)
    assert worker.hold.objects("hook") == [name]
    (tmp_path / "dead").unlink()
    assert release(worker).dead == {"rejected": 1}
    assert [letter["event"] for letter in dead_letters(worker)] == [EVENTS[7]]


@pytest.mark.parametrize("damage", ["cut", "foreign"])
def test_a_damaged_object_is_set_aside_and_does_not_stop_the_lane(
    damage: str,
    open_worker: Open,
    sandbox: PartnerSandbox,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = open_worker()
    name = hold(worker, 0, 20)
    hold(worker, 20, 40)
    path = tmp_path / "held" / "queue" / "hook" / name
    path.write_bytes(path.read_bytes()[:500] if damage == "cut" else b"hello\n")
    content = path.read_bytes()
    tally = release(worker)
    assert (tally.adopted, tally.delivered) == (20, 20)
    assert sandbox.accepted_ids("hook") == IDS[20:40]
    aside = tmp_path / "held" / "set-aside" / "hook" / name
    assert aside.read_bytes() == content
    assert not path.exists()
    assert f"set aside as {aside}: the object {name} of lane hook is not whole" in caplog.text
    (said,) = worker.ledger.unread
    assert said.startswith(f"the object {name} of lane hook is not whole")


def test_a_damaged_object_that_cannot_be_set_aside_fails_the_run_and_stops_nothing_else(
    open_worker: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = open_worker()
    name = hold(worker, 0, 20)
    hold(worker, 20, 40)
    (tmp_path / "held" / "queue" / "hook" / name).write_bytes(b"hello\n")
    (tmp_path / "held" / "set-aside").write_bytes(b"")  # a file where the folder would be
    assert release(worker).delivered == 20
    assert worker.hold.objects("hook") == [name]
    (said,) = worker.ledger.unread
    assert said.startswith(f"the object {name} of lane hook is not whole")
    assert f"left alone: {said}; it cannot be set aside: " in caplog.text


def test_an_object_that_another_job_has_delivered_meanwhile_is_passed_over(
    open_worker: Open, sandbox: PartnerSandbox, tmp_path: Path
) -> None:
    worker = open_worker()
    hold(worker, 20, 40)
    (tmp_path / "held" / "queue" / "hook" / "0000000000001-gone").symlink_to(tmp_path / "none")
    assert release(worker).delivered == 20
    assert sandbox.accepted_ids("hook") == IDS[20:40]


def test_a_lane_that_fails_keeps_no_other_lane_from_its_release(
    open_worker: Open, sandbox: PartnerSandbox
) -> None:
    def hook(name: str, path: str) -> dict[str, Any]:
        url = sandbox.url("hook") + path
        return {"name": name, "kind": "postback", "url": url, "token": "env:TOKEN"}

    worker = open_worker(connectors=[hook("hook", ""), {**hook("other", "/2"), "paused": True}])
    hold(worker, 0, 20)
    batch = held_batches(worker)[0]
    HoldQueue(worker.settings.hold).put("other", [batch])
    worker.hold = HoldQueue(worker.settings.hold)
    assert sorted(held_lanes(worker)) == ["hook", "other"]
    tallies = {lane: release_lane(worker, lane).of(lane) for lane in held_lanes(worker)}
    assert (tallies["hook"].delivered, tallies["other"].held) == (20, 20)
    assert list(held_lanes(worker)) == ["other"]


def test_a_lane_with_nothing_held_is_released_at_once(open_worker: Open) -> None:
    worker = open_worker()
    assert list(held_lanes(worker)) == []
    assert release_lane(worker, "hook").connectors == {}


def test_events_of_which_none_is_accepted_are_buried_up_to_a_hundred(
    open_worker: Open, sandbox: PartnerSandbox
) -> None:
    """One poison event must not stay for ever; a wrong schema must not bury a million good ones."""
    worker = open_worker()
    batch = HeldBatch(
        part="",
        oldest_ms=START_MS,
        newest_ms=START_MS,
        first_failed_ms=START_MS,
        reason="rejected",
        events=list(sample_events(250, seed=8)),
    )
    worker.hold.put("hook", [batch])
    sandbox.set_fault("hook", Fault(status=422))
    tally = release(worker)
    assert (tally.delivered, dict(tally.dead), tally.held) == (0, {"rejected": 100}, 150)
    sandbox.set_fault("hook", None)
    assert release(worker).delivered == 150


def test_what_fails_again_past_its_deadline_is_buried(
    open_worker: Open, sandbox: PartnerSandbox
) -> None:
    worker = open_worker(max_age=48 * 3_600)
    hold(worker, 0, 20)
    hold(worker, 20, 60)
    sandbox.set_fault("hook", Fault(status=503))
    tally = release(worker)
    assert (tally.adopted, dict(tally.dead), tally.held) == (60, {"expired": 60}, 0)
    assert {letter["reason"] for letter in dead_letters(worker)} == {"expired"}
    assert sorted(letter["event"] for letter in dead_letters(worker)) == sorted(EVENTS)


def test_what_is_past_its_deadline_gets_its_try(open_worker: Open) -> None:
    worker = open_worker(max_age=48 * 3_600)
    hold(worker, 0, 60)
    assert release(worker).delivered == 60


@pytest.mark.parametrize("status", [503, 401])
def test_behind_what_fails_the_queue_stays_as_it_is_and_is_counted(
    status: int, open_worker: Open, sandbox: PartnerSandbox
) -> None:
    worker = open_worker()
    _, *behind = [hold(worker, first, first + 10) for first in range(0, 60, 10)]
    sandbox.set_fault("hook", Fault(status=status))
    tally = release(worker)
    assert (tally.adopted, tally.delivered, tally.held) == (60, 0, 60)
    assert worker.hold.objects("hook")[1:] == behind
    assert sandbox.counts("hook").requests <= QUICK_TRIES


def test_what_this_run_has_held_itself_is_not_counted_twice(
    open_worker: Open, sandbox: PartnerSandbox
) -> None:
    worker = open_worker()
    hold(worker, 0, 10)
    worker.hold = HoldQueue(worker.settings.hold)
    hold(worker, 10, 30)
    sandbox.set_fault("hook", Fault(status=503))
    tally = release_lane(worker, "hook").of("hook")
    assert (tally.adopted, tally.held) == (10, 10)


def test_a_run_that_is_being_stopped_leaves_what_is_held_and_counts_it(
    open_worker: Open, sandbox: PartnerSandbox, tmp_path: Path
) -> None:
    worker = open_worker()
    names = [hold(worker, first, first + 20) for first in (0, 20)]
    (tmp_path / "held" / "queue" / "hook" / "notes.txt").write_text("not ours")
    worker.stopping.set()
    tally = release(worker)
    assert (tally.adopted, tally.held) == (40, 40)
    assert worker.hold.objects("hook") == [*names, "notes.txt"]
    assert sandbox.counts("hook").requests == 0


def test_behind_what_fails_only_what_is_past_its_connectors_own_deadline_is_buried(
    open_worker: Open, sandbox: PartnerSandbox
) -> None:
    worker = open_worker(max_event_age="2 h")
    hold(worker, 0, 20)
    hold(worker, 20, 40, status=500, answer="busy")
    young = hold(worker, 40, 60)
    worker.now_ms = lambda: START_MS + 2 * 3_600_000 + 40_000
    sandbox.set_fault("hook", Fault(status=503))
    tally = release(worker)
    assert (tally.adopted, dict(tally.dead), tally.held) == (60, {"expired": 40}, 20)
    assert worker.hold.objects("hook") == [young]
    letters = {letter["event"]: letter for letter in dead_letters(worker)}
    assert letters.keys() == set(EVENTS[:40])
    tried, untried = letters[EVENTS[0]], letters[EVENTS[20]]
    assert (tried["stage"], tried["detail"], tried["status"]) == ("hold", "last: status_503", 503)
    assert (untried["status"], untried["answer"]) == (500, "busy")


def test_what_is_of_other_app_groups_stays_though_the_rest_fails(
    open_worker: Open, sandbox: PartnerSandbox
) -> None:
    worker = open_worker(app_group_ids=["brand-a"])
    theirs = [event for event in EVENTS if app_group_of(event) == "brand-a"]
    others = [event for event in EVENTS if app_group_of(event) != "brand-a"]
    hold(worker, 0, 60)
    sandbox.set_fault("hook", Fault(status=503))
    tally = release(worker)
    assert (tally.adopted, tally.held) == (60, 60)
    assert sorted(held_events(worker)) == sorted(EVENTS)
    sandbox.set_fault("hook", None)
    tally = release(worker)
    assert (tally.delivered, tally.held) == (len(theirs), len(others))
    (batch,) = held_batches(worker)
    assert (batch.events, batch.reason, batch.blame) == (others, "other_app_group", "none")
    assert release(open_worker()).delivered == len(others)
    assert sorted(sandbox.accepted_ids("hook")) == sorted(IDS)


def hold_suspects(worker: Worker, *groups: Sequence[bytes], first_minute: int = 1) -> None:
    """Hold events that were refused, as one object; each group was published a minute later."""
    batches = [
        HeldBatch(
            part="",
            oldest_ms=START_MS + minute * 60_000,
            newest_ms=START_MS + minute * 60_000,
            first_failed_ms=START_MS + 600_000,
            reason="rejected",
            blame="events",
            events=events,
        )
        for minute, events in enumerate(groups, first_minute)
    ]
    worker.hold.put("hook", batches)


def test_a_hundred_poison_events_behind_accepted_ones_are_all_buried(
    open_worker: Open, sandbox: PartnerSandbox
) -> None:
    poison = list(sample_events(100, seed=8))
    worker = open_worker()
    hold(worker, 0, 20)
    hold_suspects(worker, poison)
    ids = frozenset(json.loads(event)["id"] for event in poison)
    sandbox.set_fault("hook", Fault(reject_ids=ids))
    tally = release(worker)
    assert (tally.delivered, dict(tally.dead), tally.held) == (20, {"rejected": 100}, 0)


def test_a_partner_that_rejects_everything_is_not_asked_for_all_that_is_held(
    open_worker: Open, sandbox: PartnerSandbox
) -> None:
    events = list(sample_events(3_000, seed=8))
    early, late, behind = events[:1_400], events[1_400:2_800], events[2_800:]
    worker = open_worker()
    hold_suspects(worker, early, late)
    hold_suspects(worker, behind, first_minute=3)
    untried = worker.hold.objects("hook")[-1]
    sandbox.set_fault("hook", Fault(status=422))
    tally = release(worker)
    assert (dict(tally.dead), tally.held) == ({"rejected": 100}, 2_900)
    assert sandbox.counts("hook").requests < 300
    assert worker.hold.objects("hook")[-1] == untried
    # Put together again as they were: one event alone must not be what the lane is tried with.
    assert [len(batch.events) for batch in held_batches(worker)] == [1_300, 1_400, 200]
    minutes = {**dict.fromkeys(early, 1), **dict.fromkeys(late, 2), **dict.fromkeys(behind, 3)}
    for batch in held_batches(worker):  # whose deadline is still their own
        assert {START_MS + minutes[event] * 60_000 for event in batch.events} <= {batch.newest_ms}
    sandbox.set_fault("hook", None)
    assert release(worker).delivered == 2_900
