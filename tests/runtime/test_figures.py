"""Figures in the log: what was done since it was last said, and what is held."""

import json
import logging
from typing import Any

import pytest

from runtime.figures import FiguresLog, LaneFigures, held_figures
from runtime.ledger import Tally
from schemas.lane_status import LaneStatus
from tests.runtime.configs import config_of, hook

NOW = 1_900_000_000_000
STATUS = LaneStatus(
    lane="crm+ios",
    connector="crm",
    state="suspended",
    reason="status_503",
    since="2030-03-17T17:00:00Z",
    events=7,
    bytes=900,
    oldest="2030-03-17T17:46:35Z",
    dead_letters_from="2030-03-17T17:46:45Z",
)
"""Of a lane whose oldest event is 5 s old at NOW, and is buried 5 s later."""


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, Any]]]:
    """Each line's sentence and its figures."""
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return [(line[: line.index("{") - 1], json.loads(line[line.index("{") :])) for line in lines]


@pytest.fixture
def caplog_at_info(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "runtime.figures")
    return caplog


def a_tally() -> Tally:
    tally = Tally(received=20)
    tally.invalid["invalid_json"] = 2
    counts = tally.of("crm")
    counts.offered, counts.adopted, counts.delivered, counts.held = 17, 1, 9, 3
    counts.requests, counts.attempts, counts.bytes = 2, 5, 1_234
    counts.filtered.update({"app_id": 2, "event_type": 1})
    counts.dead.update({"rejected": 3})
    for seconds in (0.1, 0.1, 2.0):
        counts.time_attempt(seconds)
    return tally


def test_a_line_tells_what_a_connector_did_since_the_last_one(
    caplog_at_info: pytest.LogCaptureFixture,
) -> None:
    tally, at = a_tally(), [100.0]
    log = FiguresLog(lambda: tally, lambda: config_of(hook("crm")), lambda: at[0])
    at[0] = 160.4
    log.tell()
    (sentence, done), *_ = said(caplog_at_info)
    assert sentence == "connector crm"
    assert done.pop("p50_ms") == pytest.approx(100, rel=0.05)
    assert done.pop("p99_ms") == pytest.approx(2_000, rel=0.05)
    assert done == {
        "event": "figures",
        "connector": "crm",
        "kind": "postback",
        "seconds": 60,
        "offered": 17,
        "adopted": 1,
        "delivered": 9,
        "filtered": 3,
        "dead": 3,
        "held": 3,
        "requests": 5,
        "failed": 3,
        "bytes": 1_234,
    }


def test_dead_letters_are_told_by_reason_and_those_of_no_connector_too(
    caplog_at_info: pytest.LogCaptureFixture,
) -> None:
    log = FiguresLog(a_tally, lambda: config_of(hook("crm")))
    log.tell()
    assert said(caplog_at_info)[1:] == [
        ("dead letters", dead("crm", "rejected", 3)),
        ("dead letters", dead("", "invalid_json", 2)),
    ]
    log.tell()
    assert said(caplog_at_info) == []


def dead(connector: str, reason: str, count: int) -> dict[str, Any]:
    return {"event": "dead_letters", "connector": connector, "reason": reason, "count": count}


def test_the_next_line_has_only_what_is_new(caplog_at_info: pytest.LogCaptureFixture) -> None:
    tally, at = a_tally(), [0.0]
    log = FiguresLog(lambda: tally, lambda: config_of(hook("crm")), lambda: at[0])
    at[0] = 60.0
    log.tell()
    said(caplog_at_info)
    tally = a_tally()
    tally.invalid["too_large"] = 1
    tally.of("crm").delivered += 4
    tally.of("crm").held -= 1
    tally.of("gone").dead["connector_removed"] = 2
    at[0] = 90.0
    log.tell()
    lines = said(caplog_at_info)
    assert [sentence for sentence, _ in lines] == [
        "connector crm",
        "connector gone",
        "dead letters",
        "dead letters",
    ]
    crm, gone, *letters = [figures for _, figures in lines]
    assert (crm["seconds"], crm["delivered"], crm["held"]) == (30, 4, -1)
    assert (crm["requests"], crm["failed"], crm["p50_ms"]) == (0, 0, None)
    assert (gone["kind"], gone["dead"]) == ("removed", 2)
    assert letters == [dead("gone", "connector_removed", 2), dead("", "too_large", 1)]


def test_what_a_lane_holds_is_told_with_its_ages() -> None:
    found = held_figures(STATUS, NOW)
    assert (found.connector, found.lane, found.state) == ("crm", "crm+ios", "suspended")
    assert (found.reason, found.held_events, found.held_bytes) == ("status_503", 7, 900)
    assert (found.oldest_seconds, found.dead_letters_in_seconds) == (5, 5)
    late = held_figures(STATUS, NOW + 7_400)
    assert (late.oldest_seconds, late.dead_letters_in_seconds) == (12, -3)


def test_a_lane_whose_times_nobody_knows_has_no_ages() -> None:
    unknown = LaneStatus(lane="crm", connector="crm", state="holding", reason="unknown", since="")
    found = held_figures(unknown, NOW)
    assert (found.oldest_seconds, found.dead_letters_in_seconds) == (0, None)


def test_a_lane_is_told_of_once_a_minute_and_again_when_the_clock_is_put_back(
    caplog_at_info: pytest.LogCaptureFixture,
) -> None:
    figures = LaneFigures()
    figures.look(None, NOW)
    assert said(caplog_at_info) == []
    for moment, told in [
        (NOW, True),
        (NOW + 59_999, False),
        (NOW + 60_000, True),
        (NOW + 60_001, False),
        (NOW - 5_000, True),
    ]:
        figures.look(STATUS, moment)
        lines = said(caplog_at_info)
        assert bool(lines) is told
        for sentence, held in lines:
            assert sentence == "lane 'crm+ios' holds"
            assert (held["event"], held["held_events"]) == ("held", 7)
