import json
from typing import Any

import msgspec

from schemas.connector import decode_hook
from sinks.postback import PostbackConnector, PostbackSink
from sinks.sink import HttpRequest, Packed

EXAMPLE: dict[str, Any] = {
    "name": "crm-hook",
    "kind": "postback",
    "url": "https://hooks.example.com/currents?app_group=Brand%20A",
    "token": "env:CRM_TOKEN",
}
SECRETS = {"env:CRM_TOKEN": "mF_9.B5f-4.1JqM"}
EVENT = b'{"event_type":"users.canvas.Entry","id":"e-1","time":1,"properties":{"n":1.50}}'


def sink_of(**changes: Any) -> PostbackSink:
    settings = {**EXAMPLE, **changes}
    return PostbackSink(msgspec.convert(settings, PostbackConnector, dec_hook=decode_hook))


def requests_of(packed: Packed) -> list[HttpRequest]:
    assert not packed.unpackable
    return [request for request in packed.requests if isinstance(request, HttpRequest)]


def test_a_request_is_the_envelope_with_the_bytes_that_came() -> None:
    (request,) = requests_of(sink_of().pack([EVENT, EVENT], "", SECRETS))
    assert request.method == "POST"
    assert request.body == b'{"events":[' + EVENT + b"," + EVENT + b"]}"
    assert request.events == [EVENT, EVENT]
    assert request.headers == {
        "Content-Type": "application/json",
        "Braze-Currents-Version": "1",
        "Authorization": "Bearer mF_9.B5f-4.1JqM",
    }


def test_the_query_of_the_url_is_kept() -> None:
    (request,) = requests_of(sink_of().pack([EVENT], "", SECRETS))
    assert request.url == EXAMPLE["url"]


def test_without_a_token_no_authorization_is_sent() -> None:
    (request,) = requests_of(sink_of(token=None).pack([EVENT], "", {}))
    assert "Authorization" not in request.headers


def test_a_url_may_be_a_secret() -> None:
    sink = sink_of(url="file:/secrets/url")
    secrets = {**SECRETS, "file:/secrets/url": "https://hooks.example.com/k3y"}
    (request,) = requests_of(sink.pack([EVENT], "", secrets))
    assert request.url == "https://hooks.example.com/k3y"
    assert sink.probe("", secrets).url == "https://hooks.example.com/k3y"


def test_users_without_an_external_id_are_exported() -> None:
    assert not PostbackSink.needs_external_user_id


def test_requests_take_a_hundred_events_each_in_the_order_of_the_lane() -> None:
    events = [EVENT.replace(b"e-1", b"e-%d" % number) for number in range(201)]
    packed = requests_of(sink_of().pack(events, "", SECRETS))
    assert [len(request.events) for request in packed] == [100, 100, 1]
    assert [event for request in packed for event in request.events] == events
    assert [event for request in packed for event in json.loads(request.body)["events"]] == [
        json.loads(event) for event in events
    ]


def test_an_event_that_fits_no_request_is_too_large() -> None:
    limit = len(b'{"events":[]}') + len(EVENT)
    assert not sink_of(max_request_bytes=limit).pack([EVENT], "", SECRETS).unpackable
    packed = sink_of(max_request_bytes=limit - 1).pack([EVENT], "", SECRETS)
    assert not packed.requests
    assert [(u.event, u.reason, u.detail) for u in packed.unpackable] == [
        (EVENT, "too_large", f"{limit} bytes with its envelope, a request takes {limit - 1}")
    ]


def test_a_probe_posts_zero_events_with_the_token() -> None:
    probe = sink_of().probe("", SECRETS)
    assert (probe.method, probe.url) == ("POST", EXAMPLE["url"])
    assert json.loads(probe.body) == {"events": []}
    assert probe.headers["Authorization"] == "Bearer mF_9.B5f-4.1JqM"
