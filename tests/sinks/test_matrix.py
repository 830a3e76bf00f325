"""Every event type at every kind, against what the partners' pages say of each."""

from collections.abc import Mapping

import pytest

from sandbox.partners import PostbackSite, SegmentSite
from tests.matrix import KINDS, SITES, Row, UnnamedEvents, defects, fill, render

# The types of the platform's catalogue, v10, and those that were retired before.
AGENTS = ["AgentExecuted", "ToolInvocation"]
BEHAVIORS = """
    CustomEvent InstallAttribution Location Purchase Uninstall app.FirstSession app.SessionEnd
    app.SessionStart liveactivity.PushToStartTokenChange liveactivity.UpdateTokenChange
    pushnotification.TokenStateChange subscription.GlobalStateChange
    subscriptiongroup.StateChange
"""
CAMPAIGNS = "Conversion EnrollInControl"
CANVAS = """
    Conversion Entry costep.Send exit.MatchedAudience exit.PerformedEvent
    experimentstep.Conversion experimentstep.SplitEntry
"""
MESSAGES = {
    "banner": "Abort Click Dismiss Impression",
    "contentcard": "Abort Click Dismiss Impression Send",
    "email": "Abort Bounce Click Deferral Delivery MarkAsSpam Open Retry Send SoftBounce Unsubscribe",
    "featureflag": "Impression",
    "inappmessage": "Abort Click Impression",
    "line": "Abort Click InboundReceive Retry Send",
    "liveactivity": "Outcome Send",
    "pushnotification": "Abort Bounce IosForeground Open Retry Send",
    "rcs": "Abort Click Delivery InboundReceive Read Rejection Send",
    "sms": """
        Abort CarrierSend Delivery DeliveryFailure InboundReceive Rejection Retry Send ShortLinkClick
    """,
    "webhook": "Abort Failure Retry Send",
    "whatsapp": "Abort Click Delivery Failure InboundReceive Read Retry Send",
}
CURRENT = {
    *(f"agentconsole.{name}" for name in AGENTS),
    *(f"users.behaviors.{name}" for name in BEHAVIORS.split()),
    *(f"users.campaigns.{name}" for name in CAMPAIGNS.split()),
    *(f"users.canvas.{name}" for name in CANVAS.split()),
    "users.canvasstep.Progression",
    *(
        f"users.messages.{kind}.{name}"
        for kind, names in MESSAGES.items()
        for name in names.split()
    ),
    *("users.RandomBucketNumberUpdate", "users.UserDeleteRequest", "users.UserOrphan"),
    "users.profile.Update",
}
NEWSFEED = ["users.behaviors.app.NewsFeedImpression"]
NEWSFEED += ["users.messages.newsfeedcard.Click", "users.messages.newsfeedcard.Impression"]
NAMED_BY_RULE = ["users.campaigns.Abort", "users.canvas.Abort", "users.messages.newsfeedcard.Abort"]
RETIRED = {*NEWSFEED, *NAMED_BY_RULE}
UNHEARD_OF = "users.messages.survey.Response"

# Types whose users no event of them names ("Events' glossary").
WITHOUT_EXTERNAL_USER_ID = {"agentconsole.ToolInvocation", "users.UserDeleteRequest"}
TAKE_ANYBODY = {"postback", "avro_files"}

# Types for which neither Segment's nor mParticle's pages, nor the glossary's tabs, have a name.
NAMELESS = {
    *(f"agentconsole.{name}" for name in AGENTS),
    *("users.RandomBucketNumberUpdate", "users.UserDeleteRequest", "users.UserOrphan"),
    "users.profile.Update",
    *("users.behaviors.CustomEvent", "users.behaviors.Purchase", "users.behaviors.Location"),
    "users.behaviors.InstallAttribution",
    *(f"users.behaviors.app.{name}" for name in ("FirstSession", "SessionEnd", "SessionStart")),
    "users.behaviors.liveactivity.PushToStartTokenChange",
    "users.behaviors.liveactivity.UpdateTokenChange",
    "users.behaviors.pushnotification.TokenStateChange",
    "users.canvas.costep.Send",
    "users.messages.banner.Dismiss",
    "users.messages.featureflag.Impression",
    "users.messages.liveactivity.Send",
    "users.messages.webhook.Failure",
    "users.messages.email.Deferral",
    *(
        f"users.messages.{kind}.Retry"
        for kind in ("email", "line", "pushnotification", "sms", "webhook", "whatsapp")
    ),
    *(f"users.messages.line.{name}" for name in ("Abort", "Click", "InboundReceive", "Send")),
    *(f"users.messages.rcs.{name}" for name in ("Abort", "Click", "Delivery", "InboundReceive")),
    *("users.messages.rcs.Rejection", "users.messages.rcs.Send"),
    UNHEARD_OF,
}
UNSUPPORTED = {
    "segment": NAMELESS,
    # Names by rule are Segment's alone (founding documents).
    "mparticle": NAMELESS.union(NAMED_BY_RULE),
}
# The platform has no tab of it for mParticle.
NOT_EXPORTED = {("mparticle", "users.messages.pushnotification.IosForeground")}


@pytest.fixture(scope="module")
def matrices() -> Mapping[UnnamedEvents, Mapping[str, Row]]:
    return {"skip": fill("skip"), "raw": fill("raw")}


def expected(event_type: str, kind: str, unnamed_events: UnnamedEvents) -> str:
    if event_type in WITHOUT_EXTERNAL_USER_ID and kind not in TAKE_ANYBODY:
        return "no_external_user_id"
    if (kind, event_type) in NOT_EXPORTED:
        return "unsupported"
    if unnamed_events == "skip" and event_type in UNSUPPORTED.get(kind, ()):
        return "unsupported"
    return "accepted"


def test_the_lists_of_this_test_hold_all_types() -> None:
    assert len(CURRENT) == 94
    assert len(RETIRED) == 6
    assert NAMELESS - {UNHEARD_OF} < CURRENT
    assert len(NAMELESS - {UNHEARD_OF}) == 38


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unnamed_events", ["skip", "raw"])
def test_every_type_is_accepted_or_filtered_for_the_documented_reason(
    kind: str,
    unnamed_events: UnnamedEvents,
    matrices: Mapping[UnnamedEvents, Mapping[str, Row]],
) -> None:
    cells = {event_type: row[kind] for event_type, row in matrices[unnamed_events].items()}
    wanted = CURRENT | RETIRED | {UNHEARD_OF}
    assert cells == {
        event_type: expected(event_type, kind, unnamed_events) for event_type in wanted
    }


def test_the_matrix_prints_every_cell_and_the_sums(
    matrices: Mapping[UnnamedEvents, Mapping[str, Row]],
) -> None:
    head, *lines = render(matrices["skip"])
    assert head.split() == list(KINDS)
    rows = {line.split()[0]: line.split()[1:] for line in lines[: lines.index("")]}
    assert rows == {name: [row[k] for k in KINDS] for name, row in matrices["skip"].items()}
    assert "segment: 62 accepted, 2 no_external_user_id, 37 unsupported" in lines
    assert defects(matrices["skip"]) == []


def test_what_a_partner_refuses_or_drops_is_a_defect() -> None:
    others = {
        "postback": PostbackSite(token="another"),
        "segment": SegmentSite(write_key="another"),
    }
    found = defects(fill("skip", {**SITES, **others}))
    refused = "refused: 401 the bearer token is missing or wrong"
    assert f"users.canvas.Entry at postback: {refused}" in found
    assert "users.canvas.Entry at segment: dropped, though answered 200" in found
    assert len(found) == 101 + 62
