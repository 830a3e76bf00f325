"""An object on its way out is cut into portions, and nothing of it is left out or sent empty."""

import itertools

import pytest

from runtime.hold.held_object import HeldObject
from runtime.hold.objects import HeldBatch
from tests.runtime.hold.attending import EVENTS, START, Start

SIZES = [3, 1, 4, 1, 5]


@pytest.mark.parametrize("max_batches", [1, 2, 32])
@pytest.mark.parametrize("max_events", [1, 2, 3, 4, 5, 8, 14, 15])
def test_portions_are_as_large_as_they_may_be(
    max_events: int, max_batches: int, start: Start
) -> None:
    held = start()
    ends = list(itertools.accumulate(SIZES))
    batches = [
        HeldBatch(
            part="",
            oldest_ms=START,
            newest_ms=START,
            first_failed_ms=START,
            reason="status_503",
            events=EVENTS[end - size : end],
        )
        for size, end in zip(SIZES, ends, strict=True)
    ]
    one = HeldObject(held.worker, "hook", held.worker.hold.put("hook", batches))
    sent: list[bytes] = []
    while one.unsent:
        portion = one.next_portion(max_events, max_batches)
        assert all(batch.events for batch in portion)
        events = [event for batch in portion for event in batch.events]
        assert 0 < len(events) <= max_events
        assert len(portion) <= max_batches
        sent += events
        is_full = len(events) == max_events or len(portion) == max_batches
        assert is_full or not one.unsent
    assert sent == EVENTS[: ends[-1]]
