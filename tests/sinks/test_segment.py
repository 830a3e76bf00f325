import hashlib
import json
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.partners.segment import SegmentSite
from sandbox.partners.site import Arrival, Judgement
from sandbox.samples import sample_event, sample_events
from schemas.catalogue import canonical_event_type, event_types
from schemas.connector import decode_hook
from schemas.event import decode_event
from sinks.segment import SegmentConnector, SegmentSink
from sinks.sink import Answer, HttpRequest, Packed, Verdict

EXAMPLE: dict[str, Any] = {
    "name": "analytics",
    "kind": "segment",
    "write_key": "env:SEGMENT_WRITE_KEY",
    "region": "us",
    "event_names": {"users.behaviors.Purchase": "Order Completed"},
}
SECRETS = {"env:SEGMENT_WRITE_KEY": "wk-Vt8/Q2+one"}

# What the founding document says is exported, in its own spelling, and what Segment calls it.
EXPORTED = {
    "users.behaviors.Uninstall": "Application Uninstalled",
    "users.behaviors.app.NewsFeedImpression": "News Feed Viewed",
    "users.behaviors.subscription.GlobalStateChange": "Global Subscription State Changed",
    "users.behaviors.subscriptiongroup.StateChange": "Subscription Group State Changed",
    "users_campaigns_abort": "Campaign Aborted",
    "users.campaigns.Conversion": "Campaign Converted",
    "users.campaigns.EnrollInControl": "Campaign Control Group Entered",
    "users_canvas_abort": "Canvas Aborted",
    "users.canvas.Conversion": "Canvas Converted",
    "users.canvas.Entry": "Canvas Entered",
    "users.canvas.exit.MatchedAudience": "Exit Matched Audience",
    "users.canvas.exit.PerformedEvent": "Exit Performed Event",
    "users.canvas.experimentstep.Conversion": "Experiment Step Converted",
    "users.canvas.experimentstep.SplitEntry": "Experiment Split Entered",
    "users.messages.contentcard.Abort": "Content Card Aborted",
    "users.messages.contentcard.Click": "Content Card Clicked",
    "users.messages.contentcard.Dismiss": "Content Card Dismissed",
    "users.messages.contentcard.Impression": "Content Card Viewed",
    "users.messages.contentcard.Send": "Content Card Sent",
    "users.messages.email.Abort": "Email Aborted",
    "users.messages.email.Bounce": "Email Bounced",
    "users.messages.email.Click": "Email Link Clicked",
    "users.messages.email.Delivery": "Email Delivered",
    "users.messages.email.MarkAsSpam": "Email Marked As Spam",
    "users.messages.email.Open": "Email Opened",
    "users.messages.email.Send": "Email Sent",
    "users.messages.email.SoftBounce": "Email Soft Bounced",
    "users.messages.email.Unsubscribe": "Email Unsubscribed",
    "users.messages.inappmessage.Abort": "In-App Message Aborted",
    "users.messages.inappmessage.Click": "In-App Message Clicked",
    "users.messages.inappmessage.Impression": "In-App Message Viewed",
    "users.messages.newsfeedcard.Abort": "News Feed Card Aborted",
    "users.messages.newsfeedcard.Click": "News Feed Card Clicked",
    "users.messages.newsfeedcard.Impression": "News Feed Card Viewed",
    "users.messages.pushnotification.Abort": "Push Notification Aborted",
    "users.messages.pushnotification.Bounce": "Push Notification Bounced",
    "users.messages.pushnotification.IosForeground": "iOS Foreground Push Opened",
    "users.messages.pushnotification.Open": "Push Notification Tapped",
    "users.messages.pushnotification.Send": "Push Notification Sent",
    "users.messages.sms.Abort": "SMS Aborted",
    "users.messages.sms.CarrierSend": "SMS Sent to Carrier",
    "users.messages.sms.Delivery": "SMS Delivered",
    "users.messages.sms.DeliveryFailure": "SMS Delivery Failed",
    "users.messages.sms.InboundReceive": "SMS Inbound Received",
    "users.messages.sms.Rejection": "SMS Rejected",
    "users.messages.sms.Send": "SMS Sent",
    "users.messages.sms.ShortLinkClick": "SMS Short Link Clicked",
    "users.messages.webhook.Abort": "Webhook Aborted",
    "users.messages.webhook.Send": "Webhook Sent",
}
NAMELESS = [
    "users.behaviors.CustomEvent",
    "users.behaviors.app.SessionStart",
    "users.messages.line.Send",
    "users.messages.survey.Response",
]
EMAIL_CLICK = "users.messages.email.Click"


def sink_of(**changes: Any) -> SegmentSink:
    settings = {**EXAMPLE, **changes}
    return SegmentSink(msgspec.convert(settings, SegmentConnector, dec_hook=decode_hook))


def line(event: dict[str, Any]) -> bytes:
    return msgspec.json.encode(event)


def pack(*events: dict[str, Any] | bytes, **changes: Any) -> Packed:
    lines = [event if isinstance(event, bytes) else line(event) for event in events]
    return sink_of(**changes).pack(lines, "", SECRETS)


def requests_of(packed: Packed) -> list[HttpRequest]:
    return [request for request in packed.requests if isinstance(request, HttpRequest)]


def item_of(event: dict[str, Any] | bytes, **changes: Any) -> dict[str, Any]:
    """The only item of the only request."""
    packed = pack(event, **changes)
    assert not packed.unpackable
    (request,) = requests_of(packed)
    (item,) = json.loads(request.body)["batch"]
    return item


def judged(request: HttpRequest, key: str = SECRETS["env:SEGMENT_WRITE_KEY"]) -> Judgement:
    """What Segment's stand-in, which is written from its documentation alone, makes of it."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    path = urlsplit(request.url).path
    return SegmentSite(key).examine(Arrival(request.method, path, {}, headers, request.body))


# Names


@pytest.mark.parametrize(("event_type", "name"), EXPORTED.items())
def test_every_type_of_the_founding_document_goes_out_under_its_name(
    event_type: str, name: str
) -> None:
    sink = sink_of()
    event = line(sample_event(event_type))
    header, _ = decode_event(event, 900_000)
    canonical = canonical_event_type(event_type)
    assert sink.supports(canonical)
    assert sink.place(header, canonical, "2026-01-31-23") == ""
    (request,) = requests_of(sink.pack([event], "", SECRETS))
    assert [item["event"] for item in json.loads(request.body)["batch"]] == [name]
    assert judged(request).accepted == [header.id]


@pytest.mark.parametrize("event_type", NAMELESS)
def test_a_type_without_a_name_is_unsupported(event_type: str) -> None:
    assert not sink_of().supports(event_type)


@pytest.mark.parametrize("event_type", NAMELESS)
def test_a_type_without_a_name_goes_out_raw_where_that_is_set(event_type: str) -> None:
    assert sink_of(unnamed_events="raw").supports(event_type)
    event = {**sample_event(EMAIL_CLICK), "event_type": event_type}
    assert item_of(event, unnamed_events="raw")["event"] == event_type


def test_a_configured_name_wins_and_gives_nameless_types_one() -> None:
    names = {EMAIL_CLICK: "Clicked", "users_canvas_abort": "Gone", "x.New": "New"}
    sink = sink_of(event_names=names)
    assert sink.supports("x.New")
    for event_type, name in names.items():
        event = {**sample_event(EMAIL_CLICK), "event_type": event_type}
        assert item_of(event, event_names=names)["event"] == name


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        sink_of(event_names={EMAIL_CLICK: ""})


def test_a_type_that_lost_its_name_since_it_was_routed_is_unencodable() -> None:
    event = line({**sample_event(EMAIL_CLICK), "event_type": "x.New"})
    (unpackable,) = pack(event).unpackable
    assert (unpackable.event, unpackable.reason) == (event, "unencodable")
    assert unpackable.detail == "event_type: Segment has no name for it"


# Layout


def test_an_item_is_laid_out_as_the_glossary_has_it() -> None:
    event = (
        b'{"event_type":"users.message.email.Click","id":"e-1","time":1700000000,'
        b'"user":{"user_id":"b-1","external_user_id":"x-1","device_id":"d-1","timezone":"UTC"},'
        b'"properties":{"email_address":"a@example.com","url":"https://example.com/",'
        b'"suspected_bot_click_reason":["fast"],"price":1.50,"big":12345678901234567890123}}'
    )
    (request,) = requests_of(pack(event))
    assert request.body == (
        b'{"batch":[{"type":"track","event":"Email Link Clicked","messageId":"e-1",'
        b'"timestamp":"2023-11-14T22:13:20Z",'
        b'"context":{"device":{},"traits":{"email":"a@example.com"}},'
        b'"properties":{"url":"https://example.com/","suspected_bot_click_reason":["fast"],'
        b'"price":1.50,"big":12345678901234567890123,"device_id":"d-1"},'
        b'"userId":"x-1","anonymousId":"b-1"}]}'
    )


def test_the_phone_number_of_the_user_is_a_trait() -> None:
    sent = item_of(sample_event("users.messages.sms.Send", properties={"to_phone_number": "+1"}))
    click = sample_event(
        "users.messages.sms.ShortLinkClick", properties={"user_phone_number": "+2"}
    )
    clicked = item_of(click)
    assert sent["context"]["traits"] == {"phone": "+1"}
    assert clicked["context"]["traits"] == {"phone": "+2"}
    assert not {"to_phone_number", "user_phone_number"} & {
        *sent["properties"],
        *clicked["properties"],
    }


@pytest.mark.parametrize(
    ("event_type", "moves"),
    [
        ("users.messages.sms.ShortLinkClick", True),
        ("users.messages.whatsapp.Click", True),
        ("users.messages.sms.InboundReceive", False),
        ("users.messages.whatsapp.InboundReceive", False),
    ],
)
def test_the_number_that_wrote_to_us_stays_a_property(event_type: str, moves: bool) -> None:
    item = item_of(sample_event(event_type, properties={"user_phone_number": "+2"}))
    assert ("user_phone_number" in item["properties"]) is not moves
    assert item["context"]["traits"] == ({"phone": "+2"} if moves else {})


DEVICE = {"device_model": "Phone 14", "platform": "ios", "os_version": "17"}


@pytest.mark.parametrize(
    "event_type",
    [
        "users.messages.contentcard.Click",
        "users.messages.contentcard.Dismiss",
        "users.messages.contentcard.Impression",
        "users.messages.inappmessage.Abort",
        "users.messages.inappmessage.Click",
        "users.messages.inappmessage.Impression",
        "users.messages.pushnotification.IosForeground",
        "users.messages.pushnotification.Open",
    ],
)
def test_the_platform_of_these_types_is_the_type_of_the_device(event_type: str) -> None:
    item = item_of(sample_event(event_type, properties=DEVICE))
    assert item["context"]["device"] == {"model": "Phone 14", "type": "ios"}
    assert not DEVICE.keys() & item["properties"].keys()


@pytest.mark.parametrize("verb", ["Abort", "Bounce", "Send"])
def test_the_platform_of_other_types_stays_a_property(verb: str) -> None:
    properties = {"platform": "ios"}
    event = sample_event(f"users.messages.pushnotification.{verb}", properties=properties)
    item = item_of(event)
    assert item["context"]["device"] == {}
    assert item["properties"]["platform"] == "ios"


def test_the_platform_of_an_aborted_banner_goes_nowhere() -> None:
    item = item_of(sample_event("users.messages.banner.Abort", properties=DEVICE))
    assert item["context"]["device"] == {"model": "Phone 14"}
    assert "platform" not in item["properties"]


@pytest.mark.parametrize(
    ("event_type", "field"),
    [
        ("users.canvas.Entry", "os_version"),
        ("users.canvas.Entry", "canvas_step_message_variation_id"),
        ("users.behaviors.subscriptiongroup.StateChange", "phone_number"),
        ("users.messages.whatsapp.Click", "url"),
    ],
)
def test_fields_that_stand_in_no_tab_are_dropped(event_type: str, field: str) -> None:
    assert field not in item_of(sample_event(event_type, properties={field: "v"}))["properties"]


def test_a_content_card_id_is_called_card_id() -> None:
    event = sample_event("users.messages.contentcard.Send", properties={"content_card_id": "c-1"})
    properties = item_of(event)["properties"]
    assert properties["card_id"] == "c-1"
    assert "content_card_id" not in properties


def test_an_event_without_properties_is_an_item_with_none() -> None:
    event = b'{"event_type":"users.canvas.Entry","id":"e","time":0,"user":{"external_user_id":"x"}}'
    item = item_of(event)
    assert item["properties"] == {}
    assert item["context"] == {"device": {}, "traits": {}}
    assert (item["timestamp"], item["userId"]) == ("1970-01-01T00:00:00Z", "x")
    assert "anonymousId" not in item


@pytest.mark.parametrize("length", [1, 98, 99, 100, 101, 1_024])
def test_a_message_id_is_the_events_id_or_of_a_long_one_its_digest(length: int) -> None:
    event_id = "é" * length
    found = item_of({**sample_event(EMAIL_CLICK), "id": event_id})["messageId"]
    assert found == (event_id if length < 100 else hashlib.sha256(event_id.encode()).hexdigest())


def test_times_up_to_the_end_of_the_calendar_can_be_sent() -> None:
    item = item_of({**sample_event(EMAIL_CLICK), "time": 253_402_300_799})
    assert item["timestamp"] == "9999-12-31T23:59:59Z"


def test_what_cannot_be_expressed_is_unencodable_and_the_field_is_named() -> None:
    good, bad = (
        line(sample_event(EMAIL_CLICK)),
        line(sample_event(EMAIL_CLICK, user={"user_id": 5})),
    )
    packed = pack(good, bad, good)
    (unpackable,) = packed.unpackable
    assert (unpackable.event, unpackable.reason) == (bad, "unencodable")
    assert "user_id" in unpackable.detail
    assert [list(request.events) for request in packed.requests] == [[good, good]]


# Addresses and credentials


def test_the_write_key_is_the_user_and_the_password_is_empty() -> None:
    (request,) = requests_of(pack(sample_event(EMAIL_CLICK)))
    assert request.method == "POST"
    assert request.headers["Content-Type"] == "application/json"
    arrival = Arrival("POST", "", {}, {"authorization": request.headers["Authorization"]}, b"")
    assert arrival.basic == (SECRETS["env:SEGMENT_WRITE_KEY"], "")
    assert judged(request, key="another").refused


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({"region": "us"}, "https://api.segment.io/v1/batch"),
        ({"region": "eu"}, "https://events.eu1.segmentapis.com/v1/batch"),
        ({"endpoint": "http://127.0.0.1:9/prefix/"}, "http://127.0.0.1:9/prefix/v1/batch"),
    ],
)
def test_the_address_is_that_of_the_region_or_the_endpoint(
    changes: dict[str, Any], url: str
) -> None:
    assert [r.url for r in requests_of(pack(sample_event(EMAIL_CLICK), **changes))] == [url]
    assert sink_of(**changes).probe("", SECRETS).url == url


def test_an_endpoint_may_be_a_secret() -> None:
    sink = sink_of(endpoint="env:PROXY")
    secrets = {**SECRETS, "env:PROXY": "https://proxy.example.com/k3y/"}
    (request,) = requests_of(sink.pack([line(sample_event(EMAIL_CLICK))], "", secrets))
    for url in (request.url, sink.probe("", secrets).url):
        assert url == "https://proxy.example.com/k3y/v1/batch"


def test_two_connectors_must_not_share_a_write_key() -> None:
    assert sink_of().settings.identities() == ["env:SEGMENT_WRITE_KEY"]


def test_a_probe_is_a_batch_of_nothing_which_proves_nothing_of_the_key() -> None:
    sink = sink_of()
    request = sink.probe("", SECRETS)
    assert request.body == b'{"batch":[]}'
    answer = Answer(judged(request, key="another").reply.status)
    assert sink.judge(answer) is Verdict.DELIVERED
    assert "not checked" in sink.what_probe_proves(answer)


# Limits


def sized(item_bytes: int) -> bytes:
    """An event whose item has this size."""
    event = sample_event(EMAIL_CLICK, properties={"filler": ""})
    empty = len(requests_of(pack(event))[0].body) - len(b'{"batch":[]}')
    return line(
        {**event, "properties": {**event["properties"], "filler": "x" * (item_bytes - empty)}}
    )


@given(st.sampled_from([-1, 0, 1]))
def test_an_item_of_32_000_bytes_goes_out_and_a_larger_one_is_too_large(beyond: int) -> None:
    event = sized(32_000 + beyond)
    packed = pack(event)
    if beyond <= 0:
        (request,) = requests_of(packed)
        assert len(request.body) == 32_000 + beyond + len(b'{"batch":[]}')
        assert judged(request).accepted
    else:
        (unpackable,) = packed.unpackable
        assert (unpackable.event, unpackable.reason) == (event, "too_large")
        assert "32001" in unpackable.detail
        assert "32000" in unpackable.detail


@given(st.integers(1_500, 32_000), st.integers(1, 12), st.sampled_from([-1, 0, 1]))
def test_a_request_is_filled_to_its_last_byte_and_not_beyond(
    item_bytes: int, count: int, beyond: int
) -> None:
    event = sized(item_bytes)
    whole = len(b'{"batch":[]}') + count * item_bytes + count - 1
    packed = pack(*[event] * count, max_request_bytes=whole - beyond)
    requests = requests_of(packed)
    if beyond <= 0:
        assert [len(request.body) for request in requests] == [whole]
    elif count == 1:
        assert [u.reason for u in packed.unpackable] == ["too_large"]
    else:
        assert [len(request.events) for request in requests] == [count - 1, 1]


@pytest.mark.parametrize(("count", "requests"), [(2_499, 1), (2_500, 1), (2_501, 2)])
def test_a_request_holds_2_500_items_for_more_would_be_dropped(count: int, requests: int) -> None:
    event = b'{"event_type":"users.canvas.Entry","id":"e","time":0,"user":{"external_user_id":"x"}}'
    packed = requests_of(pack(*[event] * count))
    assert len(packed) == requests
    assert sum(len(judged(request).accepted) for request in packed) == count


def test_the_stand_in_takes_every_sample_of_a_type_with_a_name() -> None:
    named = [known.name for known in event_types().values() if known.name_at("segment")]
    events = list(sample_events(3_000, seed=5, event_types=named, anonymous_share=0))
    packed = pack(*events)
    assert not packed.unpackable
    accepted = [found for request in requests_of(packed) for found in judged(request).accepted]
    assert accepted == [json.loads(event)["id"] for event in events]


def test_a_removed_value_identifies_nobody() -> None:
    event = sample_event("users.messages.email.Open")
    item = item_of(event, redact={"remove": ["email_address", "user_id"]})
    assert "anonymousId" not in item
    assert item["context"]["traits"] == {}
    assert item["properties"]["email_address"] == "[REDACTED]"


def test_users_without_an_external_id_go_out_where_that_is_set() -> None:
    assert sink_of().leaves_out_anonymous
    assert not sink_of(anonymous_users=True).leaves_out_anonymous
    for external in (None, "", " "):
        event = sample_event(EMAIL_CLICK, user={"external_user_id": external, "user_id": "u-1"})
        item = item_of(event, anonymous_users=True)
        assert "userId" not in item
        assert item["anonymousId"] == "u-1"


def test_an_event_of_nobody_cannot_be_sent() -> None:
    event = sample_event(EMAIL_CLICK, user={"external_user_id": None, "user_id": None})
    (unpackable,) = pack(event, anonymous_users=True).unpackable
    assert unpackable.reason == "unencodable"
    assert unpackable.detail == (
        "user: neither external_user_id nor user_id, of which Segment needs one"
    )


@pytest.mark.parametrize("user_id", [None, "", "[REDACTED]"])
def test_an_empty_user_id_is_no_anonymous_id(user_id: str | None) -> None:
    item = item_of(sample_event(EMAIL_CLICK, user={"external_user_id": "x", "user_id": user_id}))
    assert item["userId"] == "x"
    assert "anonymousId" not in item


@pytest.mark.parametrize(
    ("changes", "name"), [({}, "url"), ({"email_link": "link_url"}, "link_url")]
)
def test_the_link_of_an_email_click_has_the_name_that_is_set(
    changes: dict[str, Any], name: str
) -> None:
    event = sample_event(EMAIL_CLICK, properties={"url": "https://example.com/a"})
    properties = item_of(event, **changes)["properties"]
    assert {"url", "link_url"} & properties.keys() == {name}
    assert properties[name] == "https://example.com/a"
    other = sample_event("users.messages.sms.ShortLinkClick", properties={"url": "u"})
    assert item_of(other, **changes)["properties"]["url"] == "u"
