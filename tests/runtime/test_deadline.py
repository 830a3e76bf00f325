"""Deadlines: whose they are, and what becomes of what comes after them."""

from typing import Any

import pytest

from runtime.connectors import ConnectorEntry
from runtime.deadline import Deadlines, letter_reason
from tests.runtime.configs import config_of, hook

DAY = 86_400
NEWEST = 1_900_000_000_000


def entry(**changes: Any) -> ConnectorEntry:
    return config_of(hook("crm", **changes)).connectors["crm"]


def test_a_connector_may_have_a_deadline_of_its_own() -> None:
    deadlines = Deadlines(2 * DAY)
    assert deadlines.of(entry(), NEWEST) == NEWEST + 2 * DAY * 1_000
    assert deadlines.of(entry(max_event_age="5 d"), NEWEST) == NEWEST + 5 * DAY * 1_000
    assert deadlines.of(None, NEWEST) == NEWEST + 2 * DAY * 1_000


@pytest.mark.parametrize(("late_events", "refused"), [("bury", True), ("deliver", False)])
def test_late_arrivals_are_refused_unless_they_get_one_try(late_events: Any, refused: bool) -> None:
    deadlines = Deadlines(DAY, late_events)
    assert not deadlines.refuses(entry(), NEWEST, NEWEST + DAY * 1_000 - 1)
    assert deadlines.refuses(entry(), NEWEST, NEWEST + DAY * 1_000) is refused


def test_what_is_late_for_one_connector_is_not_for_one_that_waits_longer() -> None:
    deadlines, after = Deadlines(DAY), NEWEST + 2 * DAY * 1_000
    patient = entry(max_event_age="5 d")
    assert deadlines.has_passed(entry(), NEWEST, after)
    assert deadlines.refuses(entry(), NEWEST, after)
    assert not deadlines.has_passed(patient, NEWEST, after)
    assert not deadlines.refuses(patient, NEWEST, after)


def test_the_reason_says_whether_the_connector_is_still_there() -> None:
    assert letter_reason(entry()) == "expired"
    assert letter_reason(entry(enabled=False)) == "connector_removed"
    assert letter_reason(None) == "connector_removed"
