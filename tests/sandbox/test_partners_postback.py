import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox.partners import PartnerSandbox, PostbackSite

HEADERS = {
    "Authorization": "Bearer t0ken",
    "Braze-Currents-Version": "1",
    "Content-Type": "application/json",
}
EVENT: dict[str, Any] = {
    "event_type": "users.messages.email.Open",
    "id": "e1",
    "time": 1_700_000_000,
    "user": {"user_id": "u"},
    "properties": {"app_group_id": "brand-a"},
}


@pytest.fixture(scope="module")
def server() -> Iterator[PartnerSandbox]:
    sites = {"hook": PostbackSite(token="t0ken"), "open": PostbackSite()}
    with PartnerSandbox(sites) as sandbox:
        yield sandbox


class Client:
    """Posts to one site and tells what came of it."""

    def __init__(self, sandbox: PartnerSandbox) -> None:
        self.sandbox = sandbox

    def post(self, body: Any, path: str = "", site: str = "hook", **headers: str | None) -> int:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in {**HEADERS, **named}.items() if value is not None}
        url = self.sandbox.url(site) + path
        return requests.post(url, data=data, headers=sent, timeout=10).status_code

    def post_events(self, *events: Any) -> int:
        return self.post({"events": list(events)})


@pytest.fixture
def client(server: PartnerSandbox) -> Client:
    return Client(server)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in EVENT.items() if name != key}


def test_a_good_request_is_answered_200_and_its_events_are_accepted(client: Client) -> None:
    already = len(client.sandbox.accepted_ids("hook"))
    assert client.post_events(EVENT, {**EVENT, "id": "e2"}) == 200
    assert client.sandbox.accepted_ids("hook")[already:] == ["e1", "e2"]


def test_any_path_is_taken_and_the_query_is_kept(client: Client) -> None:
    assert client.post({"events": []}, path="/a/b?group=Brand%20A") == 200
    last = client.sandbox.requests("hook")[-1]
    assert (last.path, last.query) == ("/a/b", {"group": "Brand A"})


@pytest.mark.parametrize("value", [None, "Bearer wrong", "bearer t0ken", "Basic dDprZW46"])
def test_another_authorisation_is_answered_401(client: Client, value: str | None) -> None:
    assert client.post({"events": [EVENT]}, Authorization=value) == 401


@pytest.mark.parametrize("body", [b'{"events":[]}', b""])
def test_an_empty_request_checks_the_credentials_and_nothing_else(
    client: Client, body: bytes
) -> None:
    assert client.post(body) == 200
    assert client.post(body, Authorization="Bearer wrong") == 401


def test_no_authorisation_is_asked_where_no_token_is_set(client: Client) -> None:
    assert client.post({"events": [EVENT]}, site="open", Authorization=None) == 200


@pytest.mark.parametrize("value", [None, "2"])
def test_the_version_header_is_required(client: Client, value: str | None) -> None:
    assert client.post({"events": [EVENT]}, Braze_Currents_Version=value) == 400


@pytest.mark.parametrize("value", [None, "text/plain"])
def test_the_content_type_is_required(client: Client, value: str | None) -> None:
    assert client.post({"events": [EVENT]}, Content_Type=value) == 400


def test_a_charset_may_follow_the_content_type(client: Client) -> None:
    assert client.post({"events": []}, Content_Type="application/json; charset=utf-8") == 200


def test_only_post_is_taken(client: Client) -> None:
    assert requests.get(client.sandbox.url("hook"), headers=HEADERS, timeout=10).status_code == 405


@pytest.mark.parametrize("key", ["event_type", "id", "time"])
def test_a_required_field_may_not_be_absent(client: Client, key: str) -> None:
    assert client.post_events(EVENT, without(key)) == 400


@pytest.mark.parametrize("key", ["user", "properties"])
def test_user_and_properties_may_be_absent(client: Client, key: str) -> None:
    assert client.post_events(without(key)) == 200


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("event_type", 1),
        ("event_type", ""),
        ("id", None),
        ("time", "1700000000"),
        ("time", 1_700_000_000.5),
        ("time", True),
        ("user", None),
        ("user", "u"),
        ("properties", []),
    ],
)
def test_a_field_of_another_type_is_malformed(client: Client, key: str, value: object) -> None:
    assert client.post_events({**EVENT, key: value}) == 400


def test_unknown_fields_of_an_event_are_tolerated(client: Client) -> None:
    assert client.post_events({**EVENT, "new": {"in": "v12"}}) == 200


@pytest.mark.parametrize(
    "body",
    [
        [EVENT],
        {"events": EVENT},
        {"events": [EVENT], "more": 1},
        {"events": ["text"]},
        {},
        None,
    ],
)
def test_another_envelope_is_malformed(client: Client, body: object) -> None:
    assert client.post(body) == 400


@pytest.mark.parametrize(
    "value",
    [b"NaN", b"Infinity", b'"\\ud800"', b'"\xff"', b"'single'", b"[" * 100_000],
    ids=["NaN", "Infinity", "lone surrogate", "no UTF-8", "quotes", "too deep"],
)
def test_what_is_no_strict_json_is_malformed(client: Client, value: bytes) -> None:
    event = b'{"event_type":"t","id":"e","time":1,"properties":{"p":%s}}' % value
    assert client.post(b'{"events":[%s]}' % event) == 400


@pytest.mark.parametrize(
    "value", [b"1e999", b"123456789012345678901234567890", b'"\\ud83d\\ude00"']
)
def test_rare_but_strict_json_is_taken(client: Client, value: bytes) -> None:
    event = b'{"event_type":"t","id":"e","time":1,"properties":{"p":%s}}' % value
    assert client.post(b'{"events":[%s]}' % event) == 200


def test_a_hundred_events_are_taken_and_one_more_is_not(client: Client) -> None:
    assert client.post_events(*[EVENT] * 100) == 200
    assert client.post_events(*[EVENT] * 101) == 400


@pytest.mark.parametrize(("size", "status"), [(900_000, 200), (900_001, 413)])
def test_a_body_over_900_000_bytes_is_answered_413(client: Client, size: int, status: int) -> None:
    head, tail = b'{"events":[{"event_type":"t","id":"e","time":1,"properties":{"p":"', b'"}}]}'
    assert client.post(head + b"x" * (size - len(head) - len(tail)) + tail) == status


def test_a_refused_request_leaves_nothing_accepted(client: Client) -> None:
    before = client.sandbox.counts("hook")
    assert client.post_events(EVENT, {}) == 400
    after = client.sandbox.counts("hook")
    assert (after.accepted - before.accepted, after.refused - before.refused) == (0, 1)


def test_a_compressed_body_is_malformed(client: Client) -> None:
    assert client.post(b"\x1f\x8b\x08", Content_Encoding="gzip") == 400
