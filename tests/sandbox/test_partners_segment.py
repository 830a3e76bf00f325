import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox.partners import PartnerSandbox, SegmentSite

ITEM: dict[str, Any] = {
    "type": "track",
    "event": "Email Opened",
    "messageId": "m1",
    "timestamp": "2024-01-02T03:04:05Z",
    "userId": "x",
    "anonymousId": "u",
    "context": {"device": {}, "traits": {}},
    "properties": {"campaign_id": "c"},
}
BASIC = ("wk", "")


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"analytics": SegmentSite(write_key="wk")}) as server:
        yield server


def post(
    sandbox: PartnerSandbox,
    body: Any,
    auth: tuple[str, str] | None = BASIC,
    path: str = "/v1/batch",
    **headers: str,
) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"Content-Type": "application/json", **named}
    url = sandbox.url("analytics") + path
    return requests.post(url, data=data, headers=sent, auth=auth, timeout=10)


def item_of(size: int) -> dict[str, Any]:
    item = {**ITEM, "properties": {"p": ""}}
    room = size - len(json.dumps(item, separators=(",", ":")))
    return {**ITEM, "properties": {"p": "x" * room}}


def test_a_good_batch_is_answered_200_success(sandbox: PartnerSandbox) -> None:
    answer = post(sandbox, {"batch": [ITEM, {**ITEM, "messageId": "m2"}]})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert sandbox.accepted_ids("analytics") == ["m1", "m2"]


@pytest.mark.parametrize("auth", [None, ("other", ""), ("wk", "password"), ("", "wk")])
def test_a_wrong_key_is_answered_200_and_nothing_is_accepted(
    sandbox: PartnerSandbox, auth: tuple[str, str] | None
) -> None:
    answer = post(sandbox, {"batch": [ITEM]}, auth)
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert sandbox.accepted_ids("analytics") == []
    assert sandbox.counts("analytics").refused == 1


def test_a_key_without_its_colon_is_wrong(sandbox: PartnerSandbox) -> None:
    answer = post(sandbox, {"batch": [ITEM]}, auth=None, Authorization="Basic d2s=")
    assert answer.status_code == 200
    assert sandbox.accepted_ids("analytics") == []


def test_the_key_may_be_in_the_body(sandbox: PartnerSandbox) -> None:
    post(sandbox, {"batch": [ITEM], "writeKey": "wk"}, auth=None)
    assert sandbox.accepted_ids("analytics") == ["m1"]


@pytest.mark.parametrize(
    "change",
    [
        {"type": "identify"},
        {"type": None},
        {"event": ""},
        {"event": None},
        {"messageId": ""},
        {"messageId": "m" * 100},
        {"timestamp": 1_700_000_000},
        {"timestamp": "1700000000"},
        {"timestamp": "2024-13-02T03:04:05Z"},
        {"timestamp": "2024-01-02T03:04:05"},
        {"userId": None, "anonymousId": ""},
        {"context": {}},
        {"context": {"device": {}}},
        {"context": {"device": {}, "traits": None}},
        {"properties": []},
    ],
)
def test_a_bad_item_is_dropped_without_a_word(
    sandbox: PartnerSandbox, change: dict[str, Any]
) -> None:
    bad = {"messageId": "bad", **change}
    assert post(sandbox, {"batch": [{**ITEM, **bad}, ITEM]}).status_code == 200
    assert sandbox.accepted_ids("analytics") == ["m1"]
    assert sandbox.counts("analytics").refused == 0


@pytest.mark.parametrize(
    "change",
    [
        {"userId": None},
        {"anonymousId": None},
        {"messageId": "m" * 99},
        {"timestamp": "2024-01-02T03:04:05.678901234Z"},
        {"timestamp": "2024-01-02T03:04:05+02:00"},
        {"context": {"device": {"type": "ios"}, "traits": {"email": "a@b.c"}}},
    ],
)
def test_a_good_item_is_accepted(sandbox: PartnerSandbox, change: dict[str, Any]) -> None:
    post(sandbox, {"batch": [{**ITEM, **change}]})
    assert sandbox.counts("analytics").accepted == 1


def test_repeated_message_ids_stay_visible(sandbox: PartnerSandbox) -> None:
    post(sandbox, {"batch": [ITEM, ITEM]})
    assert sandbox.accepted_ids("analytics") == ["m1", "m1"]


@pytest.mark.parametrize(("items", "accepted"), [(2_500, 2_500), (2_501, 0)])
def test_over_2500_items_are_answered_200_and_none_is_accepted(
    sandbox: PartnerSandbox, items: int, accepted: int
) -> None:
    assert post(sandbox, {"batch": [ITEM] * items}).status_code == 200
    assert sandbox.counts("analytics").accepted == accepted


@pytest.mark.parametrize(("size", "status"), [(32_000, 200), (32_001, 400)])
def test_an_item_over_32_000_bytes_fails_the_batch(
    sandbox: PartnerSandbox, size: int, status: int
) -> None:
    assert post(sandbox, {"batch": [ITEM, item_of(size)]}).status_code == status
    assert sandbox.counts("analytics").accepted == (2 if status == 200 else 0)


@pytest.mark.parametrize(("size", "status"), [(500_000, 200), (500_001, 400)])
def test_a_body_over_500_000_bytes_is_answered_400(
    sandbox: PartnerSandbox, size: int, status: int
) -> None:
    body = json.dumps({"batch": [ITEM]}).encode().ljust(size)
    assert post(sandbox, body).status_code == status


@pytest.mark.parametrize("body", [b"{", b'{"batch":[NaN]}', b"[]", b"{}", b'{"batch":{}}'])
def test_a_malformed_body_is_answered_400(sandbox: PartnerSandbox, body: bytes) -> None:
    assert post(sandbox, body).status_code == 400


def test_the_content_type_is_mandatory(sandbox: PartnerSandbox) -> None:
    answer = post(sandbox, {"batch": [ITEM]}, Content_Type="text/plain")
    assert answer.status_code == 400


def test_an_empty_batch_is_answered_200(sandbox: PartnerSandbox) -> None:
    assert post(sandbox, {"batch": []}).status_code == 200
    assert sandbox.counts("analytics").refused == 0


def test_another_path_is_answered_404_and_another_method_405(sandbox: PartnerSandbox) -> None:
    assert post(sandbox, {"batch": [ITEM]}, path="/batch").status_code == 404
    assert requests.get(sandbox.url("analytics") + "/v1/batch", timeout=10).status_code == 405
