"""Routing: an event is offered to the connectors of its app group, and to no others."""

import json
from typing import Any

import pytest

from runtime.decoding import Decoder
from runtime.receipts import Receipts
from runtime.routing import Plan, Router
from sandbox.samples import sample_event, sample_events
from schemas.lane import Lane
from schemas.limits import MAX_EVENT_BYTES
from schemas.pull import Pull
from sinks.sink import Filtered
from tests.runtime.configs import config_of, hook, segment

OPEN = "users.messages.email.Open"
FEEDS = {"ios": {"key": "env:K", "secret": "env:S"}}


def mparticle(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "kind": "mparticle", "feeds": FEEDS, **settings}


def plan_of(connectors: list[dict[str, Any]], app_group: str | None, event_type: str) -> Plan:
    return Router(config_of(*connectors)).plan(app_group, event_type)


def routed(connectors: list[dict[str, Any]], *messages: bytes) -> dict[str, list[bytes]]:
    """The events that each connector gets, of a whole decoding."""
    decoder = Decoder(Router(config_of(*connectors)), Receipts(), MAX_EVENT_BYTES)
    assert list(decoder.decode(Pull(1, 1, list(messages)))) == []
    events: dict[str, list[bytes]] = {}
    for key, batch in decoder.flush():
        events.setdefault(Lane.of(key).connector, []).extend(batch.events)
    return events


def reason_of(connector: dict[str, Any], event: dict[str, Any]) -> str | None:
    """Why one connector filters one event, or None where it gets it."""
    decoder = Decoder(Router(config_of(connector)), Receipts(), MAX_EVENT_BYTES)
    assert list(decoder.decode(Pull(1, 1, [json.dumps(event).encode()]))) == []
    tally = decoder.take_tally().of(connector["name"])
    assert tally.offered == 1
    assert tally.filtered.total() + sum(batch.count for _, batch in decoder.flush()) == 1
    return next(iter(tally.filtered), None)


# Whose events they are


def test_no_event_reaches_the_connector_of_another_app_group() -> None:
    groups = [f"brand-{number}" for number in range(500)]
    connectors = [
        hook(f"c{number}", app_group_ids=[groups[number % 500]], shards=1 + number % 3)
        for number in range(1_000)
    ]
    messages = list(sample_events(3_000, seed=7, app_groups=groups))
    by_group: dict[str, list[bytes]] = {}
    for message in messages:
        by_group.setdefault(json.loads(message)["properties"]["app_group_id"], []).append(message)

    events = routed(connectors, *messages)

    for number in range(1_000):
        assert sorted(events.get(f"c{number}", [])) == sorted(
            by_group.get(groups[number % 500], [])
        )
    assert sum(map(len, events.values())) == 2 * len(messages)


def test_a_connector_of_several_app_groups_gets_an_event_once() -> None:
    connectors = [hook("a", app_group_ids=["brand-a", "brand-b", "brand-a"])]
    messages = list(sample_events(50, app_groups=["brand-a", "brand-b", "brand-c"]))
    wanted = [message for message in messages if b'"brand-c"' not in message]
    assert 0 < len(wanted) < 50
    assert routed(connectors, *messages) == {"a": wanted}


def test_a_connector_that_names_no_app_group_gets_those_of_all() -> None:
    assert plan_of([hook("a")], "brand-x", OPEN).offered == ["a"]


@pytest.mark.parametrize("properties", [{}, {"app_group_id": None}])
def test_an_event_without_app_group_is_of_connectors_that_name_none(
    properties: dict[str, Any],
) -> None:
    event = {"event_type": OPEN, "id": "1", "time": 1, "properties": properties}
    connectors = [hook("all"), hook("brand", app_group_ids=["brand-a", "", "None"])]
    assert set(routed(connectors, json.dumps(event).encode())) == {"all"}


def test_a_connector_of_no_app_group_at_all_gets_nothing() -> None:
    for group in ("brand-a", None):
        assert plan_of([hook("a", app_group_ids=[])], group, OPEN).offered == []


# Why an event is filtered: the first reason that applies


def anonymous(**changes: Any) -> dict[str, Any]:
    """An event of a type and an app that nobody selects, of a user without an external id."""
    event = sample_event(OPEN, user={"external_user_id": None}, properties={"app_id": "other"})
    return {**event, "event_type": "users.messages.of_tomorrow.Send", **changes}


def test_the_first_reason_that_applies_is_given() -> None:
    settings: dict[str, Any] = {"enabled": False, "events": [OPEN], "app_ids": ["app-1"]}
    event = anonymous()
    reasons = []
    for remedy in (
        lambda: settings.update(enabled=True),
        lambda: settings.update(events=None),
        lambda: settings.update(app_ids=None),
        lambda: event["user"].update(external_user_id="u-1"),
        lambda: settings.update(unnamed_events="raw"),
        lambda: settings.update(feeds={**FEEDS, "unbound": FEEDS["ios"]}),
    ):
        reasons.append(reason_of(mparticle("m", **settings), event))
        remedy()
    assert reasons == [reason.value for reason in Filtered]
    assert reason_of(mparticle("m", **settings), event) is None


def test_a_disabled_connector_is_offered_events_and_filters_them() -> None:
    plan = plan_of([hook("a", enabled=False)], "brand-a", OPEN)
    assert (plan.offered, plan.filtered, plan.routes) == (["a"], {"a": Filtered.DISABLED}, [])


@pytest.mark.parametrize("external_user_id", [None, "", "  "])
def test_segment_gets_no_events_of_users_without_an_external_id(
    external_user_id: str | None,
) -> None:
    event = sample_event(OPEN, user={"external_user_id": external_user_id})
    assert reason_of(segment("a"), event) == "no_external_user_id"
    assert reason_of(hook("a"), event) is None


@pytest.mark.parametrize(
    ("app_id", "reason"), [("app-1", None), ("app-3", "app_id"), (None, "app_id"), ("", "app_id")]
)
def test_app_ids_filter_what_is_of_another_app_or_of_none(
    app_id: str | None, reason: str | None
) -> None:
    event = sample_event(OPEN, properties={"app_id": app_id})
    assert reason_of(hook("a", app_ids=["app-1", "app-2"]), event) == reason


def test_an_event_without_properties_is_of_no_app() -> None:
    event = {"event_type": OPEN, "id": "1", "time": 1}
    assert reason_of(hook("a", app_ids=["app-1"]), event) == "app_id"


# Which types a connector selects


@pytest.mark.parametrize(
    ("patterns", "event_type", "selected"),
    [
        (None, OPEN, True),
        ([], OPEN, False),
        ([OPEN], OPEN, True),
        (["users.messages.email.*"], OPEN, True),
        (["*.Open"], OPEN, True),
        (["users.messages.email.[CO]*"], OPEN, True),
        (["users.messages.sms.*", "users.canvas.*"], OPEN, False),
        (["users.messages.email.open"], OPEN, False),
        (["users.messages"], OPEN, False),
        (["users.message.email.*"], OPEN, True),
        ([OPEN], "users.message.email.Open", True),
        (["users.canvas.Abort"], "users_canvas_abort", True),
        (["users_canvas_abort"], "users.canvas.Abort", True),
        (["users.canvas.*"], "users_canvas_abort", True),
    ],
)
def test_events_are_selected_by_name_or_pattern_in_any_spelling(
    patterns: list[str] | None, event_type: str, selected: bool
) -> None:
    plan = plan_of([hook("a", events=patterns)], "brand-a", event_type)
    assert plan.filtered == ({} if selected else {"a": Filtered.EVENT_TYPE})


def test_the_plan_of_a_spelling_variant_names_the_type_as_the_catalogue_does() -> None:
    assert plan_of([], None, "users.message.email.Open").event_type == OPEN


def test_the_event_itself_keeps_its_spelling() -> None:
    message = json.dumps(sample_event("users_canvas_abort")).encode()
    assert routed([hook("a")], message) == {"a": [message]}


def test_a_type_of_tomorrow_passes_where_it_is_selected() -> None:
    event = {**sample_event(OPEN), "event_type": "users.messages.of_tomorrow.Send"}
    assert reason_of(hook("a"), event) is None
    assert reason_of(hook("a", events=["users.messages.*"]), event) is None
    assert reason_of(hook("a", events=["users.canvas.*"]), event) == "event_type"
    assert reason_of(segment("a"), event) == "unsupported"
    assert reason_of(segment("a", unnamed_events="raw"), event) is None


# The memory of plans


def test_a_plan_is_made_once_for_each_app_group_and_type() -> None:
    router = Router(config_of(hook("a"), hook("b", app_group_ids=["brand-a"])))
    plan = router.plan("brand-a", OPEN)
    assert router.plan("brand-a", OPEN) is plan
    assert router.plan("brand-b", OPEN) is not plan


def test_app_groups_that_no_connector_names_share_a_plan() -> None:
    router = Router(config_of(hook("a")))
    assert (
        router.plan("x" * 800_000, OPEN) is router.plan("another", OPEN) is router.plan(None, OPEN)
    )


def test_types_that_a_stranger_invents_do_not_fill_the_memory() -> None:
    router = Router(config_of(hook("a")))
    for number in range(50_000):
        router.plan(None, f"invented.{number}")
    assert len(router._plans) <= 20_000
    assert router.plan(None, OPEN).offered == ["a"]
