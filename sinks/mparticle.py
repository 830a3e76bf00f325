"""mParticle: user batches to the feeds of a Braze input ("HTTP API" of mParticle)."""

import calendar
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from schemas.catalogue import canonical_event_type, event_types
from schemas.connector import NAME_PATTERN, Connector, secret_references
from schemas.event import EventHeader
from schemas.secret import SecretRef, Secrets
from sinks.address import base_url
from sinks.authorization import basic
from sinks.fields import Unencodable, take_apart
from sinks.items import Items
from sinks.mparticle_layout import BatchOfOne, Layout, TypeLayout, type_layout
from sinks.packing import Envelope
from sinks.sink import (
    AgeLimit,
    Answer,
    Filtered,
    HttpRequest,
    Limits,
    Packed,
    Sink,
    Verdict,
)
from sinks.user_batches import contents_of, count_batches, fill_requests, group_by_user

_BATCHES = Envelope(prefix=b"[", suffix=b"]")

MAX_BATCH_BYTES = 128_000
_MAX_TYPES = 4_096
"""Event types come from messages: the memory for them is bounded."""

_UNBOUND = "unbound"
_HISTORICAL = "/historical"
_HISTORICAL_SECONDS = 72 * 3_600
"""The age from which `/bulkevents/historical` takes events ("HTTP API")."""
_FEEDS_OF_PLATFORMS = {"ios": "ios", "android": "android", "web": "web"}

FeedName = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]


class Feed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The credentials of one feed, which decide what platform mParticle sees."""

    key: SecretRef
    secret: SecretRef


class MParticleConnector(Connector, frozen=True, kw_only=True):
    """Settings of an mParticle workspace; events of no app go to the feed `unbound`."""

    kind: Literal["mparticle"] = "mparticle"
    pod: Literal["us1", "us2", "eu1", "au1"] = "us1"
    """Where the workspace lies; the platform does not ask for it."""
    environment: Literal["production", "development"] = "production"
    """What the data is filed under at mParticle."""
    identity_key: Literal["customerid", "customer_id"] = "customerid"
    """What mParticle's schema calls `customer_id`, the platform and mParticle's SDK do not."""
    feeds: Annotated[dict[FeedName, Feed], msgspec.Meta(min_length=1)]
    """The `key` and `secret` of each feed, by name: `ios`, `android`, `web`, `unbound` or others.
    Events whose feed is not among them are filtered as `feed_not_configured`."""
    app_feeds: dict[str, str] = msgspec.field(default_factory=dict)
    """Feeds by `app_id`; the events of other apps go by their platform."""
    platform_feeds: dict[str, str] = msgspec.field(default_factory=dict)
    """Feeds by platform; `ios`, `android` and `web` have the feeds of these names."""
    kindle: Literal["Android", "fire_tv"] = "Android"
    """The device platform of `kindle`, which is Fire tablets and Fire TV alike; of mParticle's two
    published schemas one does not know `fire_tv`."""
    limit_ad_tracking: Literal["inverse", "same", "omit"] = "inverse"
    """What it says of `ad_tracking_enabled`; nobody publishes it, the names are opposites."""
    long_values: Literal["cut", "drop", "keep"] = "cut"
    """What becomes of an attribute over 4,096 characters; how a server call with one is answered is
    not published. One that is cut ends in an ellipsis."""
    attribute_values: Literal["json", "text"] = "json"
    """Numbers and booleans as they are, as mParticle's JSON schema has them, or as text, as its
    OpenAPI description does."""

    historical: bool = False
    """Whether events that were 72 hours old at the beginning of the hour in which they were read go to
    `/bulkevents/historical`, from where mParticle forwards nothing to event and warehouse outputs
    ("HTTP API"). For a backfill; `--historical` sets it for a run."""

    def __post_init__(self) -> None:
        for setting, feeds in (
            ("app_feeds", self.app_feeds),
            ("platform_feeds", self.platform_feeds),
        ):
            for key, feed in feeds.items():
                if feed not in self.feeds:
                    known = ", ".join(self.feeds)
                    raise ValueError(f"{setting}: {key} goes to {feed}, feeds has only {known}")

    def identities(self) -> Sequence[str]:
        return [str(feed.key) for feed in self.feeds.values()]


class MParticleSink(Sink[MParticleConnector]):
    """POSTs an array of user batches to `/v2/bulkevents` with the credentials of the lane's feed.

    Events of one user share a batch where identities, attributes and device are the same, for the
    rate limit counts batches. A batch of one event has the event's id as its `source_request_id`, by
    which mParticle de-duplicates ("JSON reference"). 202 comes if a single batch is good, and nothing
    is heard of the others. Events older than 30 days should not be sent there ("HTTP API"); see the
    setting `historical`.
    """

    kind = "mparticle"
    settings_type = MParticleConnector
    needs_external_user_id = True
    tells_users_by = frozenset({"external_user_id"})
    proves_delivery = False
    limits = Limits(
        max_events=100,
        max_request_bytes=256_000,
        most_request_bytes=256_000,
        batch_window_seconds=10,
        max_event_bytes=MAX_BATCH_BYTES,
        rate_limit=270,
    )
    rate_unit = "user batches"

    def __init__(self, settings: MParticleConnector) -> None:
        super().__init__(settings)
        known = event_types().values()
        names = {found.name: found.name_at("mparticle") for found in known}
        self._names = {event_type: name for event_type, name in names.items() if name}
        self._unbound = {found.name for found in known if found.feed_at("mparticle") == _UNBOUND}
        self._left_out = {found.name for found in known if not found.is_exported_to("mparticle")}
        self._layout = Layout(
            environment=settings.environment,
            identity_key=settings.identity_key,
            kindle=settings.kindle,
            limit_ad_tracking=settings.limit_ad_tracking,
            long_values=settings.long_values,
            attribute_values=settings.attribute_values,
        )
        self._layout_of = functools.lru_cache(maxsize=_MAX_TYPES)(self._type_layout)
        self._platform_feeds = {**_FEEDS_OF_PLATFORMS, **settings.platform_feeds}

    def references(self, part: str) -> Sequence[str]:
        """Only the feed's own: what is wrong with one feed must not hold the others."""
        feed = self.settings.feeds.get(_feed_of(part))
        return secret_references([feed, self.settings.endpoint])

    def supports(self, event_type: str) -> bool:
        if event_type in self._left_out:
            return False
        return event_type in self._names or self.settings.unnamed_events == "raw"

    @property
    def age_limits(self) -> Sequence[AgeLimit]:
        """What `/bulkevents` is for ("HTTP API")."""
        if self.settings.historical:
            return ()
        return (
            AgeLimit(30, "over 30 days old, which mParticle advises against (see --historical)"),
            AgeLimit(3, "over 72 hours old, for which mParticle has a path (see --historical)"),
        )

    def has_part(self, part: str) -> bool:
        """Whether the feed is configured; both of its paths go with it."""
        return _feed_of(part) in self.settings.feeds

    def hold_part(self, part: str) -> str:
        """The feed alone, for a key that is refused is refused at both paths."""
        return _feed_of(part)

    def place(self, header: EventHeader, event_type: str, hour: str) -> str | Filtered:
        feed = self.wanted_part(header, event_type)
        if feed not in self.settings.feeds:
            return Filtered.FEED_NOT_CONFIGURED
        return feed + _HISTORICAL if self._is_historical(header, hour) else feed

    @property
    def places_by_time(self) -> bool:
        return self.settings.historical

    def wanted_part(self, header: EventHeader, event_type: str) -> str:
        return _UNBOUND if event_type in self._unbound else self._feed_of_app(header)

    def _is_historical(self, header: EventHeader, hour: str) -> bool:
        """By the beginning of the hour: what is sent there must be old enough for certain."""
        if not self.settings.historical or not hour:
            return False
        return _seconds_of(hour) - header.time >= _HISTORICAL_SECONDS

    def _feed_of_app(self, header: EventHeader) -> str:
        """The feed of a type that is not known to be unbound (Braze, "About mParticle credentials").

        An app's credentials carry its events; it has one platform, but not every event names it.
        """
        by_app = self.settings.app_feeds.get(header.app_id or "")
        return by_app or self._platform_feeds.get(header.platform or "", _UNBOUND)

    @property
    def rate_parts(self) -> int:
        return len(self.settings.feeds) * (2 if self.settings.historical else 1)

    def rate_units(self, events: Sequence[bytes]) -> int:
        """How many user batches the events make, nearly: they are not encoded for it."""
        return count_batches(events, self._most_batch_bytes, self.max_events)

    @property
    def _most_batch_bytes(self) -> int:
        return min(MAX_BATCH_BYTES, self.max_request_bytes - _BATCHES.weigh(0, 1))

    def encode(self, events: Sequence[bytes], part: str, secrets: Secrets) -> Packed:
        most = self._most_batch_bytes
        items = Items(most, "as a user batch")
        add, make, identity = items.add, self._user_batch, self.settings.identity_key
        users = [
            batch.user_identities[identity]
            for event in events
            if (batch := add(event, make)) is not None
        ]
        batches = group_by_user(items, users, most, self.max_events)
        url, headers = self._url(part, secrets), self._headers(part, secrets)
        requests = []
        for run in fill_requests(batches, self.max_request_bytes, self.max_events):
            bodies, sent = contents_of(run, items)
            requests.append(HttpRequest("POST", url, headers, _BATCHES.wrap(bodies), sent))
        return Packed(requests, items.unpackable)

    def probe(self, part: str, secrets: Secrets) -> HttpRequest:
        """Return an array of no batches: 401 and 403 tell that the credentials are refused."""
        headers = self._headers(part, secrets)
        return HttpRequest("POST", self._url(part, secrets), headers, _BATCHES.wrap([]))

    @property
    def probe_parts(self) -> Sequence[str]:
        return list(self.settings.feeds)

    def what_probe_proves(self, answer: Answer) -> str:
        if self.judge_probe(answer) is Verdict.DELIVERED:  # a key that is not valid is answered 403
            return "the address answers and takes the feed's credentials"
        return super().what_probe_proves(answer)

    def _url(self, part: str, secrets: Secrets) -> str:
        path = "/v2/bulkevents" + (_HISTORICAL if part.endswith(_HISTORICAL) else "")
        host = f"https://s2s.{self.settings.pod}.mparticle.com"
        return f"{base_url(self.settings.endpoint, host, secrets)}{path}"

    def _headers(self, part: str, secrets: Secrets) -> Mapping[str, str]:
        headers = {"Content-Type": "application/json"}
        feed = self.settings.feeds.get(_feed_of(part))
        if feed is None:
            # Taken out of the settings since the events were routed: without credentials they are
            # answered 401, and so are held until the feed is back or they expire.
            return headers
        return {**headers, "Authorization": basic(secrets[feed.key], secrets[feed.secret])}

    def _user_batch(self, event: bytes) -> BatchOfOne:
        fields = take_apart(event)
        return self._layout.user_batch(fields, self._layout_of(fields.event_type), len(event))

    def _type_layout(self, spelling: str) -> TypeLayout:
        event_type = canonical_event_type(spelling)
        name = self._names.get(event_type)
        if name is None and self.settings.unnamed_events == "raw":
            name = event_type
        if name is None:  # the settings have changed since the event was routed
            raise Unencodable("event_type", "mParticle has no name for it")
        return type_layout(event_type, name)


def _feed_of(part: str) -> str:
    return part.removesuffix(_HISTORICAL)


@functools.lru_cache(maxsize=64)
def _seconds_of(hour: str) -> int:
    return calendar.timegm(time.strptime(hour, "%Y-%m-%d-%H"))
