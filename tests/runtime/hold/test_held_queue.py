"""A lane's queue as one process sees it: what others do to it meanwhile, and what is not ours in it."""

from pathlib import Path

import msgspec
import pytest

from runtime.hold.directory import HoldQueue
from runtime.hold.expiry import bury_expired
from runtime.hold.held_queue import LIST_MS, HeldQueue
from runtime.hold.objects import HeldFile
from tests.runtime.hold.attending import HOUR, Held, Start


def queue_of(held: Held) -> HeldQueue:
    queue = HeldQueue(held.worker, "hook")
    queue.look(anew=False)
    return queue


def put_by_another(held: Held, name: str) -> str:
    """Another process's object, of what the first has."""
    others = HoldQueue(held.worker.settings.hold)
    (batch,) = others.read("hook", name)
    return others.put("hook", [msgspec.structs.replace(batch, events=batch.events[:1])])


def names(queue: HeldQueue) -> list[str]:
    return [file.name for file in queue.files]


def test_what_others_write_is_seen_when_it_is_time_to_list_anew(start: Start) -> None:
    held = start()
    ours = held.hold(0, 10)
    queue = queue_of(held)
    theirs = put_by_another(held, ours)
    held.now += LIST_MS - 1
    queue.look(anew=False)
    assert names(queue) == [ours]
    held.now += 1
    queue.look(anew=False)
    assert names(queue) == sorted([ours, theirs])


@pytest.mark.parametrize("by", ["asked", "mistrust"])
def test_a_queue_is_listed_at_once_where_it_may_be_another(by: str, start: Start) -> None:
    held = start()
    ours = held.hold(0, 10)
    queue = queue_of(held)
    theirs = put_by_another(held, ours)
    if by == "mistrust":
        queue.mistrust()
    queue.look(anew=by == "asked")
    assert names(queue) == sorted([ours, theirs])


def test_an_object_that_somebody_has_taken_since_the_listing_is_forgotten(start: Start) -> None:
    held = start()
    name = held.hold(0, 10)
    queue = queue_of(held)
    held.worker.hold.remove("hook", name)
    assert queue.head() is None
    assert (names(queue), queue.set_aside) == ([], 0)


def test_what_is_not_ours_is_set_aside_and_the_log_says_why(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    held = start()
    held.hold(0, 10)
    place = Path(held.worker.settings.hold) / "queue" / "hook" / "notes.txt"
    place.write_text("call them")
    queue = queue_of(held)
    assert queue.open(HeldFile("notes.txt", 9)) is None
    assert queue.set_aside == 1
    assert "notes.txt" not in names(queue)
    aside = Path(held.worker.settings.hold) / "set-aside" / "hook" / "notes.txt"
    assert aside.read_text() == "call them"
    why = "the object notes.txt of lane hook is not whole, or not ours"
    assert caplog.messages == [f"set aside as {aside}: {why}"]


def test_what_is_not_ours_keeps_nothing_behind_it_from_being_buried_in_the_same_turn(
    start: Start,
) -> None:
    held = start()
    (folder := Path(held.worker.settings.hold) / "queue" / "hook").mkdir(parents=True)
    (folder / "0-notes.txt").write_text("it sorts before all of ours")
    held.hold(0, 10)
    held.now += HOUR
    held.hold(10, 20)
    queue = queue_of(held)
    held.now += 47 * HOUR + 1
    entry = held.worker.config.current().connectors["hook"]
    assert bury_expired(held.worker, queue, entry) == {"expired": 10}
    assert queue.set_aside == 1
    assert len(queue.files) == 1
