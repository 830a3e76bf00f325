import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox.partners import PartnerSandbox, RudderStackSite

EVENT: dict[str, Any] = {
    "event_type": "users.messages.email.Open",
    "id": "e1",
    "time": 1_700_000_000,
    "user": {"user_id": "u", "external_user_id": "x"},
}


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"warehouse": RudderStackSite(write_key="wk")}) as server:
        yield server


def post(
    sandbox: PartnerSandbox,
    body: Any,
    path: str = "/v1/webhook?writeKey=wk",
    auth: tuple[str, str] | None = None,
) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(sandbox.url("warehouse") + path, data=data, auth=auth, timeout=10)


def test_a_good_request_is_answered_200_ok(sandbox: PartnerSandbox) -> None:
    answer = post(sandbox, {"events": [EVENT, {**EVENT, "id": "e2"}]})
    assert (answer.status_code, answer.text) == (200, "ok")
    assert sandbox.accepted_ids("warehouse") == ["e1", "e2"]


@pytest.mark.parametrize("query", ["", "?writeKey=", "?writeKey=other", "?write_key=wk"])
def test_a_missing_or_unknown_write_key_is_answered_401(
    sandbox: PartnerSandbox, query: str
) -> None:
    assert post(sandbox, {"events": [EVENT]}, "/v1/webhook" + query).status_code == 401


def test_the_key_may_be_the_user_of_basic_where_the_query_has_none(
    sandbox: PartnerSandbox,
) -> None:
    body = {"events": [EVENT]}
    assert post(sandbox, body, "/v1/webhook", auth=("wk", "")).status_code == 200
    assert post(sandbox, body, "/v1/webhook?writeKey=no", auth=("wk", "")).status_code == 401


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"events": []}, "All requests in the batch failed"),
        ({"events": [{"id": "e1"}, 7]}, "All requests in the batch failed"),
        ({"events": EVENT}, "eventList should be an array"),
        ({}, "eventList should be an array"),
        ([], "empty batch payload"),
        (b"{", "malformed JSON"),
    ],
)
def test_a_request_with_nothing_to_map_is_answered_400(
    sandbox: PartnerSandbox, body: Any, message: str
) -> None:
    answer = post(sandbox, body)
    assert answer.status_code == 400
    assert answer.text.startswith(message)


def test_an_empty_request_with_a_wrong_key_is_answered_401(sandbox: PartnerSandbox) -> None:
    assert post(sandbox, {"events": []}, "/v1/webhook?writeKey=no").status_code == 401


@pytest.mark.parametrize(
    "bad",
    [
        {**EVENT, "user": {}},
        {**EVENT, "user": {"user_id": "", "external_user_id": None}},
        {**EVENT, "user": None},
        {name: value for name, value in EVENT.items() if name != "user"},
        {name: value for name, value in EVENT.items() if name != "event_type"},
    ],
)
def test_an_event_that_cannot_be_mapped_is_skipped_without_a_word(
    sandbox: PartnerSandbox, bad: Any
) -> None:
    assert post(sandbox, {"events": [{**bad, "id": "bad"}, EVENT]}).status_code == 200
    assert sandbox.accepted_ids("warehouse") == ["e1"]
    assert sandbox.requests("warehouse")[-1].event_ids == ["bad", "e1"]


@pytest.mark.parametrize("user", [{"user_id": "u"}, {"external_user_id": "x"}])
def test_either_id_of_a_user_is_enough(sandbox: PartnerSandbox, user: Any) -> None:
    assert post(sandbox, {"events": [{**EVENT, "user": user}]}).status_code == 200


def test_the_events_of_the_first_item_of_an_array_are_taken(sandbox: PartnerSandbox) -> None:
    body = [{"events": [EVENT]}, {"events": [{**EVENT, "id": "second"}]}]
    assert post(sandbox, body).status_code == 200
    assert sandbox.accepted_ids("warehouse") == ["e1"]


@pytest.mark.parametrize(("size", "status"), [(4_096_000, 200), (4_096_001, 413)])
def test_a_body_over_4000_kib_is_answered_413(
    sandbox: PartnerSandbox, size: int, status: int
) -> None:
    body = json.dumps({"events": [EVENT]}).encode()
    assert post(sandbox, body.ljust(size)).status_code == status


def test_a_get_is_answered_200_whatever_the_key(sandbox: PartnerSandbox) -> None:
    url = sandbox.url("warehouse") + "/v1/webhook"
    assert requests.get(url, timeout=10).status_code == 200


def test_another_path_is_answered_404(sandbox: PartnerSandbox) -> None:
    assert post(sandbox, {"events": [EVENT]}, "/v1/batch?writeKey=wk").status_code == 404
