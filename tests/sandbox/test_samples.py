import json
import re
import statistics
import uuid
from collections import Counter
from typing import Any

import pytest

from sandbox.samples import sample_event, sample_events
from schemas.catalogue import EventType, event_types
from schemas.event import decode_event

PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}
TEN_THOUSAND = list(sample_events(10_000))
ALL = pytest.mark.parametrize("event_type", sorted(event_types()))


def properties_of(known: EventType) -> dict[str, str]:
    """JSON type by name, of a type that only storage has too."""
    if known.in_http:
        return {**known.http_properties, "app_group_id": "string"}
    json_types = {"int": "integer", "long": "integer", "float": "number", "boolean": "boolean"}
    return {f.name: json_types.get(f.type, "string") for f in known.storage_fields}


def test_the_same_seed_gives_the_same_events_and_another_seed_others() -> None:
    assert list(sample_events(300, seed=7)) == list(sample_events(300, seed=7))
    assert not set(sample_events(300, seed=7)) & set(sample_events(300, seed=8))


def test_more_events_begin_with_the_same_ones() -> None:
    assert list(sample_events(200))[:100] == list(sample_events(100))


def test_ids_are_uuids_and_none_comes_twice() -> None:
    ids = [json.loads(event)["id"] for event in TEN_THOUSAND]
    assert len(set(ids)) == 10_000
    assert all(str(uuid.UUID(found)) == found and uuid.UUID(found).version == 4 for found in ids)


@ALL
def test_every_type_of_the_catalogue_has_a_sample_that_decodes(event_type: str) -> None:
    (line,) = sample_events(1, event_types=[event_type])
    header, decoded = decode_event(line, 900_000)
    assert decoded == line
    assert header.event_type == event_type
    assert header.app_group_id in {"brand-a", "brand-b"}


@ALL
def test_a_sample_has_the_fields_and_types_of_the_catalogue(event_type: str) -> None:
    known = event_types()[event_type]
    expected = properties_of(known)
    for seed in range(20):
        event = sample_event(event_type, seed)
        assert event.keys() == {"event_type", "id", "time", "user", "properties"}
        assert event["properties"].keys() <= expected.keys()
        for name, value in event["properties"].items():
            assert isinstance(value, PYTHON_TYPES[expected[name]]), name
            assert expected[name] == "boolean" or not isinstance(value, bool), name
        assert ("external_user_id" in event["user"]) == known.has_external_user_id


@ALL
def test_a_sample_leaves_out_only_what_does_not_apply(event_type: str) -> None:
    expected = properties_of(event_types()[event_type])
    seen: set[str] = set()
    for seed in range(20):
        found = sample_event(event_type, seed)["properties"].keys()
        seen |= found
        left_out = expected.keys() - found - {"id", "time", "user_id", "external_user_id"}
        left_out -= {"device_id", "timezone"}
        of_canvas = {name for name in left_out if name.startswith("canvas_")}
        of_campaign = {n for n in left_out if n.startswith(("campaign_", "message_variation_"))}
        assert left_out in (of_canvas, of_campaign)
    assert seen >= {name for name in expected if name.startswith(("canvas_", "campaign_"))}


def test_samples_weigh_as_much_as_real_events_do() -> None:
    sizes = [len(event) for event in TEN_THOUSAND]
    assert 850 <= statistics.mean(sizes) <= 950
    assert sum(500 <= size <= 1_400 for size in sizes) > 9_500
    large = [size for size in sizes if size > 5_000]
    assert 2 <= len(large) <= 25
    assert max(large) < 25_000


def test_messages_are_more_frequent_than_anything_else() -> None:
    types = Counter(json.loads(event)["event_type"] for event in TEN_THOUSAND)
    channels = ("email", "pushnotification", "inappmessage", "contentcard", "sms")
    messages = sum(
        count
        for name, count in types.items()
        if name.removeprefix("users.messages.").startswith(channels)
    )
    assert messages > 8_500
    assert len(types) > 70
    assert types["users.messages.email.Send"] > types["users.messages.email.Click"] > 0


def test_by_default_types_are_current_and_exported_over_http() -> None:
    known = event_types()
    for name in {json.loads(event)["event_type"] for event in TEN_THOUSAND}:
        assert known[name].in_http
        assert not known[name].retired


def test_only_the_types_asked_for_are_given() -> None:
    asked = ["users.canvas.Entry", "users.campaigns.Abort"]
    types = {json.loads(event)["event_type"] for event in sample_events(200, event_types=asked)}
    assert types == set(asked)


def test_events_are_of_the_app_groups_asked_for_and_an_app_is_of_one() -> None:
    apps: dict[str, set[str]] = {}
    for event in sample_events(3_000, app_groups=["g1", "g2", "g3"]):
        properties = json.loads(event)["properties"]
        if "app_id" in properties:
            apps.setdefault(properties["app_id"], set()).add(properties["app_group_id"])
    assert set().union(*apps.values()) == {"g1", "g2", "g3"}
    assert {len(groups) for groups in apps.values()} == {1}
    assert "app-ios-1" in apps


@pytest.mark.parametrize(
    ("share", "least", "most"), [(0.0, 0, 0), (0.05, 30, 170), (1.0, 2_000, 2_000)]
)
def test_as_many_users_as_asked_have_no_external_user_id(
    share: float, least: int, most: int
) -> None:
    events = sample_events(2_000, event_types=["users.canvas.Entry"], anonymous_share=share)
    anonymous = sum("external_user_id" not in json.loads(event)["user"] for event in events)
    assert least <= anonymous <= most


def test_time_goes_on_by_a_second_each_hundred_events() -> None:
    times = [json.loads(event)["time"] for event in sample_events(250, start_seconds=1_000)]
    assert times == [1_000] * 100 + [1_001] * 100 + [1_002] * 50


def test_addresses_and_numbers_are_reserved_for_examples() -> None:
    for event in TEN_THOUSAND:
        text = event.decode()
        assert not re.search(r"[\w.]@(?!example\.com)", text)
        assert not re.search(r"https?://(?!(?:[a-z]+\.)?example\.com/)", text)
        assert not re.search(r'"\+(?!1\d{3}55501\d\d")', text)


def test_a_sample_keeps_the_spelling_it_was_asked_for() -> None:
    event = sample_event("users_canvas_abort")
    assert event["event_type"] == "users_canvas_abort"
    assert "abort_log" in event["properties"]


def test_overrides_replace_fields_and_merge_into_user_and_properties() -> None:
    plain = sample_event("users.canvas.Entry", 3)
    changes: dict[str, Any] = {"id": "e-1", "user": {"user_id": "u"}, "properties": {"new": 1}}
    assert sample_event("users.canvas.Entry", 3, **changes) == {
        **plain,
        "id": "e-1",
        "user": {**plain["user"], "user_id": "u"},
        "properties": {**plain["properties"], "new": 1},
    }
