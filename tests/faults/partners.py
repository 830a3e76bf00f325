"""A connector and a stand-in of each HTTP kind, with credentials and events that no other has."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

from sandbox.partners import (
    MParticleSite,
    PostbackSite,
    RudderStackSite,
    SegmentSite,
    TreasureDataSite,
)
from sandbox.partners.site import Site
from sandbox.samples import sample_events
from tests.faults.cases import Case
from tests.pipeline.running import ids_of

KINDS = ("postback", "rudderstack", "treasure_data", "segment", "mparticle")
EVENTS = 30
EVENTS_A_REQUEST = 5
REQUESTS_AT_ONCE = 2
_EVENT_TYPE = "users.messages.email.Open"
"""Each partner has a name for it; at mParticle it goes to the feed `unbound`."""
_PATHS = {
    "rudderstack": "/v1/webhook?writeKey={key}",
    "treasure_data": "/postback/v3/event/d/t?td_write_key={key}",
}


@dataclass(frozen=True)
class Cell:
    """A fault at a kind of partner: a connector of its own, for an app group of its own."""

    case: Case
    kind: str

    @cached_property
    def name(self) -> str:
        """Of the connector, its stand-in and its app group."""
        words = "".join(c if c.isalnum() else "-" for c in f"{self.case.name} {self.kind}".lower())
        return words.strip("-")

    @property
    def lane(self) -> str:
        """Where its events are held."""
        return f"{self.name}+unbound" if self.kind == "mparticle" else self.name

    @property
    def key(self) -> str:
        return f"key-of-{self.name}"

    @cached_property
    def events(self) -> list[bytes]:
        return list(
            sample_events(
                EVENTS,
                seed=crc32(self.name.encode()),
                event_types=[_EVENT_TYPE],
                app_groups=[self.name],
                anonymous_share=0,
            )
        )

    @cached_property
    def ids(self) -> list[str]:
        return ids_of(self.events)

    def site(self) -> Site:
        """The stand-in; another connector's credentials are refused."""
        match self.kind:
            case "postback":
                return PostbackSite(token=self.key)
            case "rudderstack":
                return RudderStackSite(write_key=self.key)
            case "treasure_data":
                return TreasureDataSite(write_key=self.key)
            case "segment":
                return SegmentSite(write_key=self.key)
            case _:
                return MParticleSite(feeds={"unbound": (self.key, "secret")})

    def settings(self, folder: Path) -> Mapping[str, Any]:
        """The connector; address and key are secrets in files, which can be changed while it runs."""
        return {
            "name": self.name,
            "kind": self.kind,
            "app_group_ids": [self.name],
            "max_events": EVENTS_A_REQUEST,
            "concurrency": REQUESTS_AT_ONCE,
            "batch_window": "200 ms",
            **self._secrets(folder),
        }

    def write_secrets(self, folder: Path, address: str) -> None:
        """Write address and key to where the settings refer to."""
        path = _PATHS.get(self.kind, "").format(key=self.key)
        (folder / f"{self.name}.url").write_text(address + path)
        (folder / f"{self.name}.key").write_text(self.key)
        (folder / f"{self.name}.secret").write_text("secret")

    def _secrets(self, folder: Path) -> Mapping[str, Any]:
        url, key, secret = (
            f"file:{folder / self.name}.{what}" for what in ("url", "key", "secret")
        )
        match self.kind:
            case "postback":
                return {"url": url, "token": key}
            case "rudderstack" | "treasure_data":
                return {"url": url}
            case "segment":
                return {"write_key": key, "endpoint": url}
            case _:
                return {"feeds": {"unbound": {"key": key, "secret": secret}}, "endpoint": url}
