"""When a lane's fragments leave as a batch, and what a clock that is put back does to that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.batching import (
    LARGE_WINDOW_SECONDS,
    LOOK_SECONDS,
    RATE_LIMIT,
    Target,
    flush,
    next_look,
    nothing_yet,
    target_of,
)
from runtime.hold.suspensions import Suspensions
from runtime.token_bucket import full_bucket
from schemas.batch import Batch, Token, make_batch
from tests.runtime.configs import config_of, hook

ENTRY = config_of(hook("hook", max_events=10)).connectors["hook"]
HEALTHY = Target(ENTRY, 5.0, for_hold=False)
FOR_HOLD = Target(ENTRY, None, for_hold=True)


def fragments(*sizes: int) -> list[Batch]:
    return [
        make_batch(
            [b"%d-%d" % (number, event) for event in range(size)], 0, 0, [Token(number, 1, "")]
        )
        for number, size in enumerate(sizes, 1)
    ]


@given(
    st.lists(st.integers(1, 25), min_size=1, max_size=20),
    st.integers(-50, 5),
    st.booleans(),
)
def test_every_event_leaves_or_stays_once_and_in_order(
    sizes: list[int], tokens: int, at_once: bool
) -> None:
    bucket = full_bucket(5.0, 0.0).paid(5 - tokens)
    found = fragments(*sizes)
    flushed = flush(found, HEALTHY, bucket, at_once)
    out = [*flushed.batches, *flushed.rest]
    assert [event for part in out for event in part.events] == [
        event for part in found for event in part.events
    ]
    assert [token for part in out for token in part.tokens] == [
        token for part in found for token in part.tokens
    ]
    assert not (at_once and flushed.rest)
    assert all(part.hold_reason == "" for part in (*flushed.batches[:-1], *flushed.rest))


def test_a_batch_is_no_larger_than_what_makes_it_full() -> None:
    flushed = flush(fragments(*[4] * 9), HEALTHY, full_bucket(5.0, 0.0), at_once=False)
    assert [batch.count for batch in flushed.batches] == [12, 12, 12]
    assert flushed.bucket
    assert flushed.bucket.tokens == 5 - 6  # two requests each, for the partner takes 10 events


def test_what_must_leave_without_a_token_says_why_it_is_held() -> None:
    flushed = flush(fragments(10, 10), HEALTHY, full_bucket(5.0, 0.0).paid(5), at_once=True)
    assert [(batch.count, batch.hold_reason) for batch in flushed.batches] == [(20, RATE_LIMIT)]


def test_a_clock_that_is_put_back_ends_a_window_after_its_length_at_the_latest() -> None:
    waiting = nothing_yet(HEALTHY, 1e9).seen(HEALTHY, 1e9, 1e9 + 10)
    now = 1e9 - 3_600
    assert next_look(waiting, HEALTHY, None, now, hurries=False) == now + 10
    seen = waiting.seen(HEALTHY, now, now + 10)
    assert seen.look_at == now + 10
    assert not seen.is_due(HEALTHY, now + 9)
    assert seen.is_due(HEALTHY, now + 10)


def test_a_lane_that_is_suspended_while_it_gathers_waits_for_more() -> None:
    waiting = nothing_yet(HEALTHY, 0.0)
    assert not waiting.is_due(FOR_HOLD, LARGE_WINDOW_SECONDS - 1)
    assert next_look(waiting, FOR_HOLD, None, 12.0, hurries=False) == 12 + LOOK_SECONDS


@pytest.mark.parametrize(
    ("batch_window", "seconds"),
    [("10 s", 60), ("300 s", 60), ("2 s", 12), ("0.5 s", LOOK_SECONDS)],
)
def test_what_is_bound_for_the_hold_waits_for_six_windows_and_a_minute_at_the_most(
    batch_window: str, seconds: float
) -> None:
    entry = config_of(hook("hook", batch_window=batch_window)).connectors["hook"]
    assert Target(entry, None, for_hold=True).window_seconds == seconds


@pytest.mark.parametrize(
    ("settings", "state", "target"),
    [
        ({}, None, (8.0, False)),
        ({}, "resuming", (4.0, False)),
        ({}, "suspended", (None, True)),
        ({"paused": True}, None, (None, True)),
        ({"enabled": False}, "resuming", (None, True)),
    ],
)
def test_what_a_lane_gathers_for_follows_its_settings_and_its_state(
    settings: dict[str, bool],
    state: str | None,
    target: tuple[float | None, bool],
    tmp_path: object,
) -> None:
    config = config_of(hook("hook", rate_limit=8, **settings))
    suspensions = Suspensions(str(tmp_path))
    suspensions.mark("hook", state)  # type: ignore[arg-type] # a literal
    found = target_of("hook/0/", config, suspensions)
    assert (found.rate, found.for_hold) == target


def test_a_connector_that_is_gone_gathers_for_the_hold(tmp_path: object) -> None:
    found = target_of("gone/0/", config_of(hook("hook")), Suspensions(str(tmp_path)))
    assert (found.rate, found.for_hold) == (None, True)
