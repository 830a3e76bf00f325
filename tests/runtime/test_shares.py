"""A partner that hangs gets no more than its share, and one that works is waited for."""

from typing import Any

import pytest

from runtime.delivery import Deliverer, Delivery
from runtime.pool import LanePool
from runtime.secrets import SecretStore
from runtime.shares import OVERTAKEN_SECONDS, SHARE_BYTES, SHARE_EVENTS, SILENT_SECONDS, Shares
from schemas.lane import Lane
from tests.runtime.configs import config_of, hook

SLOW, OTHER = "slow", "other"
HALF = SHARE_BYTES // 2


class Air:
    """Deliveries that were started at times that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.shares = Shares(lambda: self.now)
        self._deliverer = Deliverer(LanePool(1), SecretStore(), _unused, _unused)
        self._entries = config_of(hook("slow"), hook("other")).connectors

    def start(self, name: str, size: int, events: int = 0) -> Delivery:
        delivery = Delivery(self._deliverer, Lane(name, ""), self._entries[name])
        self.shares.add(delivery, size, events)
        return delivery

    def end(self, *deliveries: Delivery) -> None:
        for delivery in deliveries:
            delivery.give_up([], "expired")
            self.shares.forget(delivery)

    def hold(self, name: str) -> None:
        """What was not sent has ended before it is counted."""
        delivery = Delivery(self._deliverer, Lane(name, ""), None)
        delivery.give_up([], "expired")
        self.shares.add(delivery, SHARE_BYTES, SHARE_EVENTS)
        self.shares.forget(delivery)


def _unused(*_: object) -> Any:
    raise AssertionError("nothing is sent here")


@pytest.fixture
def air() -> Air:
    return Air()


def test_who_has_used_up_its_share_hangs_after_two_seconds_of_silence(air: Air) -> None:
    air.start(OTHER, 1)
    air.start(SLOW, SHARE_BYTES - 1)
    air.now += 60
    assert not air.shares.hangs(SLOW)
    air.start(SLOW, 1)  # the silence before does not count: it was sent little
    air.now += SILENT_SECONDS - 0.1
    assert not air.shares.hangs(SLOW)
    air.now += 0.2
    assert air.shares.hangs(SLOW)
    assert not air.shares.hangs(OTHER)


def test_more_than_a_share_does_not_begin_the_silence_anew(air: Air) -> None:
    air.start(OTHER, 1)
    air.start(SLOW, SHARE_BYTES)
    air.now += SILENT_SECONDS - 0.1
    air.start(SLOW, SHARE_BYTES)
    air.now += 0.2
    assert air.shares.hangs(SLOW)


def test_many_small_events_are_a_share_too(air: Air) -> None:
    air.start(OTHER, 1)
    first = air.start(SLOW, 1, SHARE_EVENTS - 1)
    air.now += 60
    assert not air.shares.hangs(SLOW)
    air.start(SLOW, 1, 1)
    air.now += 60
    assert air.shares.hangs(SLOW)
    air.end(first)
    air.now += 60
    assert not air.shares.hangs(SLOW)


def test_who_is_alone_does_not_hang(air: Air) -> None:
    """There is nobody for whom there should be room."""
    air.start(SLOW, SHARE_BYTES)
    air.now += 60
    assert not air.shares.hangs(SLOW)


def test_who_ends_something_is_slow_and_does_not_hang(air: Air) -> None:
    air.start(OTHER, 1)
    deliveries = [air.start(SLOW, SHARE_BYTES) for _ in range(4)]
    for delivery in deliveries[1:]:  # the first one hangs
        air.now += SILENT_SECONDS - 0.1
        assert not air.shares.hangs(SLOW)
        air.end(delivery)
    air.now += SILENT_SECONDS - 0.1
    assert not air.shares.hangs(SLOW)
    air.now += 0.2
    assert air.shares.hangs(SLOW)
    air.end(deliveries[0])
    assert not air.shares.hangs(SLOW)


def test_whose_partner_takes_something_of_a_delivery_does_not_hang(air: Air) -> None:
    air.start(OTHER, 1)
    first, second = air.start(SLOW, SHARE_BYTES), air.start(SLOW, SHARE_BYTES)
    for _ in range(3):
        air.now += SILENT_SECONDS - 0.1
        second.outcome.tally.delivered += 100
        assert not air.shares.hangs(SLOW)
    air.end(second)
    air.now += SILENT_SECONDS - 0.1
    first.outcome.tally.delivered += 100  # fewer than were seen of both
    assert not air.shares.hangs(SLOW)
    air.now += SILENT_SECONDS - 0.1
    assert not air.shares.hangs(SLOW)
    air.now += 0.2
    assert air.shares.hangs(SLOW)


def test_who_ends_nothing_while_others_end_a_share_hangs_sooner(air: Air) -> None:
    air.end(air.start(OTHER, SHARE_BYTES), air.start(SLOW, SHARE_BYTES))  # before it counts
    air.start(SLOW, SHARE_BYTES)
    air.now += OVERTAKEN_SECONDS + 0.1
    air.end(air.start(OTHER, HALF), air.start(OTHER, 1, SHARE_EVENTS // 4))
    assert not air.shares.hangs(SLOW)
    air.end(air.start(OTHER, 1, SHARE_EVENTS // 4))
    assert air.shares.hangs(SLOW)
    air.hold(SLOW)  # what was not sent says nothing of its partner
    assert air.shares.hangs(SLOW)


def test_what_others_have_ended_counts_from_the_last_that_it_ended_itself(air: Air) -> None:
    first = air.start(SLOW, SHARE_BYTES)
    air.start(SLOW, SHARE_BYTES)
    air.now += OVERTAKEN_SECONDS
    air.end(air.start(OTHER, HALF), first, air.start(OTHER, HALF))
    air.now += OVERTAKEN_SECONDS + 0.1
    assert not air.shares.hangs(SLOW)
    air.end(air.start(OTHER, HALF))
    assert air.shares.hangs(SLOW)


def test_who_is_overtaken_for_a_moment_does_not_hang(air: Air) -> None:
    air.start(SLOW, SHARE_BYTES)
    air.end(*(air.start(OTHER, SHARE_BYTES) for _ in range(4)))
    air.now += OVERTAKEN_SECONDS - 0.1
    assert not air.shares.hangs(SLOW)
    air.now += 0.2
    assert air.shares.hangs(SLOW)
