"""The breaker of a lane as values: what suspends it, when it is tried, what resumes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.hold.objects import HeldBatch
from runtime.hold.watch import (
    FIRST_TRY_MS,
    Failure,
    ProbePace,
    Watch,
    accepted,
    decode_watch,
    encode_watch,
    failed,
    first_watch,
    is_due,
    noted,
    rejected,
    worst_of,
)

NOW = 1_800_000_000_000
SHORTEST = ProbePace(30_000, 1_800_000, between=lambda low, _: low)
LONGEST = ProbePace(30_000, 1_800_000, between=lambda _, high: high)
BUSY = Failure("status_503", "try", 503, "busy")
REFUSED = Failure("status_401", "lane", 401, "who are you")


def test_a_refused_key_suspends_at_once() -> None:
    watch = noted(None, REFUSED, NOW, SHORTEST)
    assert (watch.state, watch.reason, watch.status) == ("suspended", "status_401", 401)
    assert watch.next_try_ms == NOW + 30_000


def test_one_failed_batch_is_tried_again_soon_and_the_second_failure_suspends() -> None:
    watch = noted(None, BUSY, NOW, LONGEST)
    assert (watch.state, watch.next_try_ms) == ("holding", NOW + FIRST_TRY_MS)
    watch = failed(watch, BUSY, NOW + 5_000, LONGEST)
    assert (watch.state, watch.since_ms, watch.failures) == ("suspended", NOW + 5_000, 2)


def test_batches_that_were_not_tried_say_nothing_of_the_lane() -> None:
    watch = noted(None, Failure("suspended", "none"), NOW, LONGEST)
    assert (watch.state, watch.failures) == ("holding", 0)
    suspended = noted(None, REFUSED, NOW, LONGEST)
    assert noted(suspended, BUSY, NOW + 1, LONGEST) == suspended


def test_probes_come_less_often_with_full_jitter_between_the_two_limits() -> None:
    bounds = [LONGEST.wait_ms(failures) / 1_000 for failures in range(9)]
    assert bounds == [30, 60, 120, 240, 480, 960, 1_800, 1_800, 1_800]
    assert {SHORTEST.wait_ms(failures) for failures in range(99)} == {30_000}


def test_the_partner_is_not_tried_before_it_asked_to_be() -> None:
    asked = Failure("status_429", "try", 429, retry_at_ms=NOW + 7_200_000)
    watch = failed(first_watch(NOW), asked, NOW, SHORTEST)
    assert watch.next_try_ms == NOW + 7_200_000


def test_what_is_accepted_resumes_the_lane() -> None:
    watch = accepted(noted(None, REFUSED, NOW, LONGEST), NOW + 60_000)
    assert (watch.state, watch.since_ms, watch.failures) == ("resuming", NOW + 60_000, 0)
    assert accepted(watch, NOW + 90_000).since_ms == NOW + 60_000


def test_rejected_events_are_counted_until_one_is_accepted() -> None:
    watch = rejected(rejected(first_watch(NOW), 60, NOW), 39, NOW)
    assert (watch.rejected, watch.state) == (99, "holding")
    assert accepted(watch, NOW).rejected == 0


def test_a_clock_that_was_put_back_delays_no_probe() -> None:
    watch = failed(noted(None, REFUSED, NOW, LONGEST), REFUSED, NOW, LONGEST)
    hour_before = NOW - 3_600_000
    assert is_due(watch, hour_before)
    again = failed(watch, REFUSED, hour_before, LONGEST)
    assert not is_due(again, hour_before)
    assert again.next_try_ms <= hour_before + LONGEST.max_ms


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["fail", "refuse", "accept", "reject"]), st.integers(0, 10**7))
    )
)
def test_a_probe_is_never_more_than_the_longest_wait_away(steps: list[tuple[str, int]]) -> None:
    now, watch = NOW, first_watch(NOW)
    for what, passed in steps:
        now += passed
        watch = _after(what, watch, now)
        assert watch.next_try_ms <= now + LONGEST.max_ms
        assert decode_watch(encode_watch(watch)) == watch


def _after(what: str, watch: Watch, now: int) -> Watch:
    match what:
        case "fail":
            return failed(watch, BUSY, now, ProbePace(30_000, 1_800_000))
        case "refuse":
            return noted(watch, REFUSED, now, ProbePace(30_000, 1_800_000))
        case "accept":
            return accepted(watch, now)
        case _:
            return rejected(watch, 1, now)


@pytest.mark.parametrize(
    ("blames", "worst"),
    [
        (("none", "try", "lane", "events"), "lane"),
        (("none", "events", "try"), "try"),
        (("none", "events"), "events"),
        (("none",), "none"),
    ],
)
def test_of_several_batches_the_worst_speaks_for_the_lane(
    blames: tuple[str, ...], worst: str
) -> None:
    batches = [
        HeldBatch(
            part="",
            oldest_ms=0,
            newest_ms=0,
            first_failed_ms=0,
            reason=blame,
            blame=blame,  # type: ignore[arg-type]
            retry_at_ms=number,
        )
        for number, blame in enumerate(blames)
    ]
    assert worst_of(batches) == Failure(worst, worst, None, "", len(blames) - 1)  # type: ignore[arg-type]
