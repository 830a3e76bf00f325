"""Batches as they cross a shuffle, and as several become one."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.batch import Batch, Token, decode_batch, encode_batch, make_batch, merge_batches

EVENTS = st.lists(
    st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"\n", b"\r")),
    min_size=1,
    max_size=4,
)
TIMES = st.integers(0, 9_999_999_999_999)
TOKENS = st.lists(st.builds(Token, st.integers(0, 99), st.integers(0, 9), st.text()), max_size=3)


@given(EVENTS, TIMES, TIMES, TOKENS, st.integers(0, 5))
def test_a_batch_is_read_as_it_was_written(
    events: list[bytes], oldest_ms: int, newest_ms: int, tokens: list[Token], replays: int
) -> None:
    batch = make_batch(events, oldest_ms, newest_ms, tokens, replays)
    assert decode_batch(encode_batch(batch)) == batch


def test_white_space_in_an_event_does_not_make_two_of_it() -> None:
    events = [b'{"a": "b c"}', b'{"d":\t"e"}']
    assert decode_batch(encode_batch(make_batch(events, 1, 2))).events == events


def test_why_a_batch_goes_to_the_hold_is_not_lost_on_the_way() -> None:
    batch = Batch(1, 2, [], [b"a"], 1, hold_reason="rate_limit")
    assert decode_batch(encode_batch(batch)) == batch


def test_what_is_not_said_to_be_a_replay_is_none() -> None:
    assert make_batch([b"ab", b"c"], 1, 2) == Batch(1, 2, [], [b"ab", b"c"], 4)


def test_several_batches_are_one_of_all_their_events_times_and_shares() -> None:
    one, other = Token(1, 1, "a"), Token(2, 1, "b")
    parts = [
        make_batch([b"a", b"b"], 5, 6, [one], replays=1),
        make_batch([b"c"], 3, 9, [other], replays=2),
        make_batch([b"d"], 4, 7),
    ]
    events = [b"a", b"b", b"c", b"d"]
    assert merge_batches(parts) == Batch(3, 9, [one, other], events, len(b"\n".join(events)), 2)
