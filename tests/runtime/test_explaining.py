"""An explanation says what the pipeline does, for every golden case, and which rule it is."""

import json
from typing import Any

import msgspec
import pytest

from runtime.explaining import Explanation, explain
from sandbox.samples import sample_event
from schemas.limits import MAX_EVENT_BYTES
from tests.golden.cases import Case, config_of, messages_of, stored_cases
from tests.runtime.configs import config_of as configured
from tests.runtime.configs import hook, segment

OPEN = "users.messages.email.Open"
SINGLE = [case for case in stored_cases() if len(messages_of(case)) == 1]


@pytest.mark.parametrize("case", SINGLE, ids=lambda case: f"{case.kind}/{case.name}")
def test_the_outcome_and_the_request_are_those_of_the_golden_file(case: Case) -> None:
    config = config_of(case)
    (name,) = config.connectors
    (message,) = messages_of(case)
    found = explain(config, name, message, MAX_EVENT_BYTES)
    golden = json.loads(case.request.read_text("utf-8"))
    if "filtered" in golden:
        assert (found.outcome, found.reason) == ("filtered", golden["filtered"])
    elif "dead" in golden:
        assert (found.outcome, found.reason) == ("dead_letter", golden["dead"])
    else:
        assert found.outcome == "sent"
        (request,) = found.requests
        body = "records" if case.kind == "avro_files" else "body"
        assert json.loads(msgspec.json.encode(request))[body] == golden[body]
    stopped = [rule for rule in found.rules if not rule.lets_pass]
    assert bool(stopped) == (found.outcome == "filtered" or found.rules[-1].name == "event")


def explained(connector: dict[str, object], **changes: Any) -> Explanation:
    event = msgspec.json.encode(sample_event(OPEN, **changes))
    return explain(configured(connector), str(connector["name"]), event, MAX_EVENT_BYTES)


@pytest.mark.parametrize(
    ("connector", "rule", "outcome"),
    [
        (hook("a", app_group_ids=["other"]), "app_group_ids", "not_offered"),
        (hook("a", enabled=False), "enabled", "filtered"),
        (hook("a", events=["users.messages.sms.*"]), "events", "filtered"),
        (hook("a", app_ids=["x"]), "app_ids", "filtered"),
    ],
)
def test_the_rule_that_stops_an_event_is_the_last_one_told(
    connector: dict[str, object], rule: str, outcome: str
) -> None:
    found = explained(connector)
    assert found.outcome == outcome
    assert [one.name for one in found.rules if not one.lets_pass] == [rule]
    assert found.rules[-1].name == rule
    assert not found.requests


def test_a_missing_user_and_a_missing_name_are_told() -> None:
    found = explained(segment("a"), user={"external_user_id": None})
    assert (found.rules[-1].name, found.reason) == ("external_user_id", "no_external_user_id")
    message = msgspec.json.encode(sample_event("users.behaviors.CustomEvent"))
    found = explain(configured(segment("a")), "a", message, MAX_EVENT_BYTES)
    assert (found.rules[-1].name, found.reason) == ("name", "unsupported")


def test_what_is_no_event_is_a_dead_letter() -> None:
    found = explain(configured(hook("a")), "a", b"no event", MAX_EVENT_BYTES)
    assert (found.outcome, found.reason) == ("dead_letter", "invalid_json")
    assert [rule.name for rule in found.rules] == ["event"]


def test_a_paused_connector_holds_and_the_request_is_shown_all_the_same() -> None:
    found = explained(hook("a", paused=True))
    assert (found.outcome, found.reason) == ("held", "paused")
    assert found.requests


def test_the_nearest_limit_comes_first_and_secrets_are_references() -> None:
    found = explained(segment("a"))
    shares = [size.share for size in found.sizes]
    assert shares == sorted(shares, reverse=True)
    assert found.sizes[0].most == 32_000
    (request,) = found.requests
    assert request["headers"]["Authorization"] == "Basic <env:A_KEY>:"
