import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox.partners import MParticleSite, PartnerSandbox

IOS = ("key", "secret")
UNBOUND = ("k", "s")
IDFV = "9c3e5a10-2b4d-4f6a-8c7e-0123456789ab"


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox(
        {"mobile": MParticleSite(feeds={"ios": IOS, "unbound": UNBOUND})}
    ) as server:
        yield server


def event_of(event_id: str = "e1", **change: Any) -> dict[str, Any]:
    data = {
        "event_name": "Email Opened",
        "custom_event_type": "other",
        "source_message_id": event_id,
        "timestamp_unixtime_ms": 1_700_000_000_000,
        "custom_attributes": {"campaign_id": "c", "machine_open": None, "bot": False, "n": 1.5},
    }
    return {"event_type": "custom_event", "data": {**data, **change}}


def batch_of(*events: dict[str, Any], **change: Any) -> dict[str, Any]:
    batch = {
        "environment": "production",
        "device_info": {"platform": "iOS", "ios_idfv": IDFV},
        "user_attributes": {"$mobile": "+331"},
        "user_identities": {"customerid": "x", "email": "a@b.c"},
        "events": list(events) or [event_of()],
        "source_request_id": "e1",
    }
    return {**batch, **change}


def without(of: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in of.items() if name != key}


def post(
    sandbox: PartnerSandbox,
    body: Any,
    auth: tuple[str, str] | None = IOS,
    path: str = "/v2/bulkevents",
) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    sent = {"Content-Type": "application/json"}
    url = sandbox.url("mobile") + path
    return requests.post(url, data=data, headers=sent, auth=auth, timeout=10)


def test_good_batches_are_answered_202_with_the_use_of_the_rate_limit(
    sandbox: PartnerSandbox,
) -> None:
    answer = post(sandbox, [batch_of(), batch_of(event_of("e2"), event_of("e3"))])
    assert answer.status_code == 202
    assert 0 <= int(answer.headers["X-mp-rate-limit-percentage-used"]) <= 100
    assert sandbox.accepted_ids("mobile") == ["e1", "e2", "e3"]


def test_a_single_batch_goes_to_events(sandbox: PartnerSandbox) -> None:
    assert post(sandbox, batch_of(), path="/v2/events").status_code == 202
    assert sandbox.accepted_ids("mobile") == ["e1"]
    assert post(sandbox, [batch_of()], path="/v2/events").status_code == 400
    assert post(sandbox, batch_of()).status_code == 400


def test_the_credentials_tell_the_feed(sandbox: PartnerSandbox) -> None:
    post(sandbox, [batch_of(event_of("a"))], IOS)
    post(sandbox, [batch_of(event_of("b"))], UNBOUND)
    assert sandbox.accepted_ids("mobile", feed="ios") == ["a"]
    assert sandbox.accepted_ids("mobile", feed="unbound") == ["b"]
    assert sandbox.accepted_ids("mobile") == ["a", "b"]
    assert [received.feed for received in sandbox.requests("mobile")] == ["ios", "unbound"]


def test_no_authorization_is_answered_401(sandbox: PartnerSandbox) -> None:
    answer = post(sandbox, [batch_of()], auth=None)
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["code"] == "401"


@pytest.mark.parametrize("auth", [("key", "s"), ("other", "secret"), ("key", "")])
def test_a_wrong_key_or_secret_is_answered_403(
    sandbox: PartnerSandbox, auth: tuple[str, str]
) -> None:
    assert post(sandbox, [batch_of()], auth).status_code == 403
    assert sandbox.requests("mobile")[-1].feed is None


@pytest.mark.parametrize("body", [b"[", b"[NaN]", b"7", b'["text"]', b"[[]]"])
def test_a_malformed_body_is_answered_400_with_errors(sandbox: PartnerSandbox, body: bytes) -> None:
    answer = post(sandbox, body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"]


def test_a_bad_batch_among_good_ones_is_dropped_without_a_word(sandbox: PartnerSandbox) -> None:
    bad = without(batch_of(event_of("bad")), "environment")
    assert post(sandbox, [bad, batch_of()]).status_code == 202
    assert sandbox.accepted_ids("mobile") == ["e1"]
    assert sandbox.requests("mobile")[-1].event_ids == ["bad", "e1"]


def test_bad_batches_alone_are_answered_400(sandbox: PartnerSandbox) -> None:
    assert post(sandbox, [without(batch_of(), "environment")] * 2).status_code == 400
    assert sandbox.counts("mobile").refused == 1


def test_no_batch_at_all_is_answered_202(sandbox: PartnerSandbox) -> None:
    assert post(sandbox, []).status_code == 202


BAD_BATCHES = {
    "another environment": batch_of(environment="prod"),
    "schema_version": batch_of(schema_version=2),
    "an unknown top-level key": batch_of(api="x"),
    "no identities": without(batch_of(), "user_identities"),
    "no customer id": batch_of(user_identities={"email": "a@b.c"}),
    "an empty customer id": batch_of(user_identities={"customerid": ""}),
    "an unknown identity": batch_of(user_identities={"customerid": "x", "braze": "u"}),
    "a lower-case platform": batch_of(device_info={"platform": "ios"}),
    "a device key of no schema": batch_of(device_info={"model": "x"}),
    "an ios_idfv that is no UUID": batch_of(device_info={"ios_idfv": "device"}),
    "an advertising id that is no UUID": batch_of(device_info={"android_advertising_id": "x"}),
    "no events": without(batch_of(), "events"),
    "an unknown event type": batch_of({**event_of(), "event_type": "commerce_event"}),
    "an unknown event key": batch_of({**event_of(), "id": "e1"}),
    "an array": batch_of(event_of(custom_attributes={"a": ["x"]})),
    "an object": batch_of(event_of(custom_attributes={"a": {}})),
    "101 attributes": batch_of(event_of(custom_attributes={str(n): n for n in range(101)})),
    "a long attribute name": batch_of(event_of(custom_attributes={"n" * 257: 1})),
    "a long attribute value": batch_of(event_of(custom_attributes={"a": "v" * 4_097})),
    "no event name": batch_of({"event_type": "custom_event", "data": without(event_of()["data"], "event_name")}),
    "a long event name": batch_of(event_of(event_name="n" * 257)),
    "another custom event type": batch_of(event_of(custom_event_type="email")),
    "seconds": batch_of(event_of(timestamp_unixtime_ms=1_700_000_000)),
    "a text for a time": batch_of(event_of(timestamp_unixtime_ms="1700000000000")),
    "no message id": batch_of(event_of(source_message_id=None)),
}  # fmt: skip


@pytest.mark.parametrize("batch", BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_a_batch_is_bad_with(sandbox: PartnerSandbox, batch: dict[str, Any]) -> None:
    assert post(sandbox, [batch, batch_of(event_of("good"))]).status_code == 202
    assert sandbox.accepted_ids("mobile") == ["good"]


GOOD_BATCHES = {
    "customer_id": batch_of(user_identities={"customer_id": "x"}),
    "development": batch_of(environment="development"),
    "no device": without(batch_of(), "device_info"),
    "fire_tv": batch_of(device_info={"platform": "fire_tv"}),
    "100 attributes": batch_of(event_of(custom_attributes={str(n): n for n in range(100)})),
    "the longest name": batch_of(event_of(custom_attributes={"n" * 256: "v" * 4_096})),
    "what the schema names": batch_of(mpid=7, ip="10.0.0.1", batch_id=1),
}


@pytest.mark.parametrize("batch", GOOD_BATCHES.values(), ids=GOOD_BATCHES)
def test_a_batch_is_good_with(sandbox: PartnerSandbox, batch: dict[str, Any]) -> None:
    assert post(sandbox, [batch]).status_code == 202
    assert sandbox.accepted_ids("mobile") == ["e1"]


def test_an_uninstall_needs_no_name(sandbox: PartnerSandbox) -> None:
    data = {"source_message_id": "e1", "timestamp_unixtime_ms": 1_700_000_000_000}
    post(sandbox, [batch_of({"event_type": "uninstall", "data": data})])
    assert sandbox.accepted_ids("mobile") == ["e1"]


@pytest.mark.parametrize(("count", "status"), [(100, 202), (101, 400)])
def test_over_100_batches_are_answered_400(
    sandbox: PartnerSandbox, count: int, status: int
) -> None:
    assert post(sandbox, [batch_of()] * count).status_code == status
    assert post(sandbox, [{**batch_of(), "events": []}] * count).status_code == status


@pytest.mark.parametrize(("count", "status"), [(100, 202), (101, 400)])
def test_over_100_events_in_all_are_answered_400(
    sandbox: PartnerSandbox, count: int, status: int
) -> None:
    events = [event_of()] * (count - 1)
    assert post(sandbox, [batch_of(*events), batch_of()]).status_code == status


@pytest.mark.parametrize(("size", "status"), [(256_000, 202), (256_001, 400)])
def test_a_request_over_256_000_bytes_is_answered_400(
    sandbox: PartnerSandbox, size: int, status: int
) -> None:
    body = json.dumps([batch_of()]).encode().ljust(size)
    assert post(sandbox, body).status_code == status


@pytest.mark.parametrize(("size", "status"), [(128_000, 202), (128_001, 400)])
def test_a_batch_over_128_000_bytes_fails_the_request(
    sandbox: PartnerSandbox, size: int, status: int
) -> None:
    texts = {f"a{n}": "v" * 4_000 for n in range(31)}
    room = size - len(
        json.dumps(batch_of(user_attributes={**texts, "b": ""}), separators=(",", ":"))
    )
    batch = batch_of(user_attributes={**texts, "b": "v" * room})
    assert post(sandbox, [batch_of(), batch]).status_code == status


def test_another_path_is_answered_404_and_another_method_405(sandbox: PartnerSandbox) -> None:
    assert post(sandbox, [batch_of()], path="/v1/bulkevents").status_code == 404
    assert requests.get(sandbox.url("mobile") + "/v2/bulkevents", timeout=10).status_code == 405


def test_the_historical_path_takes_only_what_is_older_than_72_hours(
    sandbox: PartnerSandbox,
) -> None:
    hours_ago = {n: int((time.time() - n * 3_600) * 1_000) for n in (71, 73)}
    young, old = (
        batch_of(event_of(f"e{n}", timestamp_unixtime_ms=ms)) for n, ms in hours_ago.items()
    )
    path = "/v2/bulkevents/historical"
    assert post(sandbox, [young], path=path).status_code == 400
    assert post(sandbox, [young, old], path=path).status_code == 202
    assert sandbox.accepted_ids("mobile") == ["e73"]
    assert post(sandbox, [young, old]).status_code == 202
    assert sandbox.accepted_ids("mobile") == ["e73", "e71", "e73"]
