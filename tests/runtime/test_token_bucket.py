"""Rate limits: how a connector's is shared out, and a bucket under any sequence of batches."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.connectors import ConnectorEntry
from runtime.token_bucket import (
    TokenBucket,
    bucket_at,
    encode_bucket,
    full_bucket,
    lane_share,
    release_share,
)
from tests.runtime.configs import config_of, hook, parse, segment

FEED = {"key": "env:KEY", "secret": "env:SECRET"}
MPARTICLE = {"name": "mobile", "kind": "mparticle"}


def entry_of(connector: dict[str, Any]) -> ConnectorEntry:
    return config_of(connector).connectors[connector["name"]]


def feeds(*names: str) -> dict[str, Any]:
    return {"feeds": {name: {**FEED, "key": f"env:{name.upper()}"} for name in names}}


@pytest.mark.parametrize(
    ("connector", "share"),
    [
        (hook("a"), None),
        (hook("a", rate_limit=10), 10),
        (hook("a", rate_limit=10, shards=4), 2.5),
        (segment("a"), 1_000),
        (segment("a", rate_limit=50, shards=2), 25),
        ({**MPARTICLE, **feeds("ios")}, 270),
        ({**MPARTICLE, **feeds("ios", "android", "web"), "shards": 2}, 45),
        ({"name": "lake", "kind": "avro_files", "path": "lake"}, None),
    ],
)
def test_lanes_share_the_limit_of_their_connector(
    connector: dict[str, Any], share: float | None
) -> None:
    assert lane_share(entry_of(connector), resuming=False) == share


@pytest.mark.parametrize("shards", [1, 3])
def test_fresh_and_released_events_together_keep_to_the_limit(shards: int) -> None:
    entry = entry_of({**MPARTICLE, **feeds("ios", "web"), "shards": shards, "rate_limit": 60})
    fresh, released = lane_share(entry, resuming=True), release_share(entry)
    assert fresh is not None
    assert released is not None
    assert 2 * shards * fresh + 2 * released == pytest.approx(60)
    assert released == pytest.approx(15)
    assert release_share(entry_of(hook("a"))) is None


@pytest.mark.parametrize("limit", [0, -1, 1e-9, 1e12, "fast", True])
def test_a_limit_that_is_none_is_refused(limit: object) -> None:
    config, problems = parse(hook("a", rate_limit=limit))
    assert not config.connectors
    assert [problem.field for problem in problems] == ["rate_limit"]


def test_files_have_no_rate_that_could_be_limited() -> None:
    _, problems = parse({"name": "lake", "kind": "avro_files", "path": "lake", "rate_limit": 5})
    assert str(problems[0]) == "connector 'lake': rate_limit: avro_files has no rate to limit"


def test_a_batch_leaves_while_there_is_a_token_and_may_run_into_debt() -> None:
    bucket = full_bucket(10, 0.0)
    assert bucket.has_token
    in_debt = bucket.paid(35)
    assert not in_debt.has_token
    assert in_debt.token_at == pytest.approx(2.6, abs=0.01)
    assert not in_debt.refilled(10, 2.5).has_token
    assert in_debt.refilled(10, in_debt.token_at).has_token


def test_a_slow_bucket_holds_one_token() -> None:
    bucket = full_bucket(0.01, 0.0).paid(1)
    assert bucket.token_at == pytest.approx(100, abs=0.01)
    assert bucket.refilled(0.01, 1e9) == full_bucket(0.01, 1e9)


def test_a_bucket_that_is_full_again_is_as_good_as_none() -> None:
    bucket = full_bucket(10, 0.0).paid(25)
    assert not bucket.is_full
    again = bucket.refilled(10, bucket.full_at)
    assert again.is_full
    assert bucket_at(None, 10, bucket.full_at) == again


@pytest.mark.parametrize("back", [1.0, 3_600.0, 1e9])
def test_a_clock_that_is_put_back_gives_no_tokens_and_blocks_no_longer(back: float) -> None:
    in_debt = full_bucket(10, 1e9).paid(30)
    put_back = bucket_at(encode_bucket(in_debt), 10, 1e9 - back)
    assert put_back.tokens == in_debt.tokens
    assert put_back.token_at == pytest.approx(1e9 - back + 2.1, abs=0.01)


def test_a_changed_limit_holds_from_now_on() -> None:
    in_debt = full_bucket(10, 0.0).paid(30)
    assert in_debt.refilled(100, 0.0).token_at == pytest.approx(0.21, abs=0.01)
    assert full_bucket(1_000, 0.0).refilled(5, 0.0).tokens == 5


@given(
    rate=st.floats(0.01, 1_000),
    batches=st.lists(st.tuples(st.floats(0, 5), st.integers(0, 500)), max_size=60),
)
def test_no_more_than_the_rate_leaves_in_any_span(
    rate: float, batches: list[tuple[float, int]]
) -> None:
    now = 0.0
    kept: bytes | None = None
    sent: list[tuple[float, int]] = []
    for wait, units in batches:
        now += wait
        bucket = bucket_at(kept, rate, now)
        if not bucket.has_token:
            now = bucket.token_at
            bucket = bucket.refilled(rate, now)
            assert bucket.has_token
        kept = encode_bucket(bucket.paid(units))
        sent.append((now, units))
    depth = max(1.0, rate)
    for first, last in itertools.combinations(range(len(sent)), 2):
        span = sent[last][0] - sent[first][0]
        before_last = sum(units for _, units in sent[first:last])
        assert before_last <= depth + rate * span + 1e-6  # the last one may run into debt


def test_what_lies_in_state_says_its_version() -> None:
    assert isinstance(full_bucket(1, 0.0), TokenBucket)
    assert encode_bucket(full_bucket(1, 0.0))[:2] == b"\x94\x01"
