"""mParticle: feeds, names, layout and limits, as the founding document and mParticle publish them."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.samples import sample_event
from schemas.connector import decode_hook
from schemas.event import decode_event
from sinks.mparticle import MParticleConnector, MParticleSink
from sinks.sink import Filtered, HttpRequest, Packed

FEEDS = ("ios", "android", "web", "unbound")
EXAMPLE: dict[str, Any] = {
    "name": "mobile",
    "kind": "mparticle",
    "feeds": {feed: {"key": f"env:{feed}_K", "secret": f"env:{feed}_S"} for feed in FEEDS},
    "app_feeds": {"app-ios-1": "ios"},
}
SECRETS = {f"env:{feed}_{half}": f"{feed}-{half.lower()}-secret" for feed in FEEDS for half in "KS"}

SEED_2_PLATFORM = {
    "users.messages.pushnotification.Send": "Push Notification Sends",
    "users.messages.pushnotification.Open": "Push Notification Opens",
    "users.messages.pushnotification.Bounce": "Push Notification Bounces",
    "users.messages.inappmessage.Impression": "In-App Message Impressions",
    "users.messages.inappmessage.Click": "In-App Message Clicks",
    "users.messages.contentcard.Send": "Content Card Sends",
    "users.messages.contentcard.Impression": "Content Card Impressions",
    "users.messages.contentcard.Click": "Content Card Clicks",
    "users.messages.contentcard.Dismiss": "Content Card Dismisses",
    "users.behaviors.app.NewsFeedImpression": "News Feed Views",
    "users.messages.newsfeedcard.Impression": "News Feed Card Views",
    "users.messages.newsfeedcard.Click": "News Feed Card Clicks",
    "users.behaviors.Uninstall": None,
}
SEED_2_UNBOUND = {
    "users.messages.email.Send": "Email Sends",
    "users.messages.email.Delivery": "Email Deliveries",
    "users.messages.email.Open": "Email Opens",
    "users.messages.email.Click": "Email Clicks",
    "users.messages.email.Bounce": "Email Bounces",
    "users.messages.email.MarkAsSpam": "Email Marks As Spam",
    "users.messages.email.Unsubscribe": "Email Unsubscribes",
    "users.messages.sms.Send": "SMS Sends",
    "users.messages.sms.CarrierSend": "SMS Carrier Sends",
    "users.messages.sms.Delivery": "SMS Deliveries",
    "users.messages.sms.DeliveryFailure": "SMS Delivery Failures",
    "users.messages.sms.Rejection": "SMS Rejections",
    "users.messages.sms.InboundReceive": "SMS Inbound Received",
    "users.behaviors.subscriptiongroup.StateChange": "Subscription Group State Changes",
    "users.messages.webhook.Send": "Webhook Sends",
    "users.campaigns.Conversion": "Campaign Conversions",
    "users.campaigns.EnrollInControl": "Campaign Control Group Enrollments",
    "users.canvas.Conversion": "Canvas Conversions",
    "users.canvas.Entry": "Canvas Entries",
}


def sink_with(**changes: Any) -> MParticleSink:
    return MParticleSink(
        msgspec.convert(EXAMPLE | changes, MParticleConnector, dec_hook=decode_hook)
    )


def pack(*events: bytes, feed: str = "unbound", **changes: Any) -> Packed:
    return sink_with(**changes).pack(events, feed, SECRETS)


def batches_of(packed: Packed) -> list[dict[str, Any]]:
    bodies = [json.loads(r.body) for r in packed.requests if isinstance(r, HttpRequest)]
    return [batch for body in bodies for batch in body]


def batch_of(event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    packed = pack(json.dumps(event).encode(), **changes)
    assert not packed.unpackable
    (batch,) = batches_of(packed)
    return batch


def place(event: dict[str, Any], **changes: Any) -> str | Filtered:
    header, _ = decode_event(json.dumps(event).encode(), 900_000)
    return sink_with(**changes).place(header, header.event_type, "2026-01-01-00")


@pytest.mark.parametrize(("event_type", "name"), {**SEED_2_PLATFORM, **SEED_2_UNBOUND}.items())
def test_every_row_of_the_founding_document_has_its_name(event_type: str, name: str | None) -> None:
    assert sink_with().supports(event_type)
    (event,) = batch_of(sample_event(event_type))["events"]
    if name is None:
        assert event["event_type"] == "uninstall"
        assert "event_name" not in event["data"]
    else:
        assert event["event_type"] == "custom_event"
        assert (event["data"]["event_name"], event["data"]["custom_event_type"]) == (name, "other")


@pytest.mark.parametrize("event_type", SEED_2_UNBOUND)
def test_an_unbound_type_goes_to_the_unbound_feed_even_with_an_app(event_type: str) -> None:
    event = sample_event(event_type)
    event["properties"] |= {"app_id": "app-ios-1", "platform": "ios"}
    assert place(event) == "unbound"


@pytest.mark.parametrize("event_type", SEED_2_PLATFORM)
@pytest.mark.parametrize(
    ("app_id", "platform", "feed"),
    [
        ("app-ios-1", "android", "ios"),
        ("another", "android", "android"),
        ("another", "web", "web"),
        ("another", "kindle", "unbound"),
        ("another", None, "unbound"),
        (None, None, "unbound"),
    ],
)
def test_a_platform_type_goes_by_app_then_by_platform_else_unbound(
    event_type: str, app_id: str | None, platform: str | None, feed: str
) -> None:
    event = sample_event(event_type)
    event["properties"] |= {"app_id": app_id, "platform": platform}
    assert place(event) == feed


def test_a_kindle_goes_where_the_settings_say() -> None:
    event = sample_event("users.messages.pushnotification.Open")
    event["properties"] |= {"app_id": "another", "platform": "kindle"}
    assert place(event, platform_feeds={"kindle": "android"}) == "android"


def test_a_feed_without_credentials_filters_by_name() -> None:
    event = sample_event("users.messages.pushnotification.Open")
    event["properties"] |= {"app_id": "another", "platform": "android"}
    only_ios = {"feeds": {"ios": EXAMPLE["feeds"]["ios"]}}
    assert place(event, **only_ios) is Filtered.FEED_NOT_CONFIGURED


@pytest.mark.parametrize("feed", FEEDS)
def test_each_feed_has_its_own_key_and_secret(feed: str) -> None:
    event = json.dumps(sample_event("users.messages.email.Open")).encode()
    (request,) = pack(event, feed=feed).requests
    assert isinstance(request, HttpRequest)
    assert request.url == "https://s2s.us1.mparticle.com/v2/bulkevents"
    basic = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
    assert basic == f"{feed}-k-secret:{feed}-s-secret"


def test_an_event_is_laid_out_as_the_glossary_says() -> None:
    event = {
        "event_type": "users.messages.contentcard.Click",
        "id": "id-1",
        "time": 1_477_502_783,
        "user": {
            "user_id": "internal",
            "external_user_id": "user-1",
            "device_id": "0a1b2c3d-0000-4000-8000-000000000001",
            "timezone": "America/Chicago",
        },
        "properties": {
            "app_id": "app-ios-1",
            "campaign_id": "c",
            "content_card_id": "card-1",
            "device_model": "Phone 9",
            "platform": "ios",
            "ad_id": "0a1b2c3d-0000-4000-8000-000000000002",
            "ad_id_type": "ios_idfa",
            "ad_tracking_enabled": True,
            "canvas_id": None,
            "suspected_bot_click_reason": ["user_agent"],
            "is_suspected_bot_click": True,
        },
    }
    assert batch_of(event) == {
        "environment": "production",
        "device_info": {
            "platform": "iOS",
            "device_model": "Phone 9",
            "ios_idfv": "0a1b2c3d-0000-4000-8000-000000000001",
            "limit_ad_tracking": False,
            "ios_advertising_id": "0a1b2c3d-0000-4000-8000-000000000002",
        },
        "user_attributes": {},
        "user_identities": {"customerid": "user-1"},
        "source_request_id": "id-1",
        "events": [
            {
                "event_type": "custom_event",
                "data": {
                    "event_name": "Content Card Clicks",
                    "custom_event_type": "other",
                    "source_message_id": "id-1",
                    "timestamp_unixtime_ms": 1_477_502_783_000,
                    "custom_attributes": {
                        "app_id": "app-ios-1",
                        "campaign_id": "c",
                        "card_id": "card-1",
                        "device_id": "0a1b2c3d-0000-4000-8000-000000000001",
                        "is_suspected_bot_click": True,
                        "source_request_id": "id-1",
                    },
                },
            }
        ],
    }


def test_addresses_are_identities_and_attributes_of_the_user() -> None:
    email = sample_event("users.messages.email.Open")
    email["properties"]["email_address"] = "somebody@example.com"
    assert batch_of(email)["user_identities"]["email"] == "somebody@example.com"
    sms = sample_event("users.messages.sms.Send")
    sms["properties"]["to_phone_number"] = "+15550100"
    assert batch_of(sms)["user_attributes"] == {"$mobile": "+15550100"}


def test_the_identity_key_is_a_setting() -> None:
    event = sample_event("users.messages.email.Open")
    assert "customer_id" in batch_of(event, identity_key="customer_id")["user_identities"]


def test_a_device_id_that_is_no_uuid_is_no_vendor_id() -> None:
    event = sample_event("users.messages.pushnotification.Open")
    event["user"]["device_id"] = "not-a-uuid"
    event["properties"]["platform"] = "ios"
    batch = batch_of(event)
    assert "ios_idfv" not in batch["device_info"]
    attributes = batch["events"][0]["data"]["custom_attributes"]
    assert attributes["device_id"] == "not-a-uuid"


def plain_event(number: int, user: str, length: int = 10) -> bytes:
    return json.dumps(
        {
            "event_type": "users.messages.email.Open",
            "id": f"id-{number}",
            "time": 1_477_502_783,
            "user": {"external_user_id": user},
            "properties": {f"a{part}": "x" * 4_000 for part in range(length // 4_000)},
        }
    ).encode()


def test_events_of_one_user_share_a_batch_which_then_has_no_request_id() -> None:
    batches = batches_of(pack(plain_event(1, "a"), plain_event(2, "b"), plain_event(3, "a")))
    assert [len(batch["events"]) for batch in batches] == [2, 1]
    assert "source_request_id" not in batches[0]
    assert batches[1]["source_request_id"] == "id-2"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 140_000)), min_size=1, max_size=130)
)
def test_no_batch_or_request_is_over_the_limits_and_no_event_is_lost(
    drawn: list[tuple[str, int]],
) -> None:
    events = [plain_event(number, user, size) for number, (user, size) in enumerate(drawn)]
    packed = pack(*events)
    for request in packed.requests:
        assert len(request.body) <= 256_000
        assert len(request.events) <= 100
        for batch in json.loads(request.body):
            assert len(msgspec.json.encode(batch)) <= 128_000
    sent = [event for request in packed.requests for event in request.events]
    assert sorted([*sent, *(refusal.event for refusal in packed.unpackable)]) == sorted(events)


def test_a_value_of_4096_characters_fits_and_no_longer_one() -> None:
    event = sample_event("users.messages.email.Open")
    event["properties"]["message_extras"] = "é" * 4_096
    assert batch_of(event)
    event["properties"]["message_extras"] += "é"
    (refusal,) = pack(json.dumps(event, ensure_ascii=False).encode()).unpackable
    assert (refusal.reason, "message_extras" in refusal.detail) == ("unencodable", True)


def test_an_app_that_names_a_feed_which_is_not_there_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"app_feeds.*'web'"):
        sink_with(feeds={"ios": EXAMPLE["feeds"]["ios"]}, app_feeds={"app": "web"})
