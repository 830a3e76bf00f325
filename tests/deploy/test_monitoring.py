"""Dashboard and alerts ask for metrics that there are, and the log lines they count are written."""

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from runtime import alerts, config_store, metrics
from runtime import figures as figures_module
from runtime.alerts import Alerts
from runtime.clock import rfc3339
from runtime.connectors import Config
from runtime.figures import FiguresLog, LaneFigures
from runtime.ledger import Tally
from schemas.alert import Alert, AlertEvent
from schemas.lane_status import LaneStatus
from sinks.sink import Answer, HttpRequest
from tests.deploy.monitoring import (
    LOGGED,
    USER_COUNTER,
    counters_of,
    log_metrics,
    metrics_of,
    policies,
    queries,
    read,
)
from transforms import gather_and_write

OURS = {
    value
    for name, value in vars(metrics).items()
    if name.isupper() and str(value).endswith("_total")
}
GOOGLES = {metric["type"]: metric for metric in read("google_metrics.json")}
NOW_MS = 1_790_000_000_000
LABEL = re.compile(r"metric\.labels?\.(\w+)")


def test_every_metric_is_googles_or_counted_from_the_log() -> None:
    known = {*GOOGLES, *log_metrics()}
    for query in queries():
        assert metrics_of(query) <= known, query.place


def test_every_counter_is_one_that_the_pipeline_counts() -> None:
    asked = [query for query in queries() if USER_COUNTER in metrics_of(query)]
    assert asked
    for query in asked:
        assert counters_of(query) <= OURS, query.place


def test_every_counter_of_the_pipeline_is_on_the_dashboard() -> None:
    shown = {
        counter
        for query in queries()
        if USER_COUNTER in metrics_of(query) and not query.place.endswith(".json")
        for counter in counters_of(query)
    }
    assert shown == OURS


def test_no_listed_metric_is_without_use() -> None:
    used = {metric for query in queries() for metric in metrics_of(query)}
    assert used == {*GOOGLES, *log_metrics()}


def test_googles_metrics_are_listed_as_they_are_documented() -> None:
    for metric in GOOGLES.values():
        assert metric["documentedAs"]
        assert metric["kind"] in {"GAUGE", "DELTA", "CUMULATIVE"}
        assert metric["valueType"] in {"INT64", "DOUBLE", "DISTRIBUTION"}


def test_filters_ask_for_the_resource_that_reports_the_metric() -> None:
    """What is counted from lines of a `dataflow_step` is reported for its `dataflow_job`."""
    for query in queries():
        if "metric.type" in query.text:
            (metric,) = metrics_of(query)
            (resource,) = re.findall(r'resource\.type="([^"]+)"', query.text)
            assert resource == GOOGLES.get(metric, {"resource": "dataflow_job"})["resource"]


def test_labels_that_are_asked_for_are_there() -> None:
    for query in queries():
        asked = {*LABEL.findall(query.text), *LABEL.findall(" ".join(query.group_by))}
        if asked:
            (metric,) = metrics_of(query)
            assert asked <= set(log_metrics()[metric]["labelExtractors"]), query.place


def test_events_that_are_asked_for_are_those_of_alerts() -> None:
    events = {
        event
        for query in queries()
        for event in re.findall(r'metric\.labels\.event="(\w+)"', query.text)
    }
    assert {"suspended", "expiring", "burying"} == events < set(get_args(AlertEvent))


@pytest.mark.parametrize("file", list(policies()))
def test_every_policy_says_what_to_do(file: str) -> None:
    policy = policies()[file]
    assert len(policy["documentation"]["content"]) > 100
    assert policy["severity"] in {"WARNING", "ERROR", "CRITICAL"}
    assert policy["displayName"].startswith("Currents ${job_name}: ")
    (condition,) = policy["conditions"]
    assert condition["displayName"]


def test_tiles_do_not_lie_upon_each_other() -> None:
    layout = read("dashboard.json")["mosaicLayout"]
    cells = [
        (x, y)
        for tile in layout["tiles"]
        for x in range(tile["xPos"], tile["xPos"] + tile["width"])
        for y in range(tile["yPos"], tile["yPos"] + tile["height"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < layout["columns"]


# What log-based metrics count


def logged(caplog: pytest.LogCaptureFixture, **fields: Any) -> str:
    """The line that an alert of the pipeline becomes."""
    known = {"lane": "crm/ios", "connector": "crm", "reason": "status_503", "at": rfc3339(NOW_MS)}
    caplog.clear()
    with caplog.at_level(logging.INFO, alerts.__name__):
        Alerts(None, _nothing_is_sent).send(Alert(**{**known, **fields}))
    (line,) = caplog.messages
    return line


def _nothing_is_sent(_request: HttpRequest, _seconds: float) -> Answer:
    raise AssertionError


def counts(metric: str, line: str) -> bool:
    """Whether a log-based metric counts a line: all regexes of its filter are found in it."""
    patterns = re.findall(r'jsonPayload\.message=~"((?:[^"\\]|\\.)*)"', _metric(metric)["filter"])
    assert patterns
    return all(re.search(_text(pattern), line) for pattern in patterns)


def extracted(metric: str, line: str) -> dict[str, str]:
    """What its extractors find in a line; the value by the name of `value`."""
    definition = _metric(metric)
    extractors = dict(definition.get("labelExtractors", {}))
    if "valueExtractor" in definition:
        extractors["value"] = definition["valueExtractor"]
    return {name: _extract(extractor, line) for name, extractor in extractors.items()}


def _extract(extractor: str, line: str) -> str:
    found = re.fullmatch(r'REGEXP_EXTRACT\(jsonPayload\.message, "(.*)"\)', extractor)
    assert found
    compiled = re.compile(_text(found[1]))
    assert compiled.groups == 1, "REGEXP_EXTRACT takes one group"
    match = compiled.search(line)
    return match[1] if match else ""


def _text(quoted: str) -> str:
    """A quoted text of the Logging query language, without its escapes."""
    return re.sub(r"\\(.)", r"\1", quoted)


def _metric(name: str) -> dict[str, Any]:
    return log_metrics()[f"{LOGGED}${{job_name}}_{name}"]


@pytest.mark.parametrize("event", get_args(AlertEvent))
def test_alerts_are_counted_by_connector_and_reason(
    event: str, caplog: pytest.LogCaptureFixture
) -> None:
    line = logged(caplog, event=event, held_events=1_234, buried={"expired": 1})
    assert counts("alerts", line)
    assert extracted("alerts", line) == {
        "event": event,
        "connector": "crm",
        "reason": "status_503",
    }


def test_what_a_partner_answers_is_not_taken_for_our_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = '{"event":"burying","connector":"other","reason":"mine","buried":{"expired":9}}'
    line = logged(caplog, event="suspended", answer=answer, held_events=5)
    assert extracted("alerts", line) == {
        "event": "suspended",
        "connector": "crm",
        "reason": "status_503",
    }
    assert not counts("dead_letters", line)
    assert not counts("held_events", line)


def figures(caplog: pytest.LogCaptureFixture, *tallies: Tally) -> list[str]:
    """The lines that the figures of a minute become."""
    config = Config("v", {})
    told = iter(tallies)
    log = FiguresLog(lambda: next(told), lambda: config, iter([0.0, 60.0, 120.0]).__next__)
    caplog.clear()
    with caplog.at_level(logging.INFO, figures_module.__name__):
        for _ in tallies:
            log.tell()
    return caplog.messages


def test_what_a_connector_did_is_counted_by_connector(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally()
    counts_of = tally.of("crm")
    counts_of.offered, counts_of.delivered, counts_of.held = 9, 5, -4
    counts_of.attempts, counts_of.requests = 7, 4
    for _ in range(7):
        counts_of.time_attempt(0.25)
    (line,) = figures(caplog, tally)
    values = {"delivered": "5", "requests": "7", "requests_failed": "3"}
    values |= {"partner_p50": "256.0", "partner_p99": "256.0"}
    for metric, value in values.items():
        assert counts(metric, line)
        assert extracted(metric, line) == {"connector": "crm", "kind": "removed", "value": value}
    assert not any(counts(metric, line) for metric in ("dead_letters", "held_events", "alerts"))


def test_a_connector_without_requests_has_no_latency(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally()
    tally.of("crm").offered = 1
    tally.of("idle")
    (line,) = figures(caplog, tally)
    assert counts("delivered", line)
    assert not counts("partner_p99", line)


def test_dead_letters_are_counted_by_reason(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally(invalid=Counter({"invalid_json": 3}))
    tally.of("crm").dead.update({"expired": 42, "rejected": 2})
    again = Tally(invalid=Counter({"invalid_json": 3}))
    again.of("crm").dead.update({"expired": 42, "rejected": 5})
    lines = [line for line in figures(caplog, tally, again) if counts("dead_letters", line)]
    assert [extracted("dead_letters", line) for line in lines] == [
        {"connector": "crm", "reason": "expired", "value": "42"},
        {"connector": "crm", "reason": "rejected", "value": "2"},
        {"connector": "", "reason": "invalid_json", "value": "3"},
        {"connector": "crm", "reason": "rejected", "value": "3"},  # what came since
    ]


def test_what_a_lane_holds_is_counted_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    status = LaneStatus(
        lane="crm+ios",
        connector="crm",
        state="suspended",
        reason="status_503",
        since=rfc3339(NOW_MS),
        answer='lane holds {"event":"held","held_bytes":1}',
        events=5,
        bytes=4_321,
        oldest=rfc3339(NOW_MS - 60_000),
        dead_letters_from=rfc3339(NOW_MS - 1_000),
    )
    lane = LaneFigures()
    with caplog.at_level(logging.INFO, figures_module.__name__):
        for second in range(0, 120, 10):
            lane.look(status, NOW_MS + second * 1_000)
        lane.look(None, NOW_MS + 999_000)
    first, second_line = caplog.messages
    expected = {"held_events": "5", "held_bytes": "4321", "held_age": "60", "dead_letters_in": "-1"}
    for metric, value in expected.items():
        assert counts(metric, first)
        assert extracted(metric, first) == {"connector": "crm", "value": value}
    assert extracted("held_age", second_line)["value"] == "120"
    resuming = msgspec.structs.replace(status, dead_letters_from=None)
    caplog.clear()
    with caplog.at_level(logging.INFO, figures_module.__name__):
        LaneFigures().look(resuming, NOW_MS)
    assert not counts("dead_letters_in", caplog.messages[0])


def test_every_figure_that_an_operator_is_promised_is_on_the_dashboard() -> None:
    shown = " ".join(query.text for query in queries() if not query.place.endswith(".json"))
    assert "oldest_unacked_message_age" in shown
    for metric in (
        *("held_age", "held_bytes", "held_events", "dead_letters_in", "dead_letters"),
        *("partner_p50", "partner_p99", "requests_failed", "requests", "delivered"),
    ):
        assert re.search(rf"user/\$\{{job_name\}}_{metric}(_sum)?\"", shown), metric


@pytest.mark.parametrize(
    ("metric", "template", "source"),
    [
        ("unwritten", "%s cannot be written and is kept: %s", gather_and_write.__file__),
        ("refused_edits", config_store._REFUSED, config_store.__file__),
        ("refused_edits", config_store._OF_NOBODY, config_store.__file__),
        ("unposted_alerts", "%d alerts were not posted: ", alerts.__file__),
        ("unposted_alerts", "is %s was not posted: %s", alerts.__file__),
    ],
)
def test_lines_of_trouble_are_counted(metric: str, template: str, source: str) -> None:
    assert template in Path(source).read_text(encoding="utf-8")
    line = template.replace("%s", "crm").replace("%d", "3")
    assert counts(metric, line)
    others = {"alerts", "unwritten", "unposted_alerts"} - {metric}
    assert not any(counts(other, line) for other in others)


def test_every_line_that_is_counted_is_of_this_job_and_its_workers() -> None:
    for metric in log_metrics().values():
        assert metric["filter"].startswith(
            'resource.type="dataflow_step" AND resource.labels.job_name="${job_name}" AND '
            'log_id("dataflow.googleapis.com/worker") AND '
        )


def test_a_label_has_an_extractor_and_a_description() -> None:
    for metric in log_metrics().values():
        labels = metric["metricDescriptor"].get("labels", [])
        assert [label["key"] for label in labels] == list(metric.get("labelExtractors", {}))
        assert all(label["description"] for label in labels)
        is_distribution = metric["metricDescriptor"]["valueType"] == "DISTRIBUTION"
        assert is_distribution == ("valueExtractor" in metric)
