"""The report: the shape that tools read, and whether the books balance."""

import json
import time
from datetime import datetime
from typing import Any

import msgspec
import pytest

from runtime.connectors import Config, of_all_app_groups
from runtime.ledger import Tally
from runtime.reporting import make_report
from schemas.report import Report
from tests.runtime.configs import config_of, hook, segment

STARTED = 1_760_000_000.25


def report_of(tally: Tally, config: Config) -> Report:
    return make_report(tally, config, of_all_app_groups(config), STARTED, "FnApiRunner")


def example() -> Tally:
    tally = Tally(received=10)
    tally.invalid.update(invalid_json=1)
    counts = tally.of("analytics")
    counts.offered, counts.delivered, counts.requests, counts.attempts = 9, 7, 3, 4
    counts.bytes = 12_345
    counts.filtered.update(no_external_user_id=1)
    counts.dead.update(rejected=1)
    for milliseconds in (8, 8, 8, 20):
        counts.time_attempt(milliseconds / 1_000)
    return tally


def test_the_report_has_the_documented_shape() -> None:
    before = time.time()
    report = report_of(example(), config_of(segment("analytics")))
    document = json.loads(msgspec.json.encode(report))
    latency = document["connectors"]["analytics"].pop("latency_ms")
    finished = document.pop("finished")
    assert document == {
        "started": "2025-10-09T08:53:20.250Z",
        "runner": "FnApiRunner",
        "received": 10,
        "invalid": 1,
        "connectors": {
            "analytics": {
                "kind": "segment",
                "state": "healthy",
                "proves_delivery": False,
                "offered": 9,
                "adopted": 0,
                "delivered": 7,
                "filtered": {"no_external_user_id": 1},
                "dead": {"rejected": 1},
                "held": 0,
                "requests": 3,
                "attempts": 4,
                "bytes": 12345,
            }
        },
        "balanced": True,
    }
    assert latency == {"p50": pytest.approx(8, rel=0.05), "p99": pytest.approx(20, rel=0.05)}
    assert finished.endswith("Z")
    assert before - 1 < datetime.fromisoformat(f"{finished[:-1]}+00:00").timestamp() < before + 60


def test_a_connector_that_saw_no_event_is_there_with_noughts() -> None:
    (connector,) = report_of(Tally(), config_of(hook("a"))).connectors.values()
    assert (connector.state, connector.offered, connector.proves_delivery) == ("healthy", 0, True)
    assert json.loads(msgspec.json.encode(connector.latency_ms)) == {"p50": None, "p99": None}


# Whether the books balance


def test_books_that_balance_are_said_to_balance() -> None:
    assert report_of(example(), config_of(segment("analytics"))).balanced


@pytest.mark.parametrize("figure", ["offered", "adopted", "delivered", "held"])
def test_an_event_too_many_or_too_few_unbalances_the_books(figure: str) -> None:
    config = config_of(segment("analytics", app_group_ids=["brand-a"]))
    for difference in (-1, 1):
        tally = example()
        counts = tally.of("analytics")
        setattr(counts, figure, getattr(counts, figure) + difference)
        assert not report_of(tally, config).balanced


@pytest.mark.parametrize("figure", ["filtered", "dead"])
def test_an_event_filtered_or_buried_too_often_unbalances_the_books(figure: str) -> None:
    tally = example()
    getattr(tally.of("analytics"), figure)["expired"] += 1
    assert not report_of(tally, config_of(segment("analytics"))).balanced


def test_what_was_found_in_the_hold_counts_among_what_came_in() -> None:
    tally = example()
    counts = tally.of("analytics")
    counts.adopted, counts.held = 5, 5
    assert report_of(tally, config_of(segment("analytics"))).balanced


def test_a_message_that_was_never_offered_unbalances_the_books() -> None:
    tally = example()
    tally.received += 1
    assert not report_of(tally, config_of(segment("analytics"))).balanced


def test_a_connector_of_some_app_groups_need_not_be_offered_all_messages() -> None:
    tally = example()
    tally.received += 1
    assert report_of(tally, config_of(segment("analytics", app_group_ids=["brand-a"]))).balanced


def test_one_connector_that_does_not_balance_is_enough() -> None:
    tally = example()
    tally.of("other").offered = 9
    config = config_of(segment("analytics"), hook("other"))
    assert not report_of(tally, config).balanced
    tally.of("other").delivered = 9
    assert report_of(tally, config).balanced


# States


@pytest.mark.parametrize(
    ("settings", "held", "state"),
    [
        ({}, 0, "healthy"),
        ({}, 3, "holding"),
        ({"paused": True}, 3, "paused"),
        ({"enabled": False}, 0, "disabled"),
        ({"enabled": False, "paused": True}, 3, "disabled"),
    ],
)
def test_the_state_says_what_becomes_of_events(
    settings: dict[str, Any], held: int, state: str
) -> None:
    tally = Tally()
    tally.of("a").held = held
    report = report_of(tally, config_of(hook("a", **settings)))
    assert report.connectors["a"].state == state


def test_a_connector_that_is_no_longer_in_the_file_keeps_its_books() -> None:
    tally = example()
    report = report_of(tally, config_of())
    connector = report.connectors["analytics"]
    assert (connector.kind, connector.state, connector.proves_delivery) == (
        "removed",
        "removed",
        False,
    )
    assert (connector.offered, connector.delivered) == (9, 7)
    assert report.balanced


def test_a_connector_that_came_later_need_not_have_been_offered_what_came_before_it() -> None:
    tally = Tally(received=10)
    tally.of("old").offered = tally.of("old").delivered = 10
    tally.of("new").offered = tally.of("new").delivered = 4
    now = config_of(hook("old"), hook("new"))
    assert make_report(tally, now, {"old"}, STARTED, "r").balanced
    assert not make_report(tally, now, {"old", "new"}, STARTED, "r").balanced
