"""When a lane's fragments leave as a batch, and what a clock that is put back does to that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.batching import (
    LARGE_WINDOW_SECONDS,
    LOOK_SECONDS,
    RATE_LIMIT,
    VERSION,
    Target,
    decode_waiting,
    encode_waiting,
    flush,
    next_look,
    nothing_yet,
    target_of,
)
from runtime.hold.suspensions import Suspensions
from runtime.receipts import Receipts
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


@pytest.mark.parametrize(
    ("settings", "sizes", "counts"),
    [
        ({"max_events": 10}, [5, 5, 9, 1, 1], [10, 10, 1]),
        ({"max_events": 10}, [9, 9, 9], [18, 9]),
        ({"max_events": 1}, [1, 1], [1, 1]),
        ({"max_request_bytes": 34}, [4, 5, 4], [9, 4]),  # fragments of 15, 19 and 15 bytes
        ({"max_request_bytes": 35}, [4, 5, 4, 4, 5, 4], [13, 13]),
    ],
)
def test_a_batch_is_full_at_its_count_or_its_bytes_and_the_next_begins_with_nothing(
    settings: dict[str, int], sizes: list[int], counts: list[int]
) -> None:
    entry = config_of(hook("hook", **settings)).connectors["hook"]
    target = Target(entry, 5.0, for_hold=False)
    flushed = flush(fragments(*sizes), target, full_bucket(50.0, 0.0), at_once=False)
    assert [batch.count for batch in flushed.batches] == counts
    assert target.is_filled_by(target.max_count, 0)
    assert not target.is_filled_by(target.max_count - 1, target.max_bytes - 1)
    assert target.is_filled_by(0, target.max_bytes)


def test_without_a_bucket_all_leaves_as_one_batch() -> None:
    found = fragments(10, 10, 10)
    flushed = flush(found, HEALTHY, None, at_once=False)
    assert (list(flushed.rest), flushed.bucket) == ([], None)
    (batch,) = flushed.batches
    assert batch.events == [event for part in found for event in part.events]
    assert batch.tokens == [token for part in found for token in part.tokens]


@pytest.mark.parametrize("at_once", [False, True])
def test_nothing_is_held_while_there_are_tokens_and_what_was_spent_is_remembered(
    at_once: bool,
) -> None:
    flushed = flush(fragments(10, 10), HEALTHY, full_bucket(5.0, 0.0), at_once)
    assert [(batch.count, batch.hold_reason) for batch in flushed.batches] == [(10, ""), (10, "")]
    assert flushed.bucket
    assert flushed.bucket.tokens == 5 - 2


def test_what_is_held_for_want_of_tokens_spends_none_and_the_bucket_is_kept() -> None:
    empty = full_bucket(5.0, 0.0).paid(5)
    assert flush(fragments(10), HEALTHY, empty, at_once=True).bucket == empty


def test_what_a_connector_that_is_gone_would_cost_is_nothing() -> None:
    (batch,) = fragments(30)
    assert Target(None, None, for_hold=True).units(batch) == 0
    assert HEALTHY.units(batch) == 3


def test_what_waits_is_counted_as_fragments_come_and_go() -> None:
    first, second = fragments(4, 5)
    nothing = nothing_yet(HEALTHY, 7.0)
    assert (nothing.version, nothing.count, nothing.size, nothing.since) == (VERSION, 0, 0, 7.0)
    both = nothing.with_fragment(first).with_fragment(second)
    assert (both.count, both.size, both.since) == (9, first.size + second.size, 7.0)
    assert both.with_only([second]) == nothing.with_fragment(second)
    assert both.with_only([]) == nothing
    assert decode_waiting(encode_waiting(both)) == both


def test_a_lane_that_has_resumed_while_it_gathered_is_due_at_once() -> None:
    bound = nothing_yet(HEALTHY, 100.0).seen(FOR_HOLD, 100.0, 105.0)
    assert (bound.for_hold, nothing_yet(FOR_HOLD, 100.0).for_hold) == (True, True)
    for waiting in (bound, nothing_yet(FOR_HOLD, 100.0)):
        assert waiting.is_due(HEALTHY, 100.0)
        assert not waiting.is_due(FOR_HOLD, 100.0)
    assert not bound.seen(HEALTHY, 101.0, 111.0).is_due(HEALTHY, 101.0)


@pytest.mark.parametrize(("after", "look_at"), [(2, 102.0), (6, 105.0)])
def test_a_lane_without_tokens_is_looked_at_when_one_comes_or_soon(
    after: int, look_at: float
) -> None:
    bucket = full_bucket(1.0, 100.0).paid(after)
    waiting = nothing_yet(HEALTHY, 100.0)
    found = next_look(waiting, HEALTHY, bucket, 100.0, hurries=False)
    assert found == pytest.approx(look_at, abs=0.01)


@pytest.mark.parametrize(
    ("messages", "pressed", "pressed_for_hold"),
    [(5_000, False, False), (5_001, False, True), (10_000, False, True), (10_001, True, True)],
)
def test_what_is_bound_for_the_hold_gives_way_first(
    messages: int, pressed: bool, pressed_for_hold: bool
) -> None:
    receipts = Receipts()
    receipts.issue(messages, 0, lambda: None)
    assert HEALTHY.is_pressed(receipts) is pressed
    assert FOR_HOLD.is_pressed(receipts) is pressed_for_hold


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
    assert found.entry is config.connectors["hook"]


def test_all_lanes_of_a_queue_in_the_hold_gather_for_it_when_it_is_suspended(
    tmp_path: object,
) -> None:
    feeds = {name: {"key": "env:K", "secret": "env:S"} for name in ("ios", "web")}
    config = config_of({"name": "m", "kind": "mparticle", "feeds": feeds})
    suspensions = Suspensions(str(tmp_path))
    suspensions.mark("m+ios", "suspended")
    for lane, for_hold in (("m/0/ios", True), ("m/3/ios/historical", True), ("m/0/web", False)):
        assert target_of(lane, config, suspensions).for_hold is for_hold


def test_a_connector_that_is_gone_gathers_for_the_hold(tmp_path: object) -> None:
    found = target_of("gone/0/", config_of(hook("hook")), Suspensions(str(tmp_path)))
    assert (found.rate, found.for_hold) == (None, True)
