"""Segment: names, layout, limits and answers, as the founding document and Segment publish them."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.samples import sample_event
from schemas.catalogue import canonical_event_type
from schemas.connector import decode_hook
from sinks.segment import SegmentConnector, SegmentSink
from sinks.sink import HttpRequest, Packed

EXAMPLE = {"name": "analytics", "kind": "segment", "write_key": "env:SEGMENT_WRITE_KEY"}
SECRETS = {"env:SEGMENT_WRITE_KEY": "segment-secret-key"}

SEED_4 = {
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


def sink_with(**changes: Any) -> SegmentSink:
    settings_ = msgspec.convert(EXAMPLE | changes, SegmentConnector, dec_hook=decode_hook)
    return SegmentSink(settings_)


def pack(*events: bytes, **changes: Any) -> Packed:
    return sink_with(**changes).pack(events, "", SECRETS)


def only_request(packed: Packed) -> HttpRequest:
    (request,) = packed.requests
    assert isinstance(request, HttpRequest)
    assert not packed.unpackable
    return request


def call_of(event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    (call,) = json.loads(only_request(pack(json.dumps(event).encode(), **changes)).body)["batch"]
    return dict(call)


@pytest.mark.parametrize(("event_type", "name"), SEED_4.items())
def test_every_type_of_the_founding_document_has_its_name(event_type: str, name: str) -> None:
    assert sink_with().supports(canonical_event_type(event_type))
    event = sample_event(event_type)
    call = call_of(event)
    assert (call["type"], call["event"], call["messageId"]) == ("track", name, event["id"])
    assert call["userId"] == event["user"]["external_user_id"]


def test_a_request_goes_to_the_batch_call_with_the_key_as_basic_user() -> None:
    request = only_request(pack(json.dumps(sample_event("users.messages.email.Open")).encode()))
    assert request.url == "https://api.segment.io/v1/batch"
    assert request.headers["Content-Type"] == "application/json"
    key = base64.b64decode(request.headers["Authorization"].removeprefix("Basic "))
    assert key == b"segment-secret-key:"
    assert b"segment-secret-key" not in request.body


def test_the_eu_region_and_an_endpoint_have_their_own_addresses() -> None:
    event = json.dumps(sample_event("users.messages.email.Open")).encode()
    assert (
        only_request(pack(event, region="eu")).url == "https://events.eu1.segmentapis.com/v1/batch"
    )
    mine = only_request(pack(event, endpoint="https://proxy.example.com/segment/"))
    assert mine.url == "https://proxy.example.com/segment/v1/batch"


def test_an_event_is_laid_out_as_the_glossary_says() -> None:
    event = {
        "event_type": "users.messages.contentcard.Click",
        "id": "id-1",
        "time": 1_477_502_783,
        "user": {
            "user_id": "internal",
            "external_user_id": "user-1",
            "device_id": "device-1",
            "timezone": "America/Chicago",
        },
        "properties": {
            "app_id": "app-1",
            "content_card_id": "card-1",
            "device_model": "Phone 9",
            "os_version": "17",
            "platform": "ios",
            "campaign_name": None,
            "is_suspected_bot_click": False,
            "suspected_bot_click_reason": ["user_agent"],
        },
    }
    assert call_of(event) == {
        "type": "track",
        "event": "Content Card Clicked",
        "messageId": "id-1",
        "timestamp": "2016-10-26T17:26:23Z",
        "userId": "user-1",
        "anonymousId": "internal",
        "context": {"device": {"model": "Phone 9", "type": "ios"}, "traits": {}},
        "properties": {
            "app_id": "app-1",
            "card_id": "card-1",
            "device_id": "device-1",
            "is_suspected_bot_click": False,
            "suspected_bot_click_reason": ["user_agent"],
        },
    }


@pytest.mark.parametrize(
    ("event_type", "field", "trait"),
    [
        ("users.messages.email.Open", "email_address", "email"),
        ("users.messages.sms.Send", "to_phone_number", "phone"),
        ("users.messages.sms.ShortLinkClick", "user_phone_number", "phone"),
    ],
)
def test_addresses_are_traits_and_no_properties(event_type: str, field: str, trait: str) -> None:
    event = sample_event(event_type)
    event["properties"][field] = "somebody"
    call = call_of(event)
    assert call["context"]["traits"][trait] == "somebody"
    assert field not in call["properties"]


def test_the_platform_of_a_push_bounce_stays_a_property() -> None:
    event = sample_event("users.messages.pushnotification.Bounce")
    event["properties"]["platform"] = "android"
    call = call_of(event)
    assert call["properties"]["platform"] == "android"
    assert "type" not in call["context"]["device"]


def test_a_type_without_a_name_is_unsupported_unless_raw_is_asked_for() -> None:
    assert not sink_with().supports("users.messages.line.Send")
    assert sink_with(unnamed_events="raw").supports("users.messages.line.Send")
    call = call_of(sample_event("users.messages.line.Send"), unnamed_events="raw")
    assert call["event"] == "users.messages.line.Send"


def test_a_name_of_the_settings_wins() -> None:
    names = {"users_canvas_abort": "Journey Aborted"}
    assert call_of(sample_event("users_canvas_abort"), event_names=names)["event"] == (
        "Journey Aborted"
    )


def test_a_long_id_is_hashed_for_segment_takes_fewer_than_100_characters() -> None:
    event = sample_event("users.messages.email.Open")
    assert call_of({**event, "id": "i" * 99})["messageId"] == "i" * 99
    assert len(call_of({**event, "id": "i" * 100})["messageId"]) == 64


@pytest.mark.parametrize(("over", "fits"), [(-1, True), (0, True), (1, False)])
def test_an_event_of_32_000_bytes_fits_and_no_larger_one(over: int, fits: bool) -> None:
    event = sample_event("users.messages.email.Open")
    event["properties"]["message_extras"] = ""
    empty = len(msgspec.json.encode(call_of(event)))
    event["properties"]["message_extras"] = "x" * (32_000 - empty + over)
    packed = pack(json.dumps(event).encode())
    assert bool(packed.requests) is fits
    assert [refusal.reason for refusal in packed.unpackable] == ([] if fits else ["too_large"])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=60))
def test_no_request_is_over_the_limits_and_no_event_is_lost(lengths: list[int]) -> None:
    events = [
        json.dumps(
            {
                "event_type": "users.messages.email.Open",
                "id": f"id-{number}",
                "time": 1,
                "user": {"external_user_id": "u"},
                "properties": {"message_extras": "x" * length},
            }
        ).encode()
        for number, length in enumerate(lengths)
    ]
    packed = pack(*events)
    assert all(len(request.body) <= 500_000 for request in packed.requests)
    sent = [event for request in packed.requests for event in request.events]
    assert sorted([*sent, *(refusal.event for refusal in packed.unpackable)]) == sorted(events)


def test_at_most_2500_calls_are_in_a_request() -> None:
    event = b'{"event_type":"users.messages.email.Open","id":"i","time":1}'
    packed = pack(*[event] * 2_501)
    assert [len(request.events) for request in packed.requests] == [2_500, 1]


def test_numbers_keep_their_spelling() -> None:
    event = (
        b'{"event_type":"users.messages.email.Open","id":"i","time":1,'
        b'"properties":{"a":1.10,"b":12345678901234567890123,"c":1e2}}'
    )
    assert b'"a":1.10,"b":12345678901234567890123,"c":1e2' in only_request(pack(event)).body
