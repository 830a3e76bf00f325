"""The ledger: sums to the event, and durations to 5 %."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.ledger import ConnectorTally, Ledger, Tally


def a_tally(connector: str = "a") -> Tally:
    tally = Tally(received=10)
    tally.invalid["invalid_json"] += 1
    counts = tally.of(connector)
    counts.offered, counts.adopted, counts.delivered, counts.held = 9, 2, 5, 3
    counts.requests, counts.attempts, counts.bytes = 1, 4, 1_234
    counts.addressed = 6
    counts.filtered["app_id"] += 2
    counts.dead["rejected"] += 1
    counts.time_attempt(0.01)
    return tally


def timed(*milliseconds: float) -> ConnectorTally:
    tally = ConnectorTally()
    for duration in milliseconds:
        tally.time_attempt(duration / 1_000)
    return tally


@settings(deadline=None)
@given(
    st.lists(st.floats(0.02, 3_600_000), min_size=1, max_size=50),
    st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]),
)
def test_a_quantile_is_right_within_5_percent(durations: list[float], quantile: float) -> None:
    within = sorted(durations)
    exact = next(
        duration
        for number, duration in enumerate(within, 1)
        if number >= len(within) * quantile - 1e-9
    )
    assert timed(*durations).latency_ms(quantile) == pytest.approx(exact, rel=0.05)


def test_the_median_is_not_the_99th_percentile() -> None:
    tally = timed(*[10.0] * 98, *[1_000.0] * 2)
    assert tally.latency_ms(0.5) == pytest.approx(10, rel=0.05)
    assert tally.latency_ms(0.99) == pytest.approx(1_000, rel=0.05)


def test_an_attempt_of_no_time_at_all_has_a_duration() -> None:
    assert timed(0).latency_ms(0.5) == pytest.approx(0.01, rel=0.05)


def test_without_an_attempt_there_is_no_duration() -> None:
    assert ConnectorTally().latency_ms(0.5) is None


def test_adding_tallies_adds_every_figure() -> None:
    total = a_tally()
    total.add(a_tally())
    counts = total.of("a")
    assert (total.received, total.invalid) == (20, {"invalid_json": 2})
    assert (counts.offered, counts.adopted, counts.delivered, counts.held) == (18, 4, 10, 6)
    assert (counts.requests, counts.attempts, counts.bytes) == (2, 8, 2_468)
    assert (counts.filtered, counts.dead) == ({"app_id": 4}, {"rejected": 2})
    assert (counts.addressed, counts.latency.total()) == (12, 2)


def test_adding_leaves_the_other_tally_as_it_was() -> None:
    total, other = Tally(), a_tally()
    total.add(other)
    total.add(a_tally())
    assert other == a_tally()


def test_the_counts_of_connectors_are_kept_apart() -> None:
    total = a_tally("a")
    total.add(a_tally("b"))
    assert total.received == 20
    assert {name: counts.offered for name, counts in total.connectors.items()} == {"a": 9, "b": 9}


def test_what_is_read_is_a_copy() -> None:
    ledger = Ledger()
    ledger.enter(a_tally())
    read = ledger.read()
    read.add(a_tally())
    read.of("a").filtered["app_id"] += 1
    assert ledger.read() == a_tally()


def test_what_is_read_does_not_change_when_more_is_entered() -> None:
    ledger = Ledger()
    ledger.enter(a_tally())
    read = ledger.read()
    ledger.enter(a_tally())
    assert read == a_tally()
    assert ledger.read().received == 20


def test_what_threads_enter_at_once_is_all_counted() -> None:
    ledger = Ledger()
    at_once = threading.Barrier(8)

    def enter() -> None:
        at_once.wait(10)
        for _ in range(200):
            ledger.enter(a_tally())

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    total = ledger.read()
    assert (total.received, total.of("a").latency.total()) == (16_000, 1_600)


def test_what_was_done_since_is_the_difference_of_every_count() -> None:
    before, later = a_tally().of("a"), a_tally().of("a")
    later.add(a_tally().of("a"))
    assert later.since(before) == before
    assert before.since(before) == ConnectorTally()
    assert before.since(ConnectorTally()) == before
