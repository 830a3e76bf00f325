"""A batch weighs what its bytes are: limits of bytes rest on it."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sinks.fields import Fields, User
from sinks.user_batches import EncodedEvent, encoded_event, fill_requests, group_by_user

DRAWN = st.tuples(st.sampled_from("abc"), st.text(max_size=90), st.integers(0, 200))


def event_of(user: str, event_id: str, size: int) -> EncodedEvent:
    head = b'{"user_identities":{"customerid":"%b"}' % user.encode()
    body = b'{"n":"' + b"x" * size + b'"}'
    return encoded_event(b"", Fields("x", event_id, 1, User(user)), head, body)


@given(st.lists(DRAWN, max_size=20), st.integers(1, 4))
def test_a_batch_weighs_what_its_bytes_are(
    drawn: list[tuple[str, str, int]], max_events: int
) -> None:
    batches = group_by_user([event_of(*one) for one in drawn], 128_000, max_events)
    assert [batch.weight for batch in batches] == [len(batch.encode()) for batch in batches]
    assert sum(map(len, batches)) == len(drawn)
    assert all(len(batch) == len(batch.members) <= max_events for batch in batches)


@given(st.lists(st.integers(0, 90), min_size=2, max_size=6), st.sampled_from([-1, 0, 1]))
def test_a_batch_is_filled_to_its_last_byte_and_not_beyond(ids: list[int], beyond: int) -> None:
    """Ids longer than the hash that takes their place too."""
    events = [event_of("a", "i" * length, 50) for length in ids]
    (whole,) = group_by_user(events, 128_000, 100)
    size = len(whole.encode())
    batches = group_by_user(events, size - beyond, 100)
    assert (len(batches) == 1) is (beyond <= 0)


@given(st.lists(DRAWN, max_size=20), st.integers(300, 1_000), st.integers(1, 7))
def test_a_request_ends_only_where_the_next_batch_would_not_fit(
    drawn: list[tuple[str, str, int]], max_bytes: int, max_events: int
) -> None:
    batches = group_by_user([event_of(*one) for one in drawn], 300, max_events)
    runs = list(fill_requests(batches, max_bytes, max_events))
    assert [batch for run in runs for batch in run] == batches
    for run, after in itertools.zip_longest(runs, runs[1:], fillvalue=()):
        body = b"[" + b",".join(batch.encode() for batch in run) + b"]"
        assert sum(map(len, run)) <= max_events
        assert len(body) <= max_bytes or len(run) == 1
        if after:
            longer = len(body) + 1 + len(after[0].encode()) > max_bytes
            assert longer or sum(map(len, run)) + len(after[0]) > max_events
