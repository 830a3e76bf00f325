from typing import Any

import msgspec
import pytest

from schemas.connector import decode_hook
from schemas.secret import FORMS
from sinks.rudderstack import RudderStackConnector, RudderStackSink
from sinks.sink import Answer, HttpRequest, Verdict

REFERENCE = "env:RUDDERSTACK_WEBHOOK_URL"
EXAMPLE: dict[str, Any] = {
    "name": "warehouse",
    "kind": "rudderstack",
    "url": REFERENCE,
    "region": "us",
}
SECRETS = {REFERENCE: "https://acme.dataplane.example.com/v1/webhook?writeKey=2abcDEF"}
EVENT = b'{"event_type":"users.canvas.Entry","id":"e-1","time":1,"user":{"external_user_id":"x"}}'


def settings_of(**changes: Any) -> RudderStackConnector:
    return msgspec.convert({**EXAMPLE, **changes}, RudderStackConnector, dec_hook=decode_hook)


def request_of(secrets: dict[str, str], **changes: Any) -> HttpRequest:
    (request,) = RudderStackSink(settings_of(**changes)).pack([EVENT], "", secrets).requests
    assert isinstance(request, HttpRequest)
    return request


def test_the_envelope_goes_to_the_url_that_holds_the_key() -> None:
    request = request_of(SECRETS)
    assert request.url == SECRETS[REFERENCE]
    assert request.body == b'{"events":[' + EVENT + b"]}"
    assert request.headers == {"Content-Type": "application/json", "Braze-Currents-Version": "1"}


@pytest.mark.parametrize(
    "url",
    [
        "https://rs.example.com/v1/webhook?writeKey=2abcDEF",
        "https://rs.example.com/v1/webhook?writeKey=",
        "http://rs.example.com/v1/webhook?a=b&writekey=2abcDEF",
        "https://rs.example.com/v1/webhook?write%4Bey=2abcDEF",
        "https://2abcDEF:@rs.example.com/v1/webhook",
    ],
)
def test_a_literal_url_with_a_key_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        settings_of(url=url)
    assert FORMS in str(refused.value)
    assert "2abcDEF" not in str(refused.value)


def test_a_literal_url_without_a_key_is_taken() -> None:
    assert (
        request_of({}, url="https://rs.example.com/in?x=1").url == "https://rs.example.com/in?x=1"
    )


@pytest.mark.parametrize("region", ["us", "eu", None])
def test_the_region_changes_nothing(region: str | None) -> None:
    assert request_of(SECRETS, region=region) == request_of(SECRETS)


def test_another_region_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        settings_of(region="mars")


def test_an_endpoint_takes_the_place_of_the_host_and_the_rest_stays() -> None:
    request = request_of(SECRETS, endpoint="http://127.0.0.1:8080/proxy/")
    assert request.url == "http://127.0.0.1:8080/proxy/v1/webhook?writeKey=2abcDEF"


def test_an_endpoint_that_is_a_secret_is_resolved() -> None:
    secrets = {**SECRETS, "env:PROXY": "https://proxy.example.com"}
    request = request_of(secrets, endpoint="env:PROXY")
    assert request.url == "https://proxy.example.com/v1/webhook?writeKey=2abcDEF"


def test_only_users_with_an_external_id_are_exported() -> None:
    assert RudderStackSink.needs_external_user_id


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, Verdict.DELIVERED),
        (200, Verdict.DELIVERED),
        (401, Verdict.SUSPEND),
        (404, Verdict.SUSPEND),
        (500, Verdict.RETRY),
    ],
)
def test_zero_events_are_answered_400_with_a_good_key(status: int, verdict: Verdict) -> None:
    sink = RudderStackSink(settings_of())
    answer = Answer(status)
    assert sink.judge_probe(answer) is verdict
    takes_the_key = "takes the write key" in sink.what_probe_proves(answer)
    assert takes_the_key is (verdict is Verdict.DELIVERED)


def test_events_that_are_answered_400_are_rejected_all_the_same() -> None:
    assert RudderStackSink(settings_of()).judge(Answer(400)) is Verdict.REJECTED


def test_200_is_no_proof_for_unmappable_events_are_skipped_silently() -> None:
    assert not RudderStackSink.proves_delivery
