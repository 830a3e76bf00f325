import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.partners import (
    MParticleSite,
    PostbackSite,
    RudderStackSite,
    SegmentSite,
    TreasureDataSite,
)
from sandbox.partners.site import Arrival, Site, texts_at

BASIC = "Basic d2s6"  # wk and an empty password
PLACES: list[tuple[Site, str]] = [
    (PostbackSite(), ""),
    (RudderStackSite("wk"), "/v1/webhook"),
    (TreasureDataSite("wk"), "/postback/v3/event/d/t"),
    (SegmentSite("wk"), "/v1/batch"),
    (MParticleSite({"ios": ("wk", "")}), "/v2/bulkevents"),
    (MParticleSite({"ios": ("wk", "")}), "/v2/events"),
]
KEYS = [
    *("events", "batch", "data", "user", "user_id", "id", "messageId", "event_type", "time"),
    *("environment", "user_identities", "customerid", "context", "custom_attributes"),
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
DOCUMENTS = st.recursive(
    SCALARS | st.sampled_from(["production", "custom_event", "track", 10**40]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner),
)


def arrival_of(path: str, body: bytes) -> Arrival:
    headers = {
        "authorization": BASIC,
        "content-type": "application/json",
        "braze-currents-version": "1",
        "x-td-write-key": "wk",
    }
    return Arrival("POST", path, {}, headers, body)


@given(st.sampled_from(PLACES), DOCUMENTS, st.sampled_from(["events", "batch", None]))
def test_no_document_surprises_a_site(
    place: tuple[Site, str], document: Any, key: str | None
) -> None:
    site, path = place
    whole = document if key is None else {key: document}
    # Infinity is written as a number that overflows, for strict JSON has no word for it.
    body = json.dumps(whole).replace("Infinity", "1e999").encode()
    judgement = site.judge(arrival_of(path, body))
    assert judgement.reply.status in (200, 202, 400)
    assert not (judgement.refused and judgement.accepted)


@given(st.sampled_from(PLACES), st.binary())
def test_no_bytes_surprise_a_site(place: tuple[Site, str], body: bytes) -> None:
    site, path = place
    assert site.judge(arrival_of(path, body)).reply.status in (200, 202, 400)
    assert isinstance(site.event_ids(arrival_of(path, body)), list)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"events": [{"id": "a"}, {"id": "b"}]}, ["a", "b"]),
        ([{"events": [{"id": "a"}]}, {"events": [{"id": "b"}]}], ["a", "b"]),
        ({"events": [{"id": 1}, {}, "id", None, {"id": "a"}]}, ["a"]),
        ({"events": {"id": "a"}}, ["a"]),
        ({"events": None}, []),
        ("id", []),
    ],
)
def test_ids_are_found_in_any_document(document: Any, found: list[str]) -> None:
    assert texts_at(document, ("events", "id")) == found


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic !", "Basic d2s=", "Basic /w==", "Bearer d2s6"]
)
def test_what_is_no_basic_authorization_has_no_user(header: str) -> None:
    assert Arrival("POST", "", {}, {"authorization": header}, b"").basic is None


def test_basic_authorization_has_a_user_and_a_password() -> None:
    assert arrival_of("", b"").basic == ("wk", "")
