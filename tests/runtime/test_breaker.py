"""A lane whose partner does not answer is left alone for a while, longer each time."""

import pytest

from runtime.breaker import FIRST_SECONDS, LONGEST_SECONDS, Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_lane_is_open_after_a_trip_and_then_is_tried_again(clock: Clock) -> None:
    breaker = Breaker(clock)
    assert not breaker.is_open("a")
    breaker.trip("a")
    assert breaker.is_open("a")
    assert not breaker.is_open("b")
    clock.now = FIRST_SECONDS
    assert not breaker.is_open("a")
    assert breaker.is_doubted("a")


def test_trips_in_a_row_are_longer_up_to_a_limit_and_a_success_ends_them(clock: Clock) -> None:
    breaker = Breaker(clock)
    for seconds in (FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS):
        breaker.trip("a")
        clock.now += seconds - 0.25
        assert breaker.is_open("a")
        clock.now += 0.25
        assert not breaker.is_open("a")
    for _ in range(10):
        breaker.trip("a")
        clock.now += LONGEST_SECONDS
    assert not breaker.is_open("a")
    breaker.trip("a")
    breaker.succeed("a", clock.now)
    assert not breaker.is_open("a")
    assert not breaker.is_doubted("a")


def test_many_failures_at_once_are_one_trip(clock: Clock) -> None:
    breaker = Breaker(clock)
    for _ in range(8):
        breaker.trip("a")
    clock.now = FIRST_SECONDS
    assert not breaker.is_open("a")


def test_a_lane_stays_open_as_long_as_the_partner_asks(clock: Clock) -> None:
    breaker = Breaker(clock)
    breaker.trip("a", 60)
    clock.now = 59.75
    assert breaker.is_open("a")
    clock.now = 60
    assert not breaker.is_open("a")


@pytest.mark.parametrize("seconds", [(0, 60), (60, 0), (30, 60), (60, 30), (60, 0, 0, 0)])
def test_of_several_failures_the_longest_wait_counts(
    seconds: tuple[float, ...], clock: Clock
) -> None:
    breaker = Breaker(clock)
    for asked in seconds:
        breaker.trip("a", asked)
    clock.now = 59.75
    assert breaker.is_open("a")
    clock.now = 60
    assert not breaker.is_open("a")


def test_what_was_on_its_way_does_not_end_a_wait_that_the_partner_asked_for(clock: Clock) -> None:
    breaker = Breaker(clock)
    clock.now = 10
    breaker.trip("a", 60)
    clock.now = 11
    breaker.succeed("a", sent_at=9)
    assert breaker.is_open("a")
    breaker.trip("a")
    clock.now = 69.75
    breaker.succeed("a", sent_at=9)
    assert breaker.is_open("a")
    clock.now = 70
    breaker.succeed("a", sent_at=9)
    assert not breaker.is_doubted("a")


def test_what_was_sent_after_it_ends_the_wait(clock: Clock) -> None:
    breaker = Breaker(clock)
    breaker.trip("a", 60)
    breaker.succeed("a", sent_at=clock.now + 1)
    assert not breaker.is_open("a")
    assert not breaker.is_doubted("a")


def test_what_a_partner_has_taken_is_told_once_and_of_its_lane(clock: Clock) -> None:
    breaker = Breaker(clock)
    assert not breaker.take_accepted("a")
    breaker.succeed("a", 0.0)
    assert not breaker.take_accepted("b")
    assert breaker.take_accepted("a")
    assert not breaker.take_accepted("a")


def test_what_was_rejected_is_remembered_until_the_partner_takes_something(clock: Clock) -> None:
    breaker = Breaker(clock)
    assert breaker.rejected("a") == 0
    breaker.remember_rejected("a", 7)
    breaker.remember_rejected("a", 0)
    assert (breaker.rejected("a"), breaker.rejected("b")) == (7, 0)
    breaker.succeed("b", 0.0)
    assert breaker.rejected("a") == 7
    breaker.succeed("a", 0.0)
    assert breaker.rejected("a") == 0
