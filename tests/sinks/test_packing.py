import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.envelope import EVENTS
from sinks.packing import Envelope, fill, fits_alone

ENVELOPES = st.builds(
    Envelope,
    prefix=st.binary(max_size=12),
    suffix=st.binary(max_size=3),
    separator=st.binary(max_size=2),
)


@given(ENVELOPES, st.lists(st.binary(max_size=20), max_size=10))
def test_the_weight_of_a_request_is_the_length_of_its_bytes(
    envelope: Envelope, parts: list[bytes]
) -> None:
    assert envelope.weigh(sum(map(len, parts)), len(parts)) == len(envelope.wrap(parts))


@given(
    ENVELOPES,
    st.lists(st.integers(0, 60), max_size=60),
    st.integers(20, 90),
    st.integers(1, 7),
)
def test_runs_hold_every_part_once_in_order_and_within_both_limits(
    envelope: Envelope, sizes: list[int], max_bytes: int, max_count: int
) -> None:
    fitting = [size for size in sizes if fits_alone(size, envelope, max_bytes)]
    runs = list(fill(fitting, envelope, max_bytes, max_count))
    assert [index for start, end in runs for index in range(start, end)] == list(
        range(len(fitting))
    )
    for start, end in runs:
        assert 1 <= end - start <= max_count
        assert envelope.weigh(sum(fitting[start:end]), end - start) <= max_bytes


@given(ENVELOPES, st.lists(st.integers(0, 30), max_size=40), st.integers(47, 90), st.integers(1, 7))
def test_a_run_ends_only_where_the_next_part_would_not_fit(
    envelope: Envelope, sizes: list[int], max_bytes: int, max_count: int
) -> None:
    runs = list(fill(sizes, envelope, max_bytes, max_count))
    for start, end in runs[:-1]:
        longer = envelope.weigh(sum(sizes[start : end + 1]), end - start + 1)
        assert end - start == max_count or longer > max_bytes


@given(st.integers(1, 5_000))
def test_a_part_fits_up_to_the_last_byte_and_not_one_more(size: int) -> None:
    whole = len(EVENTS.wrap([b"x" * size]))
    assert not fits_alone(size, EVENTS, whole - 1)
    assert fits_alone(size, EVENTS, whole)
    assert fits_alone(size, EVENTS, whole + 1)


@given(st.integers(1, 500), st.integers(1, 500))
def test_two_parts_share_a_request_up_to_the_last_byte_and_not_one_more(
    first: int, second: int
) -> None:
    whole = len(EVENTS.wrap([b"x" * first, b"x" * second]))
    together, apart = [(0, 2)], [(0, 1), (1, 2)]
    assert list(fill([first, second], EVENTS, whole - 1, 100)) == apart
    assert list(fill([first, second], EVENTS, whole, 100)) == together
    assert list(fill([first, second], EVENTS, whole + 1, 100)) == together


@pytest.mark.parametrize(("count", "runs"), [(99, 1), (100, 1), (101, 2), (200, 2), (201, 3)])
def test_a_request_takes_as_many_parts_as_it_may_and_not_one_more(count: int, runs: int) -> None:
    assert len(list(fill([1] * count, EVENTS, 900_000, 100))) == runs


def test_parts_of_no_bytes_are_not_lost() -> None:
    assert list(fill([0, 0, 0], EVENTS, 900_000, 2)) == [(0, 2), (2, 3)]


def test_a_part_that_fits_no_request_is_a_run_of_its_own() -> None:
    assert list(fill([5, 900, 5, 5], EVENTS, 100, 100)) == [(0, 1), (1, 2), (2, 4)]


def test_nothing_becomes_no_run() -> None:
    assert list(fill([], EVENTS, 900_000, 100)) == []
