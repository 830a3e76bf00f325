"""A batch weighs what its bytes are: limits of bytes rest on it."""

import hashlib
import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from sinks.items import Items
from sinks.user_batches import (
    UserBatch,
    contents_of,
    count_batches,
    fill_requests,
    group_by_user,
)

DRAWN = st.tuples(st.sampled_from("abc"), st.text(max_size=90), st.integers(0, 200))


def items_of(drawn: list[tuple[str, str, int]]) -> tuple[Items, list[str]]:
    """Batches of one event, each of a user, with an id and an attribute of some size; and the users."""
    items = Items(128_000, "as a user batch")
    for user, event_id, size in drawn:
        batch = {
            "user_identities": {"customerid": user},
            "events": [{"n": "x" * size, "source_request_id": event_id}],
            "source_request_id": event_id,
        }
        items.add(event_id.encode(), lambda _, batch=batch: batch)
    return items, [user for user, _, _ in drawn]


def encoded(items: Items, batch: UserBatch) -> bytes:
    ((body,), _) = contents_of([batch], items)
    return bytes(body)


def members(items: Items, batch: UserBatch) -> list[str]:
    """The ids of its events."""
    return [event.decode() for event in contents_of([batch], items)[1]]


@given(st.lists(DRAWN, max_size=20), st.integers(1, 4))
def test_a_batch_weighs_what_its_bytes_are(
    drawn: list[tuple[str, str, int]], max_events: int
) -> None:
    items, users = items_of(drawn)
    batches = group_by_user(items, users, 128_000, max_events)
    assert [batch.weight for batch in batches] == [len(encoded(items, one)) for one in batches]
    assert sum(batch.count for batch in batches) == len(drawn)
    assert all(one.count == len(members(items, one)) <= max_events for one in batches)


TRAPS = st.sampled_from(['],"source_request_id":"', ',"events":[', '"', "\\", "}"])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.lists(TRAPS).map("".join)), max_size=8))
def test_events_of_a_user_are_told_apart_whatever_their_ids_are(
    drawn: list[tuple[str, str]],
) -> None:
    items, users = items_of([(user, event_id, 1) for user, event_id in drawn])
    batches = group_by_user(items, users, 128_000, 100)
    assert len(batches) == len(set(users))
    for batch in batches:
        of_user = [event_id for user, event_id in drawn if user == users[batch.first]]
        ids = members(items, batch)
        assert ids == of_user
        found = json.loads(encoded(items, batch))
        assert [event["source_request_id"] for event in found["events"]] == ids
        assert found["user_identities"] == {"customerid": users[batch.first]}
        digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
        assert found["source_request_id"] == (digest if len(ids) > 1 else ids[0])


@given(st.lists(st.integers(0, 90), min_size=2, max_size=6), st.sampled_from([-1, 0, 1]))
def test_a_batch_is_filled_to_its_last_byte_and_not_beyond(ids: list[int], beyond: int) -> None:
    """Ids longer than the hash that takes their place too."""
    items, users = items_of([("a", "i" * length, 50) for length in ids])
    (whole,) = group_by_user(items, users, 128_000, 100)
    size = len(encoded(items, whole))
    batches = group_by_user(items, users, size - beyond, 100)
    assert (len(batches) == 1) is (beyond <= 0)


@given(st.lists(DRAWN, max_size=20), st.integers(300, 1_000), st.integers(1, 7))
def test_a_request_ends_only_where_the_next_batch_would_not_fit(
    drawn: list[tuple[str, str, int]], max_bytes: int, max_events: int
) -> None:
    items, users = items_of(drawn)
    batches = group_by_user(items, users, 300, max_events)
    runs = list(fill_requests(batches, max_bytes, max_events))
    assert [batch for run in runs for batch in run] == batches
    for run, after in itertools.zip_longest(runs, runs[1:], fillvalue=()):
        body = b"[" + b",".join(encoded(items, batch) for batch in run) + b"]"
        assert sum(one.count for one in run) <= max_events
        assert len(body) <= max_bytes or len(run) == 1
        if after:
            longer = len(body) + 1 + len(encoded(items, after[0])) > max_bytes
            assert longer or sum(one.count for one in run) + after[0].count > max_events


def test_batches_are_counted_by_what_they_hold_at_the_most() -> None:
    event = b'{"user":{"external_user_id":"a"},"properties":{}}'
    assert count_batches([event] * 5, 1_000, 2) == 3
    assert count_batches([event] * 6, 1_000, 3) == 2
    assert count_batches([event] * 5, 2 * len(event), 100) == 3
    assert count_batches([event] * 5, 2 * len(event) - 1, 100) == 5
