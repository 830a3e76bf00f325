import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox.partners import PartnerSandbox, TreasureDataSite

PATH = "/postback/v3/event/currents/events_1"
KEYED = PATH + "?td_write_key=1%2Fabc"
EVENT = {"event_type": "users.messages.email.Open", "id": "e1", "time": 1_700_000_000}


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    sites = {
        "cdp": TreasureDataSite(write_key="1/abc"),
        "cdp-v2": TreasureDataSite(write_key="1/abc", version="v2"),
    }
    with PartnerSandbox(sites) as server:
        yield server


def post(
    sandbox: PartnerSandbox, body: Any, path: str = KEYED, site: str = "cdp", **headers: str
) -> int:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"Content-Type": "application/json", **named}
    url = sandbox.url(site) + path
    return requests.post(url, data=data, headers=sent, timeout=10).status_code


def test_a_request_becomes_one_row_whose_events_are_json_text(sandbox: PartnerSandbox) -> None:
    body = b'{"events":[{"id":"e1","n":1.50},{"id":"e2"}]}'
    assert post(sandbox, body) == 200
    assert sandbox.rows("cdp") == [{"events": '[{"id":"e1","n":1.50},{"id":"e2"}]'}]
    assert sandbox.accepted_ids("cdp") == ["e1", "e2"]


def test_every_value_is_stored_as_a_text(sandbox: PartnerSandbox) -> None:
    assert post(sandbox, {"a": 1, "b": "é\n", "c": None, "d": {"e": True}}) == 200
    assert sandbox.rows("cdp") == [{"a": "1", "b": "é\n", "c": "null", "d": '{"e": true}'}]


@pytest.mark.parametrize("path", [PATH, PATH + "?td_write_key=1%2Fwrong"])
def test_a_wrong_key_is_answered_200_and_nothing_is_kept(
    sandbox: PartnerSandbox, path: str
) -> None:
    assert post(sandbox, {"events": [EVENT]}, path) == 200
    assert sandbox.rows("cdp") == []
    assert sandbox.accepted_ids("cdp") == []
    assert sandbox.counts("cdp").refused == 1


def test_the_key_may_be_in_the_header_which_wins_over_the_query(sandbox: PartnerSandbox) -> None:
    post(sandbox, {"events": [EVENT]}, PATH, X_TD_Write_Key="1/abc")
    assert sandbox.counts("cdp").accepted == 1
    post(sandbox, {"events": [EVENT]}, KEYED, X_TD_Write_Key="1/wrong")
    assert sandbox.counts("cdp").accepted == 1


@pytest.mark.parametrize(
    ("path", "headers", "accepted"),
    [
        (KEYED, {}, 0),
        (PATH, {"X_TD_Write_Key": "1/abc"}, 1),
        (PATH, {"Authorization": "TD1 1/abc"}, 1),
        (PATH, {"Authorization": "TD1 1/abc", "X_TD_Write_Key": "1/wrong"}, 1),
        (PATH, {"Authorization": "TD1 1/wrong", "X_TD_Write_Key": "1/abc"}, 0),
    ],
)
def test_v2_takes_the_key_in_a_header_only_and_authorization_wins(
    sandbox: PartnerSandbox, path: str, headers: dict[str, str], accepted: int
) -> None:
    assert post(sandbox, {"events": [EVENT]}, path, "cdp-v2", **headers) == 200
    assert sandbox.counts("cdp-v2").accepted == accepted


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"NaN", b""])
def test_what_is_no_json_object_is_answered_400(sandbox: PartnerSandbox, body: bytes) -> None:
    assert post(sandbox, body) == 400


def test_an_empty_request_becomes_a_row_too(sandbox: PartnerSandbox) -> None:
    assert post(sandbox, b'{"events":[]}') == 200
    assert sandbox.rows("cdp") == [{"events": "[]"}]


@pytest.mark.parametrize(
    "path",
    [
        "/postback/v3/event/currents",
        "/postback/v3/event/cur-rents/events",
        "/postback/v3/event/currents/events/more",
        "/postback/v2/event/currents/events",
        "",
    ],
)
def test_another_path_is_answered_400(sandbox: PartnerSandbox, path: str) -> None:
    assert post(sandbox, {"events": [EVENT]}, path + "?td_write_key=1%2Fabc") == 400


def test_the_content_type_is_required(sandbox: PartnerSandbox) -> None:
    assert post(sandbox, {"events": [EVENT]}, Content_Type="text/plain") == 400


def test_only_post_is_taken(sandbox: PartnerSandbox) -> None:
    assert requests.get(sandbox.url("cdp") + KEYED, timeout=10).status_code == 405


@pytest.mark.parametrize(
    ("site", "size", "status"),
    [("cdp-v2", 1_048_064, 200), ("cdp-v2", 1_048_065, 413), ("cdp", 1_048_065, 200)],
)
def test_v2_alone_answers_413_over_1048064_bytes(
    sandbox: PartnerSandbox, site: str, size: int, status: int
) -> None:
    body = json.dumps({"events": [EVENT]}).encode().ljust(size)
    assert post(sandbox, body, PATH, site, X_TD_Write_Key="1/abc") == status
    assert sandbox.counts(site).accepted == (status == 200)
