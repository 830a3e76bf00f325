"""An object on its way out is cut into portions, and nothing of it is left out or sent empty."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.hold.held_object import HeldObject
from runtime.hold.objects import HeldBatch
from sandbox.partners import MParticleSite, PartnerSandbox
from tests.runtime.hold.attending import EVENTS, HOUR, START, Held, Start

SIZES = [3, 1, 4, 1, 5]


@pytest.mark.parametrize("max_batches", [1, 2, 32])
@pytest.mark.parametrize("max_events", [1, 2, 3, 4, 5, 8, 14, 15])
def test_portions_are_as_large_as_they_may_be(
    max_events: int, max_batches: int, start: Start
) -> None:
    held = start()
    ends = list(itertools.accumulate(SIZES))
    batches = [
        HeldBatch(
            part="",
            oldest_ms=START,
            newest_ms=START,
            first_failed_ms=START,
            reason="status_503",
            events=EVENTS[end - size : end],
        )
        for size, end in zip(SIZES, ends, strict=True)
    ]
    one = HeldObject(held.worker, "hook", held.worker.hold.put("hook", batches))
    sent: list[bytes] = []
    while one.unsent:
        portion = one.next_portion(max_events, max_batches)
        assert all(batch.events for batch in portion)
        events = [event for batch in portion for event in batch.events]
        assert 0 < len(events) <= max_events
        assert len(portion) <= max_batches
        sent += events
        is_full = len(events) == max_events or len(portion) == max_batches
        assert is_full or not one.unsent
    assert sent == EVENTS[: ends[-1]]


# A connector with more than one part


IOS_FRESH, IOS_OLD, ANDROID = "ios", "ios/historical", "android"


@pytest.fixture
def partner() -> Iterator[PartnerSandbox]:
    feeds = {"ios": ("ios-key", "right"), "android": ("android-key", "right")}
    with PartnerSandbox({"mobile": MParticleSite(feeds)}) as running:
        yield running


@pytest.fixture
def mobile(start: Start, partner: PartnerSandbox, tmp_path: Path) -> Held:
    """A worker with an mParticle connector in place of the postback."""
    for name in ("ios-key", "android-key"):
        (tmp_path / name).write_text(name)
    connector: dict[str, Any] = {
        "name": "mobile",
        "kind": "mparticle",
        "endpoint": partner.url("mobile"),
        "feeds": {
            feed: {"key": f"file:{tmp_path}/{feed}-key", "secret": f"file:{tmp_path}/token"}
            for feed in ("ios", "android")
        },
    }
    held = start()
    held.connect_only(connector)
    return held


def held_object(held: Held, part: str, **about: Any) -> HeldObject:
    lane = f"mobile+{part.partition('/')[0]}"
    times: dict[str, Any] = {"oldest_ms": START, "newest_ms": START, "first_failed_ms": START}
    batch = HeldBatch(part=part, reason="status_503", events=EVENTS[:20], **times, **about)
    return HeldObject(held.worker, lane, held.worker.hold.put(lane, [batch]))


@pytest.mark.parametrize("part", [IOS_FRESH, IOS_OLD, ANDROID])
def test_what_is_released_goes_to_its_own_part(
    part: str, mobile: Held, partner: PartnerSandbox
) -> None:
    one = held_object(mobile, part)
    assert one.send(one.next_portion(20)) is None
    paths = {received.path for received in partner.requests("mobile")}
    assert paths == {"/v2/bulkevents/historical" if part == IOS_OLD else "/v2/bulkevents"}
    assert one.accepted + len(one.letters) == 20  # mParticle has no name for some
    assert len(partner.accepted_ids("mobile", part.partition("/")[0])) == one.accepted > 0


@pytest.mark.parametrize("part", [IOS_FRESH, IOS_OLD, ANDROID])
def test_a_letter_names_the_lane_and_the_life_of_its_event(part: str, mobile: Held) -> None:
    one = held_object(mobile, part, replays=2, attempts=7)
    one.bury_expired(START + 48 * HOUR)
    letter, *others = one.letters
    assert len(others) == 19
    assert (letter.connector, letter.lane) == ("mobile", f"mobile/0/{part}")
    assert (letter.replays, letter.attempts, letter.first_failed_ms) == (2, 7, START)


def test_what_is_joined_again_was_tried_as_often_as_its_most_tried_part(start: Start) -> None:
    held = start()
    times: dict[str, Any] = {"oldest_ms": START, "newest_ms": START, "first_failed_ms": START}
    batches = [
        HeldBatch(
            part="",
            reason="status_422",
            blame="events",
            attempts=attempts,
            events=EVENTS[first : first + 10],
            **times,
        )
        for first, attempts in ((0, 5), (10, 3), (20, 4))
    ]
    one = HeldObject(held.worker, "hook", held.worker.hold.put("hook", batches))
    one.close()
    assert one.kept is not None
    (joined,) = held.worker.hold.read("hook", one.kept)
    assert (joined.attempts, joined.events) == (5, EVENTS[:30])
