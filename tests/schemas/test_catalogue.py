import json
from collections import Counter

import pytest

from schemas.catalogue import canonical_event_type, event_types
from schemas.facts.generate import CATALOGUE, generate

SOURCES = json.loads((CATALOGUE.parent / "sources" / "partner_names.json").read_text("utf-8"))
STORAGE_ONLY = {
    "users.RandomBucketNumberUpdate",
    "users.UserDeleteRequest",
    "users.UserOrphan",
    "users.profile.Update",
}
RETIRED = {
    "users.behaviors.app.NewsFeedImpression",
    "users.campaigns.Abort",
    "users.canvas.Abort",
    "users.messages.newsfeedcard.Abort",
    "users.messages.newsfeedcard.Click",
    "users.messages.newsfeedcard.Impression",
}
USER_FIELDS = {"user_id", "external_user_id", "device_id", "timezone"}
ALL = pytest.mark.parametrize("name", sorted(event_types()))


def test_the_catalogue_has_94_current_types_and_6_retired_ones() -> None:
    known = event_types()
    assert len(known) == 100
    assert {name for name, found in known.items() if found.retired} == RETIRED
    assert {name for name, found in known.items() if not found.in_http} == STORAGE_ONLY


def test_the_catalogue_is_what_its_facts_generate() -> None:
    assert CATALOGUE.read_text("utf-8") == generate(), "run: python -m schemas.facts.generate"


def test_two_types_have_no_external_user_id() -> None:
    without = {name for name, found in event_types().items() if not found.has_external_user_id}
    assert without == {"agentconsole.ToolInvocation", "users.UserDeleteRequest"}


@ALL
def test_a_type_is_found_under_its_own_name(name: str) -> None:
    assert event_types()[name].name == name
    assert canonical_event_type(name) == name


def test_no_two_types_share_a_table_name() -> None:
    assert len({name.lower().replace(".", "_") for name in event_types()}) == len(event_types())


def test_every_source_of_a_name_is_explained() -> None:
    explained = set(SOURCES["_meta"]["sources"])
    for found in event_types().values():
        for at in found.partners.values():
            letters = {*at.source.split(","), *at.feed_source.split(",")} - {""}
            assert letters <= explained
            assert bool(at.source) == bool(at.name or not at.exported)
            assert bool(at.feed_source) == bool(at.feed)


@pytest.mark.parametrize(
    ("event_type", "personal"),
    [
        ("users.messages.email.Open", {"user_id", "external_user_id", "email_address"}),
        ("users.behaviors.Purchase", {"user_id", "external_user_id", "ad_id"}),
    ],
)
def test_personal_fields_are_marked(event_type: str, personal: set[str]) -> None:
    assert personal <= set(event_types()[event_type].personal_fields)


@ALL
def test_storage_requires_an_id_and_a_time_and_no_field_twice(name: str) -> None:
    fields = event_types()[name].storage_fields
    required = {field.name: field.type for field in fields if not field.nullable}
    assert required["id"] == "string"
    assert required["time"] in {"int", "long"}
    assert max(Counter(field.name for field in fields).values()) == 1


@ALL
def test_types_of_fields_are_of_the_known_few(name: str) -> None:
    found = event_types()[name]
    primitive = {"string", "int", "long", "float", "boolean"}
    arrays = {"array<string>", "array<null|string>"}
    assert {field.type for field in found.storage_fields} <= primitive | arrays
    assert set(found.http_properties.values()) <= {
        "string",
        "integer",
        "number",
        "boolean",
        "array",
        "object",
    }
    assert set(found.user_fields) <= USER_FIELDS
    assert not USER_FIELDS & found.http_properties.keys()


@ALL
def test_a_type_exported_over_http_has_properties(name: str) -> None:
    found = event_types()[name]
    assert bool(found.http_properties) == found.in_http
    assert ("external_user_id" in found.user_fields) == (
        found.in_http and found.has_external_user_id
    )


@ALL
def test_a_type_with_a_name_at_mparticle_has_a_feed_there(name: str) -> None:
    found = event_types()[name]
    assert found.name_at("mparticle") is None or found.feed_at("mparticle") in {
        "platform",
        "unbound",
    }


def test_the_platform_keeps_one_type_from_mparticle_and_none_from_others() -> None:
    kept = {
        kind: [name for name, found in event_types().items() if not found.is_exported_to(kind)]
        for kind in ("mparticle", "segment", "postback")
    }
    assert kept == {
        "mparticle": ["users.messages.pushnotification.IosForeground"],
        "segment": [],
        "postback": [],
    }


def test_two_types_never_share_a_name_at_a_partner() -> None:
    for names in (
        [found.name_at("segment") for found in event_types().values()],
        [found.name_at("mparticle") for found in event_types().values()],
    ):
        counts = Counter(name for name in names if name is not None)
        assert len(counts) > 50
        assert max(counts.values()) == 1


def test_a_field_that_is_a_number_in_storage_is_one_over_http() -> None:
    for found in event_types().values():
        stored = {field.name: field.type for field in found.storage_fields}
        for name, json_type in found.http_properties.items():
            if stored.get(name) in {"int", "long"}:
                assert json_type == "integer", (found.name, name)


@pytest.mark.parametrize(
    ("event_type", "field", "written"),
    [
        ("users.messages.email.Open", "machine_open", ("string", True)),
        ("users.messages.whatsapp.Send", "time", ("long", False)),
        ("users.canvas.Entry", "in_control_group", ("boolean", False)),
        ("users.behaviors.Purchase", "price", ("float", False)),
        ("users.messages.sms.InboundReceive", "media_urls", ("array<null|string>", True)),
    ],
)
def test_storage_fields_are_as_the_platform_writes_them(
    event_type: str, field: str, written: tuple[str, bool]
) -> None:
    fields = event_types()[event_type].storage_fields
    assert [(f.type, f.nullable) for f in fields if f.name == field] == [written]


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("users_campaigns_abort", "users.campaigns.Abort"),
        ("users_canvas_abort", "users.canvas.Abort"),
        ("users_messages_email_open", "users.messages.email.Open"),
        ("users_behaviors_app_sessionstart", "users.behaviors.app.SessionStart"),
        ("newsfeedcard.Abort", "users.messages.newsfeedcard.Abort"),
        ("users.message.email.Open", "users.messages.email.Open"),
        ("users.message.newsfeedcard.Abort", "users.messages.newsfeedcard.Abort"),
    ],
)
def test_spellings_of_the_founding_documents_are_normalised(spelling: str, canonical: str) -> None:
    assert canonical_event_type(spelling) == canonical
    assert canonical in event_types()


@pytest.mark.parametrize(
    "unknown",
    [
        "",
        "x",
        "USERS_CANVAS_ABORT",
        "users_messages_survey_response",
        "users.messages",
        "users.message",
        "users.messages.survey.Response",
    ],
)
def test_an_unknown_type_comes_back_as_it_is(unknown: str) -> None:
    assert canonical_event_type(unknown) == unknown
    assert unknown not in event_types()
