"""The partners of a local run, and the connectors file that leads to them: one of every kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.partners import (
    MParticleSite,
    PartnerSandbox,
    PostbackSite,
    RudderStackSite,
    SegmentSite,
    TreasureDataSite,
)
from sandbox.partners.site import Site

SECRETS = {
    "CRM_TOKEN": "crm-token",
    "SEGMENT_WRITE_KEY": "segment-write-key",
    "MP_IOS_KEY": "ios-key",
    "MP_IOS_SECRET": "ios-secret",
    "MP_ANDROID_KEY": "android-key",
    "MP_ANDROID_SECRET": "android-secret",
    "MP_WEB_KEY": "web-key",
    "MP_WEB_SECRET": "web-secret",
    "MP_UNBOUND_KEY": "unbound-key",
    "MP_UNBOUND_SECRET": "unbound-secret",
}
FEEDS = ("ios", "android", "web", "unbound")

AT_ONCE = {"batch_window": "2 s"}
"""Settings of every connector where the run is to end soon."""
FAST = {"rate_limit": 100_000}
"""In place of mParticle's 270 user batches a second, for which a run of 20,000 events would have to wait."""
TO_WATCH = {"batch_window": "1 s"}
"""Where somebody watches."""
TO_WATCH_OVER_HTTP = {"timeout": "3 s"}
"""A partner that hangs is noticed in seconds."""
TO_WATCH_REQUESTS = {"max_events": 50, "rate_limit": 10}
"""What is held leaves at some 250 events a second, so that it can be seen to leave."""


def local_sites() -> dict[str, Site]:
    """A stand-in of each HTTP partner, by the name of its connector."""
    return {
        "crm-hook": PostbackSite(token=SECRETS["CRM_TOKEN"]),
        "warehouse": RudderStackSite(write_key="rudder-write-key"),
        "cdp": TreasureDataSite(write_key="1/td-key"),
        "analytics": SegmentSite(write_key=SECRETS["SEGMENT_WRITE_KEY"]),
        "mobile": MParticleSite(
            feeds={
                feed: (SECRETS[f"MP_{feed.upper()}_KEY"], SECRETS[f"MP_{feed.upper()}_SECRET"])
                for feed in FEEDS
            }
        ),
    }


def secrets_for(partners: PartnerSandbox) -> dict[str, str]:
    """The environment variables that the connectors file names."""
    return {
        **SECRETS,
        "RUDDERSTACK_WEBHOOK_URL": partners.url("warehouse")
        + "/v1/webhook?writeKey=rudder-write-key",
        "TREASURE_DATA_URL": partners.url("cdp")
        + "/postback/v3/event/currents/events?td_write_key=1%2Ftd-key",
    }


def local_connectors(
    folder: Path, partners: PartnerSandbox, *, to_watch: bool
) -> list[dict[str, Any]]:
    """One connector of every kind; `crm-hook` is of the app group brand-a only."""
    connectors: list[dict[str, Any]] = [
        {
            "name": "crm-hook",
            "kind": "postback",
            "app_group_ids": ["brand-a"],
            "url": partners.url("crm-hook") + "/currents?app_group=Brand%20A",
            "token": "env:CRM_TOKEN",
        },
        {"name": "warehouse", "kind": "rudderstack", "url": "env:RUDDERSTACK_WEBHOOK_URL"},
        {"name": "cdp", "kind": "treasure_data", "url": "env:TREASURE_DATA_URL"},
        {
            "name": "analytics",
            "kind": "segment",
            "write_key": "env:SEGMENT_WRITE_KEY",
            "endpoint": partners.url("analytics"),
        },
        {
            "name": "mobile",
            "kind": "mparticle",
            "feeds": {
                feed: {
                    "key": f"env:MP_{feed.upper()}_KEY",
                    "secret": f"env:MP_{feed.upper()}_SECRET",
                }
                for feed in FEEDS
            },
            "endpoint": partners.url("mobile"),
        },
        {"name": "lake", "kind": "avro_files", "path": str(folder / "lake")},
    ]
    return [{**connector, **_pace(connector, to_watch)} for connector in connectors]


def _pace(connector: Mapping[str, Any], to_watch: bool) -> Mapping[str, Any]:
    if not to_watch:
        return {**AT_ONCE, **FAST} if connector["kind"] == "mparticle" else AT_ONCE
    if connector["kind"] == "avro_files":
        return TO_WATCH
    # mParticle's limit counts users, of which a request has many; the default is slow enough.
    requests = {} if connector["kind"] == "mparticle" else TO_WATCH_REQUESTS
    return {**TO_WATCH, **TO_WATCH_OVER_HTTP, **requests}
