"""A turn counts what it buries as rejected, so that no more than a hundred go with none accepted."""

import msgspec
import pytest

from runtime.hold.turn import Turn
from runtime.hold.watch import MAX_REJECTED, ProbePace, first_watch

NOW = 1_900_000_000_000
PACE = ProbePace(5_000, 60_000)


@pytest.mark.parametrize(
    ("before", "now", "left"), [(0, 0, 100), (60, 0, 40), (60, 39, 1), (60, 40, 0), (60, 41, 0)]
)
def test_what_earlier_turns_have_buried_counts_too(before: int, now: int, left: int) -> None:
    watch = msgspec.structs.replace(first_watch(NOW), rejected=before)
    assert Turn(rejected=now).may_bury(watch) == left


def test_once_something_is_accepted_a_hundred_more_may_be_buried() -> None:
    watch = msgspec.structs.replace(first_watch(NOW), rejected=60)
    turn = Turn(rejected=40)
    turn.accept()
    assert turn.may_bury(watch) == MAX_REJECTED
    turn.rejected += 7
    after = turn.after(watch, NOW + 1, PACE)
    assert (after.state, after.rejected) == ("resuming", 7)
    assert Turn().may_bury(after) == MAX_REJECTED - 7


def test_a_lane_whose_events_are_being_isolated_is_tried_on_at_once() -> None:
    watch = msgspec.structs.replace(first_watch(NOW), next_try_ms=NOW + 60_000)
    assert Turn(rejected=1).after(watch, NOW + 1, PACE).next_try_ms == NOW + 1
