"""The partners of the benchmarks: where the receiver has them, their keys, and their connectors."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

SECRETS = {"WRITE_KEY": "write-key", "FEED_KEY": "feed-key", "FEED_SECRET": "feed-secret"}
"""What the environment of the pipeline has."""
FEEDS = ("ios", "android", "web", "unbound")

NO_LIMIT = 1_000_000
"""In place of the partners' own rate limits: at mParticle's 270 user batches a second, a stream of 1,000
events a second would be held, and the limit would be all that is measured."""

POSTBACK_HEADERS = {"Content-Type": "application/json", "Braze-Currents-Version": "1"}


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


SEGMENT_HEADERS = {
    "Content-Type": "application/json",
    "Authorization": _basic(SECRETS["WRITE_KEY"], ""),
}
MPARTICLE_HEADERS = {
    "Content-Type": "application/json",
    "Authorization": _basic(SECRETS["FEED_KEY"], SECRETS["FEED_SECRET"]),
}
HEADERS: Mapping[str, Mapping[str, str]] = {
    "postback": POSTBACK_HEADERS,
    "segment": SEGMENT_HEADERS,
    "mparticle": MPARTICLE_HEADERS,
}
"""Of the requests to each kind."""

THREE_KINDS = {"hook": "postback", "analytics": "segment", "mobile": "mparticle"}
"""The three connectors of most benchmarks: kinds by name."""
THREE_POSTBACKS = {"hook-1": "postback", "hook-2": "postback", "hook-3": "postback"}

_PATHS = {"postback": "", "segment": "/v1/batch", "mparticle": "/v2/bulkevents"}


def url_of(receiver: str, kind: str, name: str) -> str:
    """Where a connector's events are posted."""
    return f"{receiver}/{kind}/{name}{_PATHS[kind]}"


def connectors_of(
    receiver: str, kinds: Mapping[str, str], **settings: Any
) -> Sequence[Mapping[str, Any]]:
    """Entries of the connectors file: kinds by name, with the same settings for all."""
    return [
        {"name": name, "kind": kind, **_settings_of(receiver, kind, name), **settings}
        for name, kind in kinds.items()
    ]


def _settings_of(receiver: str, kind: str, name: str) -> Mapping[str, Any]:
    endpoint = f"{receiver}/{kind}/{name}"
    if kind == "postback":
        return {"url": endpoint}
    if kind == "segment":
        return {"write_key": "env:WRITE_KEY", "endpoint": endpoint, "rate_limit": NO_LIMIT}
    feed = {"key": "env:FEED_KEY", "secret": "env:FEED_SECRET"}
    return {"feeds": dict.fromkeys(FEEDS, feed), "endpoint": endpoint, "rate_limit": NO_LIMIT}
