"""`currents explain` on the command line."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from sandbox.samples import sample_event
from tests.pipeline.running import write_connectors

OPEN = "users.messages.email.Open"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "event.json").write_text(json.dumps(sample_event(OPEN), indent=2))
    write_connectors(
        tmp_path,
        [
            {"name": "analytics", "kind": "segment", "write_key": "env:SEGMENT_KEY"},
            {"name": "sms", "kind": "postback", "url": "env:SECRET_URL", "events": ["*.sms.*"]},
        ],
    )
    return tmp_path


def explain(folder: Path, connector: str, *arguments: str, event: str = "event.json") -> Result:
    given = ["--connector", connector, "--event", str(folder / event) if event != "-" else "-"]
    command = ["explain", str(folder / "connectors.json"), *given, *arguments]
    return CliRunner().invoke(main, command, input=(folder / "event.json").read_text())


@pytest.mark.parametrize("event", ["event.json", "-"])
def test_an_event_that_is_sent_is_shown_with_its_request_and_the_nearest_limit(
    folder: Path, event: str
) -> None:
    shown = explain(folder, "analytics", event=event)
    assert shown.exit_code == 0, shown.output
    assert "it is sent, in the lane analytics/0/" in shown.output
    assert '"Authorization": "Basic <env:SEGMENT_KEY>:"' in shown.output
    assert '"event": "Email Opened"' in shown.output
    assert "of 32,000 bytes" in shown.output
    assert "STOPS" not in shown.output


def test_an_event_that_is_filtered_is_shown_with_the_rule_that_stops_it(folder: Path) -> None:
    shown = explain(folder, "sms")
    assert shown.exit_code == 0
    (stops,) = [line for line in shown.output.splitlines() if line.startswith("STOPS")]
    assert "events" in stops
    assert "*.sms.*" in stops
    assert "it is filtered: event_type" in shown.output


def test_an_event_that_is_too_large_is_shown_with_the_limit_that_it_breaks(folder: Path) -> None:
    event = json.loads((folder / "event.json").read_text())
    event["properties"]["note"] = "x" * 40_000
    (folder / "event.json").write_text(json.dumps(event))
    shown = explain(folder, "analytics").output
    assert "it becomes a dead letter: too_large" in shown
    (over,) = [line for line in shown.splitlines() if "of 32,000 bytes" in line]
    assert float(over.split("%")[0]) > 100
    (found,) = [
        one
        for one in json.loads(explain(folder, "analytics", "--json").output)["sizes"]
        if one["most"] == 32_000
    ]
    assert found["found"] > 32_000


def test_a_mistyped_event_type_is_shown_with_the_one_that_may_be_meant(folder: Path) -> None:
    event = sample_event(OPEN) | {"event_type": "users.messages.emial.Open"}
    (folder / "event.json").write_text(json.dumps(event))
    shown = explain(folder, "analytics").output
    assert f"the catalogue does not know it, did you mean {OPEN!r}?" in shown
    assert "it is filtered: unsupported" in shown


def test_programs_get_json(folder: Path) -> None:
    found = json.loads(explain(folder, "sms", "--json").output)
    assert (found["outcome"], found["reason"]) == ("filtered", "event_type")
    assert [rule["name"] for rule in found["rules"] if not rule["lets_pass"]] == ["events"]


def test_what_cannot_be_explained_is_bad_usage(folder: Path) -> None:
    unknown = explain(folder, "nobody")
    assert unknown.exit_code == 2
    assert "'nobody'; there are: analytics, sms" in unknown.output
    missing = explain(folder, "sms", event="missing.json")
    assert missing.exit_code == 2
    assert "missing.json" in missing.output


def test_what_an_event_says_cannot_steer_the_terminal(folder: Path) -> None:
    event = json.loads((folder / "event.json").read_text())
    event["id"] = "e\x1b]0;owned\x07\u202e\x9b2J"
    event["event_type"] = "users.\x1b[31m"
    (folder / "event.json").write_text(json.dumps(event, ensure_ascii=False))
    for connector in ("analytics", "sms"):
        shown = explain(folder, connector)
        assert shown.exit_code == 0
        assert all(char.isprintable() or char == "\n" for char in shown.output)


def test_a_feed_that_is_missing_is_named_and_so_is_the_age(folder: Path) -> None:
    feed = {"key": "env:KEY", "secret": "env:SECRET"}
    write_connectors(folder, [{"name": "mobile", "kind": "mparticle", "feeds": {"ios": feed}}])
    stopped = explain(folder, "mobile").output
    (line,) = [line for line in stopped.splitlines() if line.startswith("STOPS")]
    assert "its feed unbound is not configured; configured are ios" in line
    write_connectors(folder, [{"name": "mobile", "kind": "mparticle", "feeds": {"unbound": feed}}])
    sent = explain(folder, "mobile").output
    (line,) = [line for line in sent.splitlines() if " age " in line]
    assert "over 30 days old" in line
