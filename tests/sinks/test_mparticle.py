import json
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.partners.mparticle import MParticleSite
from sandbox.partners.site import Arrival, Judgement, Refusal
from sandbox.samples import sample_event, sample_events
from schemas.catalogue import canonical_event_type, event_types
from schemas.connector import decode_hook
from schemas.event import decode_event
from sinks.mparticle import MParticleConnector, MParticleSink
from sinks.sink import Answer, Filtered, HttpRequest, Packed, Verdict

FEEDS = ("ios", "android", "web", "unbound")
EXAMPLE: dict[str, Any] = {
    "name": "mobile",
    "kind": "mparticle",
    "pod": "us1",
    "environment": "development",
    "identity_key": "customerid",
    "app_feeds": {"app-ios-9": "ios", "app-web-9": "web"},
    "platform_feeds": {"kindle": "android"},
    "feeds": {feed: {"key": f"env:{feed}_KEY", "secret": f"env:{feed}_SECRET"} for feed in FEEDS},
}
SECRETS = {
    f"env:{feed}_{what}": f"{feed}-{what}-q7" for feed in FEEDS for what in ("KEY", "SECRET")
}
HOUR = "2026-01-31-23"

CAMPAIGN = ["campaign_id"]
CANVAS = ["canvas_step_id", "canvas_id", "canvas_variation_id"]
MESSAGE = [*CAMPAIGN, *CANVAS]
CARD = ["app_id", "card_id", *MESSAGE]
SMS = [*MESSAGE, "campaign_name", "message_variation_id", "canvas_step_name", "canvas_name"]
SMS += ["canvas_variation_name", "to_phone_number"]
SMS_FAILURE = [*SMS, "from_phone_number", "error", "provider_error_code"]

# The rows of the founding document: event type, mParticle's name of it, the properties it lists.
OF_PLATFORMS = [
    ("users.messages.pushnotification.Send", "Push Notification Sends", ["app_id", *MESSAGE]),
    ("users.messages.pushnotification.Open", "Push Notification Opens", ["app_id", *MESSAGE]),
    ("users.messages.pushnotification.Bounce", "Push Notification Bounces", ["app_id", *MESSAGE]),
    ("users.messages.inappmessage.Impression", "In-App Message Impressions", ["app_id", *MESSAGE]),
    (
        "users.messages.inappmessage.Click",
        "In-App Message Clicks",
        ["button_id", "app_id", *MESSAGE],
    ),
    ("users.messages.contentcard.Send", "Content Card Sends", CARD),
    ("users.messages.contentcard.Impression", "Content Card Impressions", CARD),
    ("users.messages.contentcard.Click", "Content Card Clicks", CARD),
    ("users.messages.contentcard.Dismiss", "Content Card Dismisses", CARD),
    ("users.behaviors.app.NewsFeedImpression", "News Feed Views", CARD),
    ("users.messages.newsfeedcard.Impression", "News Feed Card Views", CARD),
    ("users.messages.newsfeedcard.Click", "News Feed Card Clicks", CARD),
    # An event type of mParticle's own, which has no name.
    ("users.behaviors.Uninstall", None, ["app_id"]),
]
UNBOUND = [
    ("users.messages.email.Send", "Email Sends", MESSAGE),
    ("users.messages.email.Delivery", "Email Deliveries", MESSAGE),
    ("users.messages.email.Open", "Email Opens", MESSAGE),
    ("users.messages.email.Click", "Email Clicks", MESSAGE),
    ("users.messages.email.Bounce", "Email Bounces", MESSAGE),
    ("users.messages.email.MarkAsSpam", "Email Marks As Spam", MESSAGE),
    ("users.messages.email.Unsubscribe", "Email Unsubscribes", MESSAGE),
    ("users.messages.sms.Send", "SMS Sends", SMS),
    ("users.messages.sms.CarrierSend", "SMS Carrier Sends", [*SMS, "from_phone_number"]),
    ("users.messages.sms.Delivery", "SMS Deliveries", [*SMS, "from_phone_number"]),
    ("users.messages.sms.DeliveryFailure", "SMS Delivery Failures", SMS_FAILURE),
    ("users.messages.sms.Rejection", "SMS Rejections", SMS_FAILURE),
    (
        "users.messages.sms.InboundReceive",
        "SMS Inbound Received",
        ["inbound_phone_number", "action", "message_body"],
    ),
    (
        "users.behaviors.subscriptiongroup.StateChange",
        "Subscription Group State Changes",
        MESSAGE,
    ),
    ("users.messages.webhook.Send", "Webhook Sends", MESSAGE),
    ("users.campaigns.Conversion", "Campaign Conversions", CAMPAIGN),
    ("users.campaigns.EnrollInControl", "Campaign Control Group Enrollments", CAMPAIGN),
    ("users.canvas.Conversion", "Canvas Conversions", CANVAS),
    (
        "users.canvas.Entry",
        "Canvas Entries",
        ["in_control_group", "canvas_id", "canvas_variation_id"],
    ),
]
NOT_EXPORTED = "users.messages.pushnotification.IosForeground"
NAMELESS = [
    "users.campaigns.Abort",
    "users.canvas.Abort",
    "users.messages.newsfeedcard.Abort",
    "users.behaviors.CustomEvent",
    "users.messages.survey.Response",
]
PUSH = "users.messages.pushnotification.Open"
EMAIL = "users.messages.email.Open"
SMS_SEND = "users.messages.sms.Send"
UUID = "0b1f6c3a-52d4-4e0b-9c0e-3d1a5b7c9e11"


def sink_of(**changes: Any) -> MParticleSink:
    settings = {**EXAMPLE, **changes}
    return MParticleSink(msgspec.convert(settings, MParticleConnector, dec_hook=decode_hook))


def line(event: dict[str, Any]) -> bytes:
    return msgspec.json.encode(event)


def pack(*events: dict[str, Any] | bytes, feed: str = "unbound", **changes: Any) -> Packed:
    lines = [event if isinstance(event, bytes) else line(event) for event in events]
    return sink_of(**changes).pack(lines, feed, SECRETS)


def requests_of(packed: Packed) -> list[HttpRequest]:
    return [request for request in packed.requests if isinstance(request, HttpRequest)]


def batch_of(event: dict[str, Any] | bytes, **changes: Any) -> dict[str, Any]:
    """The only batch of the only request."""
    packed = pack(event, **changes)
    assert not packed.unpackable
    (request,) = requests_of(packed)
    (batch,) = json.loads(request.body)
    return batch


def attributes_of(event: dict[str, Any] | bytes, **changes: Any) -> dict[str, Any]:
    (found,) = batch_of(event, **changes)["events"]
    return found["data"]["custom_attributes"]


def place(event: dict[str, Any], **changes: Any) -> str | Filtered:
    header, _ = decode_event(line(event), 900_000)
    return sink_of(**changes).place(header, canonical_event_type(event["event_type"]), HOUR)


def arrival_of(request: HttpRequest) -> Arrival:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Arrival(request.method, urlsplit(request.url).path, {}, headers, request.body)


SITE = MParticleSite({feed: (f"{feed}-KEY-q7", f"{feed}-SECRET-q7") for feed in FEEDS})


def judged(request: HttpRequest) -> Judgement:
    """What mParticle's stand-in, which is written from its documentation alone, makes of it."""
    return SITE.examine(arrival_of(request))


def check_row(event_type: str, name: str | None, columns: list[str], feed: str) -> None:
    of_platform = {"card_id": "content_card_id"} if "contentcard" in event_type else {}
    listed = {of_platform.get(column, column): f"v-{column}" for column in columns}
    event = sample_event(event_type, properties=listed)
    sink = sink_of()
    assert sink.supports(canonical_event_type(event_type))
    (request,) = requests_of(sink.pack([line(event)], feed, SECRETS))
    assert SITE.feed(arrival_of(request)) == feed
    assert judged(request).accepted == [event["id"]]
    ((found,),) = [batch["events"] for batch in json.loads(request.body)]
    assert found["event_type"] == ("uninstall" if name is None else "custom_event")
    assert found["data"].get("event_name") == name
    attributes = found["data"]["custom_attributes"]
    assert {column: attributes.get(column) for column in columns} == {
        column: f"v-{column}" for column in columns
    }


# Names and feeds


@pytest.mark.parametrize(("event_type", "name", "columns"), OF_PLATFORMS)
@pytest.mark.parametrize(("app_id", "feed"), [("app-ios-9", "ios"), ("app-web-9", "web")])
def test_a_platforms_row_of_the_founding_document_goes_to_the_feed_of_its_app(
    event_type: str, name: str | None, columns: list[str], app_id: str, feed: str
) -> None:
    event = sample_event(event_type, properties={"app_id": app_id})
    assert place(event) == feed
    check_row(event_type, name, columns, feed)


@pytest.mark.parametrize(("event_type", "name", "columns"), UNBOUND)
def test_an_unbound_row_of_the_founding_document_goes_to_the_unbound_feed(
    event_type: str, name: str, columns: list[str]
) -> None:
    with_app = {"app_id": "app-ios-9", "platform": "ios"}
    assert place(sample_event(event_type, properties=with_app)) == "unbound"
    check_row(event_type, name, columns, "unbound")


@pytest.mark.parametrize(
    ("properties", "feed"),
    [
        ({"app_id": "app-ios-9", "platform": "web"}, "ios"),
        ({"app_id": "another", "platform": "ios"}, "ios"),
        ({"app_id": "another", "platform": "android"}, "android"),
        ({"app_id": None, "platform": "web"}, "web"),
        ({"app_id": "another", "platform": "kindle"}, "android"),
        ({"app_id": "another", "platform": "roku"}, "unbound"),
        ({"app_id": "another", "platform": "tvos"}, "unbound"),
        ({"app_id": "another", "platform": "toaster"}, "unbound"),
        ({"app_id": None, "platform": None}, "unbound"),
        ({"app_id": "", "platform": ""}, "unbound"),
    ],
)
def test_the_app_decides_then_the_platform_then_it_is_unbound(
    properties: dict[str, Any], feed: str
) -> None:
    assert place(sample_event(PUSH, properties=properties)) == feed


def test_kindle_has_no_feed_unless_one_is_set() -> None:
    event = sample_event(PUSH, properties={"app_id": "x", "platform": "kindle"})
    assert place(event, platform_feeds={}) == "unbound"


def test_a_platform_may_be_sent_to_another_feed() -> None:
    event = sample_event(PUSH, properties={"app_id": "x", "platform": "ios"})
    assert place(event, platform_feeds={"ios": "web"}) == "web"


def test_events_of_a_feed_without_credentials_are_filtered() -> None:
    only_ios = {"feeds": {"ios": EXAMPLE["feeds"]["ios"]}, "app_feeds": {}, "platform_feeds": {}}
    on_ios = sample_event(PUSH, properties={"app_id": "x", "platform": "ios"})
    on_web = sample_event(PUSH, properties={"app_id": "x", "platform": "web"})
    assert place(on_ios, **only_ios) == "ios"
    assert place(on_web, **only_ios) is Filtered.FEED_NOT_CONFIGURED
    assert place(sample_event(EMAIL), **only_ios) is Filtered.FEED_NOT_CONFIGURED


@pytest.mark.parametrize(
    ("part", "known"),
    [
        ("ios", True),
        ("ios/historical", True),
        ("web", False),
        ("web/historical", False),
        ("/historical", False),
        ("", False),
        (f"{PUSH}/{HOUR}", False),
    ],
)
def test_a_part_of_no_configured_feed_is_not_its_own(part: str, known: bool) -> None:
    only_ios = {"feeds": {"ios": EXAMPLE["feeds"]["ios"]}, "app_feeds": {}, "platform_feeds": {}}
    assert sink_of(**only_ios).has_part(part) is known


@pytest.mark.parametrize("event_type", NAMELESS)
def test_a_type_without_a_name_is_unsupported(event_type: str) -> None:
    assert not sink_of().supports(event_type)


@pytest.mark.parametrize("event_type", NAMELESS)
def test_a_type_without_a_name_goes_out_raw_where_that_is_set(event_type: str) -> None:
    assert sink_of(unnamed_events="raw").supports(event_type)
    event = sample_event(PUSH, properties={"app_id": "app-ios-9", "platform": "ios"})
    event["event_type"] = event_type
    feed = "unbound" if event_type in {"users.campaigns.Abort", "users.canvas.Abort"} else "ios"
    assert place(event, unnamed_events="raw") == feed
    (found,) = batch_of(event, unnamed_events="raw")["events"]
    assert found["data"]["event_name"] == event_type


@pytest.mark.parametrize("unnamed_events", ["skip", "raw"])
def test_a_type_that_the_platform_keeps_from_mparticle_is_unsupported(unnamed_events: str) -> None:
    assert not sink_of(unnamed_events=unnamed_events).supports(NOT_EXPORTED)


def test_a_type_that_lost_its_name_since_it_was_routed_is_unencodable() -> None:
    event = line({**sample_event(EMAIL), "event_type": "x.New"})
    (unpackable,) = pack(event).unpackable
    assert (unpackable.event, unpackable.reason) == (event, "unencodable")
    assert unpackable.detail == "event_type: mParticle has no name for it"


# Layout


def test_a_batch_is_laid_out_as_the_glossary_has_it() -> None:
    event = (
        b'{"event_type":"users.message.email.Click","id":"e-1","time":1700000000,'
        b'"user":{"user_id":"b-1","external_user_id":"x-1","device_id":"d-1","timezone":"UTC"},'
        b'"properties":{"email_address":"a@example.com","app_group_id":"g","esp":null,'
        b'"suspected_bot_click_reason":["fast"],"price":1.50,"big":12345678901234567890123}}'
    )
    (request,) = requests_of(pack(event))
    assert request.body == (
        b'[{"environment":"development",'
        b'"user_identities":{"customerid":"x-1","email":"a@example.com"},'
        b'"user_attributes":{},"device_info":{},'
        b'"events":[{"event_type":"custom_event","data":{"source_message_id":"e-1",'
        b'"timestamp_unixtime_ms":1700000000000,"custom_attributes":{"app_group_id":"g",'
        b'"price":1.50,"big":12345678901234567890123,"device_id":"d-1",'
        b'"source_request_id":"e-1"},'
        b'"event_name":"Email Clicks","custom_event_type":"other"}}],'
        b'"source_request_id":"e-1"}]'
    )


def test_an_uninstall_has_no_name_and_no_custom_type() -> None:
    (found,) = batch_of(sample_event("users.behaviors.Uninstall"))["events"]
    assert found["event_type"] == "uninstall"
    assert found["data"].keys() == {
        "source_message_id",
        "timestamp_unixtime_ms",
        "custom_attributes",
    }


def test_events_whose_user_differs_in_anything_are_batches_with_their_ids() -> None:
    events = [sample_event(EMAIL, seed=seed, user={"external_user_id": "x"}) for seed in range(5)]
    together = json.loads(requests_of(pack(*events))[0].body)
    assert together == [batch_of(event) for event in events]
    assert [batch["source_request_id"] for batch in together] == [event["id"] for event in events]


@given(
    st.lists(st.tuples(st.sampled_from([PUSH, EMAIL]), st.integers(0, 3), st.integers(0, 2))),
    st.integers(1, 5),
)
def test_a_batch_costs_as_many_units_of_the_rate_limit_as_it_makes_user_batches(
    kinds: list[tuple[str, int, int]], max_events: int
) -> None:
    events = [
        line(
            sample_event(
                event_type,
                seed=number,
                user={"external_user_id": f"user-{user}" if user else None},
                properties={"email_address": f"{email}@example.com", "platform": "ios"},
            )
        )
        for number, (event_type, user, email) in enumerate(kinds)
    ]
    sink = sink_of(max_events=max_events)
    bodies = [request.body for request in requests_of(sink.pack(events, "unbound", SECRETS))]
    assert sink.rate_units(events) == sum(len(json.loads(body)) for body in bodies)


def test_each_user_costs_one_unit_in_whatever_order_their_events_come() -> None:
    events = [line(email(number, user)) for number, user in enumerate("abcabcab")]
    assert sink_of().rate_units(events) == 3


def test_a_feed_refers_to_its_own_credentials_alone() -> None:
    sink = sink_of(endpoint="env:PROXY")
    assert list(sink.references("ios")) == ["env:ios_KEY", "env:ios_SECRET", "env:PROXY"]
    assert list(sink.references("gone")) == ["env:PROXY"]


def test_what_cannot_be_sent_costs_nothing() -> None:
    deep = b'{"event_type":"x","id":"1","time":1,"properties":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    assert sink_of().rate_units([b"no event", deep]) == 0
    assert sink_of().rate_units([b"no event", deep, line(email(1, "a"))]) == 1


def test_the_environment_and_the_identity_are_as_set() -> None:
    batch = batch_of(sample_event(EMAIL), environment="production", identity_key="customer_id")
    assert batch["environment"] == "production"
    assert "customer_id" in batch["user_identities"]
    assert "customerid" not in batch["user_identities"]


@pytest.mark.parametrize(
    ("event_type", "properties", "mobile", "left"),
    [
        (SMS_SEND, {"to_phone_number": "+1"}, "+1", {"to_phone_number": "+1"}),
        ("users.messages.whatsapp.Send", {"to_phone_number": "+1"}, "+1", {}),
        (EMAIL, {"user_phone_number": "+2"}, "+2", {}),
        (EMAIL, {"to_phone_number": "", "user_phone_number": "+2"}, "+2", {"to_phone_number": ""}),
    ],
)
def test_the_phone_number_of_the_user_is_a_user_attribute(
    event_type: str, properties: dict[str, Any], mobile: str, left: dict[str, Any]
) -> None:
    event = {**sample_event(event_type), "properties": properties}
    assert batch_of(event)["user_attributes"] == {"$mobile": mobile}
    assert attributes_of(event) == {
        **left,
        "device_id": event["user"]["device_id"],
        "source_request_id": event["id"],
    }


@pytest.mark.parametrize(
    ("platform", "theirs"),
    [
        ("ios", "iOS"),
        ("android", "Android"),
        ("web", "web"),
        ("tvos", "tvOS"),
        ("roku", "roku"),
        ("kindle", "Android"),
    ],
)
def test_platforms_are_spelled_as_mparticle_spells_them(platform: str, theirs: str) -> None:
    batch = batch_of(sample_event(PUSH, properties={"platform": platform}))
    assert batch["device_info"]["platform"] == theirs
    assert "platform" not in batch["events"][0]["data"]["custom_attributes"]


@pytest.mark.parametrize(
    ("ad_id_type", "ad_id", "name"),
    [
        ("ios_idfa", UUID, "ios_advertising_id"),
        ("google_ad_id", UUID, "android_advertising_id"),
        ("windows_ad_id", UUID, "microsoft_advertising_id"),
        ("roku_ad_id", UUID, "roku_advertising_id"),
        ("fax_id", UUID, None),
        ("ios_idfa", "no uuid", None),
    ],
)
def test_an_advertising_id_goes_where_its_type_says_or_stays_an_attribute(
    ad_id_type: str, ad_id: str, name: str | None
) -> None:
    properties = {"platform": "web", "ad_id": ad_id, "ad_id_type": ad_id_type}
    batch = batch_of({**sample_event(PUSH), "properties": properties})
    attributes = batch["events"][0]["data"]["custom_attributes"]
    assert batch["device_info"] == {"platform": "web", **({name: ad_id} if name else {})}
    assert attributes.get("ad_id") == (None if name else ad_id)
    assert attributes.get("ad_id_type") == (None if name else ad_id_type)


@pytest.mark.parametrize(("enabled", "limited"), [(True, False), (False, True)])
def test_limited_ad_tracking_is_the_opposite_of_enabled(enabled: bool, limited: bool) -> None:
    batch = batch_of(sample_event(PUSH, properties={"ad_tracking_enabled": enabled}))
    assert batch["device_info"]["limit_ad_tracking"] is limited


@pytest.mark.parametrize(
    ("platform", "device_id", "known"),
    [("ios", UUID, True), ("tvos", UUID, True), ("android", UUID, False), ("ios", "d-1", False)],
)
def test_only_an_apple_uuid_is_an_idfv_and_the_device_id_stays_an_attribute(
    platform: str, device_id: str, known: bool
) -> None:
    event = sample_event(PUSH, user={"device_id": device_id}, properties={"platform": platform})
    batch = batch_of(event)
    assert batch["device_info"].get("ios_idfv") == (device_id if known else None)
    assert batch["events"][0]["data"]["custom_attributes"]["device_id"] == device_id


@pytest.mark.parametrize(
    ("event_type", "field"),
    [
        (EMAIL, "os_version"),
        (EMAIL, "canvas_step_message_variation_id"),
        ("users.messages.sms.InboundReceive", "media_urls"),
        ("users.messages.sms.ShortLinkClick", "suspected_bot_click_reason"),
        ("users.campaigns.Conversion", "app_id"),
        ("users.campaigns.EnrollInControl", "app_id"),
        ("users.canvas.Conversion", "app_id"),
        ("users.canvas.experimentstep.Conversion", "app_id"),
        ("users.messages.inappmessage.Abort", "card_id"),
    ],
)
def test_fields_that_stand_in_no_tab_are_dropped(event_type: str, field: str) -> None:
    assert field not in attributes_of(sample_event(event_type, properties={field: "v"}))


def test_a_content_card_id_is_called_card_id() -> None:
    event = sample_event("users.messages.contentcard.Send", properties={"content_card_id": "c-1"})
    attributes = attributes_of(event)
    assert attributes["card_id"] == "c-1"
    assert "content_card_id" not in attributes


def test_nested_values_go_out_as_their_json_text() -> None:
    event = (
        b'{"event_type":"users.canvas.Entry","id":"e","time":1,"user":{"external_user_id":"x"},'
        b'"properties":{"custom_properties":{"a":[1.0,"\xc3\xa9"]},"list":[ ],"flag":true}}'
    )
    assert attributes_of(event) == {
        "custom_properties": '{"a":[1.0,"é"]}',
        "list": "[]",
        "flag": True,
        "source_request_id": "e",
    }


@pytest.mark.parametrize("external_user_id", [None, ""])
def test_an_event_without_a_user_is_unencodable(external_user_id: str | None) -> None:
    event = line(sample_event(EMAIL, user={"external_user_id": external_user_id}))
    (unpackable,) = pack(event).unpackable
    assert (unpackable.event, unpackable.reason) == (event, "unencodable")
    assert unpackable.detail == "user.external_user_id: mParticle takes no event without it"


# Addresses and credentials


@pytest.mark.parametrize("feed", FEEDS)
def test_each_feed_has_its_own_credentials(feed: str) -> None:
    (request,) = requests_of(pack(sample_event(EMAIL), feed=feed))
    assert (request.method, request.headers["Content-Type"]) == ("POST", "application/json")
    assert arrival_of(request).basic == (f"{feed}-KEY-q7", f"{feed}-SECRET-q7")


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({"pod": "us1"}, "https://s2s.us1.mparticle.com/v2/bulkevents"),
        ({"pod": "us2"}, "https://s2s.us2.mparticle.com/v2/bulkevents"),
        ({"pod": "eu1"}, "https://s2s.eu1.mparticle.com/v2/bulkevents"),
        ({"pod": "au1"}, "https://s2s.au1.mparticle.com/v2/bulkevents"),
        ({"endpoint": "http://127.0.0.1:9/prefix/"}, "http://127.0.0.1:9/prefix/v2/bulkevents"),
    ],
)
def test_the_address_is_that_of_the_pod_or_the_endpoint(changes: dict[str, Any], url: str) -> None:
    assert [request.url for request in requests_of(pack(sample_event(EMAIL), **changes))] == [url]
    assert sink_of(**changes).probe("unbound", SECRETS).url == url


def test_an_endpoint_may_be_a_secret() -> None:
    sink = sink_of(endpoint="env:PROXY")
    secrets = {**SECRETS, "env:PROXY": "https://proxy.example.com/k3y/"}
    (request,) = requests_of(sink.pack([line(sample_event(EMAIL))], "unbound", secrets))
    for url in (request.url, sink.probe("unbound", secrets).url):
        assert url == "https://proxy.example.com/k3y/v2/bulkevents"


def test_a_feed_taken_out_of_the_settings_suspends_its_lane_and_buries_nothing() -> None:
    packed = pack(sample_event(PUSH), feed="gone")
    assert not packed.unpackable
    (request,) = requests_of(packed)
    with pytest.raises(Refusal) as refusal:
        judged(request)
    assert sink_of().judge(Answer(refusal.value.status)) is Verdict.SUSPEND


def test_a_probe_is_an_array_of_nothing_which_tells_of_refused_credentials() -> None:
    request = sink_of().probe("ios", SECRETS)
    assert request.body == b"[]"
    assert judged(request).reply.status == 202
    rotated = sink_of().probe("ios", {**SECRETS, "env:ios_SECRET": "old"})
    with pytest.raises(Refusal) as refusal:
        judged(rotated)
    assert sink_of().judge(Answer(refusal.value.status)) is Verdict.SUSPEND


def test_two_connectors_must_not_share_their_keys() -> None:
    turned = dict(reversed(EXAMPLE["feeds"].items()))
    assert set(sink_of().settings.identities()) == set(sink_of(feeds=turned).settings.identities())
    fewer = {"unbound": EXAMPLE["feeds"]["unbound"]}
    another = sink_of(feeds=fewer, app_feeds={}, platform_feeds={})
    assert set(another.settings.identities()) < set(sink_of().settings.identities())


@pytest.mark.parametrize("setting", ["app_feeds", "platform_feeds"])
def test_a_feed_that_is_not_configured_cannot_be_named(setting: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        sink_of(**{setting: {"kindle": "andriod"}})
    for said in (setting, "kindle", "andriod", "ios, android, web, unbound"):
        assert said in str(refused.value)


@pytest.mark.parametrize("feeds", [{}, {"I OS": EXAMPLE["feeds"]["ios"]}])
def test_feeds_are_some_and_their_names_are_plain(feeds: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        sink_of(feeds=feeds, app_feeds={}, platform_feeds={})


# Grouping by user


def email(number: int, user: str, **properties: Any) -> dict[str, Any]:
    return {
        "event_type": EMAIL,
        "id": f"e-{number}",
        "time": 1_700_000_000,
        "user": {"external_user_id": user},
        "properties": properties,
    }


def ids_by_batch(packed: Packed) -> list[list[str]]:
    return [
        [event["data"]["source_message_id"] for event in batch["events"]]
        for request in requests_of(packed)
        for batch in json.loads(request.body)
    ]


def test_events_of_one_user_share_a_batch() -> None:
    packed = pack(email(0, "a"), email(1, "b"), email(2, "a"))
    assert ids_by_batch(packed) == [["e-0", "e-2"], ["e-1"]]
    (request,) = requests_of(packed)
    assert [json.loads(event)["id"] for event in request.events] == ["e-0", "e-2", "e-1"]
    assert judged(request).accepted == ["e-0", "e-2", "e-1"]


def test_a_request_accounts_for_every_event_in_its_body_in_whichever_batch() -> None:
    """What it does not account for would not be held when the partner refuses it."""
    (request,) = requests_of(pack(*[email(number, user) for number, user in enumerate("abcbdaca")]))
    sent = [found for batch in ids_by_batch(Packed([request], [])) for found in batch]
    assert [json.loads(event)["id"] for event in request.events] == sent
    assert sorted(sent) == [f"e-{number}" for number in range(8)]


def test_a_users_events_stay_in_order_when_the_users_attributes_change_and_change_back() -> None:
    phones = ["+15550100", "+15550101", "+15550100"]
    events = [email(n, "a", to_phone_number=phone) for n, phone in enumerate(phones)]
    assert ids_by_batch(pack(*events)) == [["e-0"], ["e-1"], ["e-2"]]


def test_a_batch_of_several_has_a_request_id_that_only_the_same_events_give_again() -> None:
    def request_id(*numbers: int) -> str:
        (request,) = requests_of(pack(*[email(number, "a") for number in numbers]))
        return str(json.loads(request.body)[0]["source_request_id"])

    assert request_id(1, 2) == request_id(1, 2)
    assert request_id(1, 2) != request_id(1, 3)
    assert request_id(1) == "e-1"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(500, 120_000)), max_size=130))
def test_no_batch_and_no_request_is_over_its_limits(drawn: list[tuple[str, int]]) -> None:
    def filled(number: int, user: str, size: int) -> dict[str, Any]:
        return email(number, user, **{f"a{n}": "x" * 4_000 for n in range(size // 4_000)})

    events = [filled(number, user, size) for number, (user, size) in enumerate(drawn)]
    packed = pack(*events)
    for request in requests_of(packed):
        assert len(request.body) <= 256_000
        assert len(request.events) <= 100
        assert all(len(line(batch)) <= 128_000 for batch in json.loads(request.body))
    sent = [event for batch in ids_by_batch(packed) for event in batch]
    assert sorted(sent) == sorted(event["id"] for event in events)


# Limits


def sized(batch_bytes: int, user: str = "u-0") -> bytes:
    """An event of a user whose batch has this size, of attributes that are not too long."""
    fillers = [f"filler_{number}" for number in range(40)]
    event = sample_event(EMAIL, user={"external_user_id": user})
    event["properties"] = dict.fromkeys(fillers, "")
    room = batch_bytes - (len(requests_of(pack(event))[0].body) - 2)
    share, rest = divmod(room, 40)
    sizes = [share + (place < rest) for place in range(40)]
    values = {name: "x" * size for name, size in zip(fillers, sizes, strict=True)}
    return line({**event, "properties": values})


@given(st.sampled_from([-1, 0, 1]))
def test_a_batch_of_128_000_bytes_goes_out_and_a_larger_one_is_too_large(beyond: int) -> None:
    event = sized(128_000 + beyond)
    packed = pack(event)
    if beyond <= 0:
        (request,) = requests_of(packed)
        assert len(request.body) == 128_000 + beyond + 2
        assert judged(request).accepted
    else:
        (unpackable,) = packed.unpackable
        assert (unpackable.event, unpackable.reason) == (event, "too_large")
        assert "128001" in unpackable.detail
        assert "128000" in unpackable.detail


@given(st.integers(2_000, 60_000), st.integers(1, 4), st.sampled_from([-1, 0, 1]))
def test_a_request_is_filled_to_its_last_byte_and_not_beyond(
    batch_bytes: int, count: int, beyond: int
) -> None:
    whole = 2 + count * batch_bytes + count - 1
    events = [sized(batch_bytes, f"u-{user}") for user in range(count)]
    packed = pack(*events, max_request_bytes=whole - beyond)
    requests = requests_of(packed)
    if beyond <= 0:
        assert [len(request.body) for request in requests] == [whole]
    elif count == 1:
        assert [u.reason for u in packed.unpackable] == ["too_large"]
    else:
        assert [len(request.events) for request in requests] == [count - 1, 1]


@pytest.mark.parametrize(("bytes_each", "requests"), [(127_998, 1), (127_999, 2)])
def test_a_request_holds_256_000_bytes(bytes_each: int, requests: int) -> None:
    packed = requests_of(pack(sized(bytes_each, "u-1"), sized(127_999, "u-2")))
    assert len(packed) == requests
    assert all(judged(request).accepted for request in packed)


@pytest.mark.parametrize(("count", "requests"), [(99, 1), (100, 1), (101, 2)])
def test_a_request_holds_100_events(count: int, requests: int) -> None:
    packed = requests_of(pack(*[sample_event(EMAIL)] * count))
    assert len(packed) == requests
    assert sum(len(judged(request).accepted) for request in packed) == count


@pytest.mark.parametrize("count", [97, 98, 99])
def test_an_event_of_more_than_100_attributes_is_unencodable(count: int) -> None:
    # Two attributes are added: the device's id and the event's.
    event = {**sample_event(EMAIL), "properties": {f"p{number}": number for number in range(count)}}
    packed = pack(event)
    if count <= 98:
        (request,) = requests_of(packed)
        assert judged(request).accepted
    else:
        (unpackable,) = packed.unpackable
        assert unpackable.reason == "unencodable"
        assert "101" in unpackable.detail


@given(st.sampled_from([4_095, 4_096, 4_097, 9_000]), st.sampled_from(["x", "é", '"', "😀", "\n"]))
def test_a_value_of_over_4_096_characters_is_cut_and_shows_it(length: int, character: str) -> None:
    text = character * length
    event = {**sample_event(EMAIL), "properties": {"log": text}}
    (request,) = requests_of(pack(event))
    found = json.loads(request.body)[0]["events"][0]["data"]["custom_attributes"]["log"]
    units = len(found.encode("utf-16-le")) // 2
    if len(text.encode("utf-16-le")) // 2 <= 4_096:
        assert found == text
    else:
        assert units in {4_095, 4_096}  # of a pair of surrogates, no half
        assert found.endswith("…")
        assert text.startswith(found[:-1])
    assert judged(request).accepted


def test_a_long_nested_value_is_cut_too() -> None:
    found = attributes_of({**sample_event(EMAIL), "properties": {"deep": {"a": "x" * 5_000}}})
    assert found["deep"].startswith('{"a":"xxx')
    assert len(found["deep"]) == 4_096


def test_the_stand_in_takes_every_sample_of_a_type_with_a_name() -> None:
    named = [known.name for known in event_types().values() if known.name_at("mparticle")]
    events = list(sample_events(3_000, seed=5, event_types=named, anonymous_share=0))
    packed = pack(*events)
    assert not packed.unpackable
    accepted = [found for request in requests_of(packed) for found in judged(request).accepted]
    assert sorted(accepted) == sorted(json.loads(event)["id"] for event in events)


def test_a_removed_address_or_number_identifies_nobody() -> None:
    event = sample_event("users.messages.sms.Send")
    event["properties"] |= {"email_address": "a@example.com", "to_phone_number": "+15550100"}
    batch = batch_of(event, redact={"remove": ["email_address", "to_phone_number"]})
    assert batch["user_identities"] == {"customerid": event["user"]["external_user_id"]}
    assert batch["user_attributes"] == {}
    attributes = batch["events"][0]["data"]["custom_attributes"]
    assert attributes["email_address"] == attributes["to_phone_number"] == "[REDACTED]"


@pytest.mark.parametrize("platform", ["Android", "fire_tv"])
def test_kindle_is_the_platform_that_is_set(platform: str) -> None:
    event = sample_event(PUSH, properties={"platform": "kindle"})
    assert batch_of(event, kindle=platform)["device_info"]["platform"] == platform


@pytest.mark.parametrize(
    ("setting", "limited"), [("inverse", False), ("same", True), ("omit", None)]
)
def test_ad_tracking_is_told_as_is_set(setting: str, limited: bool | None) -> None:
    event = sample_event(PUSH, properties={"ad_tracking_enabled": True})
    batch = batch_of(event, limit_ad_tracking=setting)
    assert batch["device_info"].get("limit_ad_tracking") is limited
    assert "ad_tracking_enabled" not in batch["events"][0]["data"]["custom_attributes"]


@pytest.mark.parametrize(
    ("setting", "sent"), [("cut", "x" * 4_095 + "…"), ("keep", "x" * 5_000), ("drop", None)]
)
def test_a_long_value_becomes_what_is_set(setting: str, sent: str | None) -> None:
    event = sample_event(EMAIL, properties={"url": "x" * 5_000, "link_id": "y" * 4_096})
    attributes = attributes_of(event, long_values=setting)
    assert attributes.get("url") == sent
    assert attributes["link_id"] == "y" * 4_096


def test_attributes_are_text_where_that_is_set() -> None:
    properties = {"a": 1.5, "b": True, "c": "t", "d": None, "e": [1]}
    event = sample_event(EMAIL, properties=properties)
    attributes = attributes_of(event, attribute_values="text")
    found = {name: attributes.get(name) for name in properties}
    assert found == {"a": "1.5", "b": "true", "c": "t", "d": None, "e": "[1]"}
    assert all(isinstance(value, str) for value in attributes.values())


HOUR = "2026-01-31-23"
HOUR_SECONDS = 1_769_900_400


@pytest.mark.parametrize(
    ("age_hours", "part"), [(0, "unbound"), (71.99, "unbound"), (72, "unbound/historical")]
)
def test_old_events_of_a_backfill_go_to_a_path_of_their_own(age_hours: float, part: str) -> None:
    sink = sink_of(historical=True)
    event = line(sample_event(EMAIL, time=HOUR_SECONDS - round(age_hours * 3_600)))
    header, _ = decode_event(event, 900_000)
    assert sink.place(header, EMAIL, HOUR) == part
    assert sink_of().place(header, EMAIL, HOUR) == "unbound"
    assert sink.hold_part(part) == "unbound"
    (request,) = requests_of(sink.pack([event], part, SECRETS))
    assert urlsplit(request.url).path == "/v2/bulkevents" + part.removeprefix("unbound")
    probe = sink.probe(part, SECRETS)
    assert (probe.url, probe.headers) == (request.url, request.headers)
    assert sink.references(part) == sink.references("unbound")


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (3, None),
        (3 + 1 / 86_400, "72 hours"),
        (30, "72 hours"),
        (30 + 1 / 86_400, "30 days"),
    ],
)
def test_what_is_old_is_advised_against_but_in_a_backfill(days: float, said: str | None) -> None:
    advice = sink_of().age_advice(days * 86_400)
    assert (said in advice) if said and advice else advice is said
    assert sink_of(historical=True).age_advice(days * 86_400) is None
    assert sink_of(historical=True).rate_parts == 2 * sink_of().rate_parts


HEX = UUID.replace("-", "")


@pytest.mark.parametrize(
    ("ad_id_type", "ad_id", "name"),
    [
        ("windows_ad_id", HEX, "microsoft_advertising_id"),
        ("windows_ad_id", UUID, "microsoft_advertising_id"),
        ("ios_idfa", UUID, "ios_advertising_id"),
        ("ios_idfa", HEX, None),
        ("another", UUID, None),
    ],
)
def test_an_advertising_id_goes_by_its_type(ad_id_type: str, ad_id: str, name: str | None) -> None:
    event = sample_event(PUSH, properties={"ad_id": ad_id, "ad_id_type": ad_id_type})
    batch = batch_of(event)
    attributes = batch["events"][0]["data"]["custom_attributes"]
    found = {key: value for key, value in batch["device_info"].items() if "advertising" in key}
    assert found == ({name: ad_id} if name else {})
    assert {"ad_id", "ad_id_type"} <= attributes.keys() or name is not None
    assert not (name and {"ad_id", "ad_id_type"} & attributes.keys())


@pytest.mark.parametrize("value", [["ios_idfa"], {"ios_idfa": 1}, 7, True, None])
def test_a_type_of_advertising_id_that_is_no_text_stays_an_attribute(value: Any) -> None:
    event = sample_event(PUSH)
    event["properties"] = {"ad_id": UUID, "ad_id_type": value}
    batch = batch_of(event)
    assert batch["device_info"] == {}
    attributes = batch["events"][0]["data"]["custom_attributes"]
    assert attributes["ad_id"] == UUID
    assert ("ad_id_type" in attributes) is (value is not None)


def test_the_number_of_a_subscription_is_no_attribute() -> None:
    event = sample_event("users.behaviors.subscriptiongroup.StateChange")
    event["properties"]["phone_number"] = "+1"
    assert "phone_number" not in attributes_of(event)
