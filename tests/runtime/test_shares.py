"""A partner that hangs gets no more than its share, and one that works is waited for."""

from collections.abc import Sequence
from typing import Any

import pytest

from runtime.delivery import Deliverer, Delivery
from runtime.pool import LanePool
from runtime.secrets import SecretStore
from runtime.shares import SHARE_BYTES, SHARE_EVENTS, SILENT_SECONDS, UNANSWERED, Shares
from schemas.lane import Lane
from tests.runtime.configs import config_of, hook

SLOW, OTHER = Lane("slow", ""), Lane("other", "ios", 2)
HALF = SHARE_BYTES // 2


class Air:
    """Deliveries that were started at times that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.shares = Shares(lambda: self.now)
        self._deliverer = Deliverer(LanePool(1), SecretStore(), _unused, _unused)
        self._entries = config_of(hook("slow"), hook("other")).connectors

    def start(self, lane: Lane, size: int, events: int = 0) -> Delivery:
        delivery = Delivery(self._deliverer, lane, self._entries[lane.connector])
        delivery.started = self.now
        self.shares.add(delivery, size, events)
        return delivery


def _unused(*_: object) -> Any:
    raise AssertionError("nothing is sent here")


def end(deliveries: Sequence[Delivery]) -> None:
    for delivery in deliveries:
        delivery.give_up([], "expired")


@pytest.fixture
def air() -> Air:
    return Air()


def test_what_has_its_share_is_waited_for_until_it_has_been_silent_for_two_seconds(
    air: Air,
) -> None:
    air.start(OTHER, 1)
    first = air.start(SLOW, SHARE_BYTES - 1)
    air.now += 0.5
    assert air.shares.to_wait_for(SLOW) is None
    air.start(SLOW, 1)
    assert air.shares.to_wait_for(SLOW) == (first, SILENT_SECONDS - 0.5)
    assert air.shares.obstacle(SLOW) == ""
    air.now = 1_000 + SILENT_SECONDS
    assert air.shares.to_wait_for(SLOW) is None
    assert air.shares.obstacle(SLOW) == UNANSWERED
    assert air.shares.obstacle(OTHER) == ""


def test_what_hangs_without_its_share_may_have_more(air: Air) -> None:
    air.start(OTHER, 1)
    air.start(SLOW, SHARE_BYTES - 1)
    air.now += 60
    assert air.shares.hangs(SLOW)
    assert air.shares.obstacle(SLOW) == ""


def test_many_small_events_are_a_share_too(air: Air) -> None:
    air.start(OTHER, 1)
    first = air.start(SLOW, 1, SHARE_EVENTS - 1)
    assert air.shares.to_wait_for(SLOW) is None
    air.start(SLOW, 1, 1)
    assert air.shares.to_wait_for(SLOW) is not None
    end([first])
    assert air.shares.to_wait_for(SLOW) is None


def test_who_is_alone_is_left_to_wait_for_room(air: Air) -> None:
    """There is nobody for whom there should be room."""
    air.start(SLOW, SHARE_BYTES)
    assert air.shares.to_wait_for(SLOW) is None
    air.now += 60
    assert air.shares.obstacle(SLOW) == ""


def test_who_ends_a_delivery_does_not_hang(air: Air) -> None:
    air.start(OTHER, 1)
    first, second = air.start(SLOW, HALF), air.start(SLOW, 2 * HALF)
    air.now += SILENT_SECONDS - 0.1
    end([first])
    assert air.shares.to_wait_for(SLOW) == (second, SILENT_SECONDS)
    air.now += SILENT_SECONDS - 0.1
    assert air.shares.obstacle(SLOW) == ""
    air.now += 0.1
    assert air.shares.obstacle(SLOW) == UNANSWERED
    end([second])
    assert air.shares.obstacle(SLOW) == ""
    assert air.shares.to_wait_for(SLOW) is None


def test_who_ends_nothing_while_others_end_a_share_hangs_at_once(air: Air) -> None:
    for before in (air.start(OTHER, SHARE_BYTES), air.start(SLOW, 1)):
        end([before])
    air.shares.remove(before)
    assert air.shares.to_wait_for(OTHER) is None
    air.start(SLOW, SHARE_BYTES)
    for size, events in ((HALF, 0), (1, SHARE_EVENTS // 4)):
        end([air.start(OTHER, size, events)])
    assert air.shares.to_wait_for(OTHER) is None  # what has ended is seen
    assert air.shares.obstacle(SLOW) == ""
    last = air.start(OTHER, 1, SHARE_EVENTS // 4)
    end([last])
    air.shares.remove(last)
    assert air.shares.obstacle(SLOW) == UNANSWERED
    assert air.shares.to_wait_for(SLOW) is None


def test_who_has_ended_something_meanwhile_is_slow_and_does_not_hang(air: Air) -> None:
    first = air.start(SLOW, 1)
    air.start(SLOW, SHARE_BYTES)
    air.now += 0.1
    for lane_ends in (first, air.start(OTHER, 3 * SHARE_BYTES)):
        end([lane_ends])
        air.shares.remove(lane_ends)
    assert air.shares.obstacle(SLOW) == ""
    assert air.shares.to_wait_for(SLOW) is not None


def test_what_was_not_sent_says_nothing_of_the_partner(air: Air) -> None:
    air.start(OTHER, 1)
    air.start(SLOW, SHARE_BYTES)
    air.now += SILENT_SECONDS
    held = Delivery(air._deliverer, SLOW, None)
    end([held])
    air.shares.add(held, 100, 1)
    air.shares.remove(held)
    assert air.shares.obstacle(SLOW) == UNANSWERED


def test_feeds_and_shards_of_a_connector_have_one_share(air: Air) -> None:
    air.start(SLOW, 1)
    air.start(OTHER, SHARE_BYTES)
    assert air.shares.to_wait_for(Lane("other", "ios", 1)) is not None
    assert air.shares.to_wait_for(Lane("other", "web", 2)) is not None
