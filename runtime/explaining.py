"""Explaining an event at a connector: what each rule says, what it becomes, how near the limits are.

The outcome is the one of the pipeline's own steps, never of these rules: they are told beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.clock import now_ms
from runtime.connectors import Config, ConnectorEntry
from runtime.decoding import Decoder
from runtime.keeping import Letters
from runtime.receipts import Receipts
from runtime.routing import Router
from runtime.showing import placeholders, shown
from runtime.suggesting import suggestion
from schemas.batch import Batch
from schemas.catalogue import canonical_event_type, event_types
from schemas.event import EventHeader, InvalidEvent, decode_event
from schemas.lane import Lane
from schemas.pull import Pull
from sinks.sink import FileWrite, Filtered, Request


@dataclass(frozen=True)
class Rule:
    """One rule, in the order in which they are looked at; after one that stops, none is."""

    name: str
    lets_pass: bool
    says: str


@dataclass(frozen=True)
class Size:
    """What one limit counts, and how much of it the event takes."""

    name: str
    found: int
    most: int

    @property
    def share(self) -> float:
        return self.found / self.most


@dataclass
class Explanation:
    """What becomes of an event at a connector."""

    outcome: str
    """`sent`, `held`, `filtered`, `dead_letter` or `not_offered`."""
    reason: str = ""
    detail: str = ""
    lane: str = ""
    rules: list[Rule] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    """The nearest limit first."""
    requests: list[Any] = field(default_factory=list)
    """As `runtime.showing.shown` has them, secrets as their references."""


def explain(config: Config, connector: str, message: bytes, max_event_bytes: int) -> Explanation:
    """What becomes of a message at a connector of the config, were it published now."""
    entry = config.connectors[connector]
    only = Config(config.version, {connector: entry})
    decoder = Decoder(Router(only), Receipts(), max_event_bytes)
    at = now_ms()
    found = [*decoder.decode(Pull(at, at, [message])), *decoder.flush()]
    tally = decoder.take_tally().of(connector)
    rules = list(_rules(entry, message, max_event_bytes))
    size = Size("the message as it came", len(message), max_event_bytes)
    if not found:
        reason = next(iter(tally.filtered), "")
        outcome = "filtered" if reason else "not_offered"
        return Explanation(outcome, reason, rules=rules, sizes=[size])
    (one,) = found
    if isinstance(one, Letters):
        (letter,) = one.letters
        detail = letter.detail
        return Explanation("dead_letter", letter.reason, detail, rules=rules, sizes=[size])
    return _packed(entry, *one, rules, size)


def _packed(
    entry: ConnectorEntry, lane: str, batch: Batch, rules: list[Rule], size: Size
) -> Explanation:
    packed = entry.sink.pack(batch.events, Lane.of(lane).part, placeholders(entry.references))
    if packed.unpackable:
        (unpackable,) = packed.unpackable
        reason, detail = unpackable.reason, unpackable.detail
        sizes = [size]
        if unpackable.most_bytes:
            what = "what the event becomes at this partner"
            sizes.insert(0, Size(what, unpackable.found_bytes, unpackable.most_bytes))
        return Explanation("dead_letter", reason, detail, lane, rules, sizes)
    sizes = [size, *(made for request in packed.requests for made in _sizes(entry, request))]
    return Explanation(
        "held" if entry.settings.paused else "sent",
        "paused" if entry.settings.paused else "",
        lane=lane,
        rules=rules,
        sizes=sorted(sizes, key=lambda one: one.share, reverse=True),
        requests=[shown(request) for request in packed.requests],
    )


def _sizes(entry: ConnectorEntry, request: Request) -> Iterator[Size]:
    sink = entry.sink
    if isinstance(request, FileWrite):
        size = sum(map(len, request.events))
        yield Size("the events of a file", size, sink.max_request_bytes)
        return
    yield Size("the request with its envelope", len(request.body), sink.max_request_bytes)
    if sink.limits.max_event_bytes is not None:
        most = min(sink.limits.max_event_bytes, sink.max_request_bytes)
        yield Size("the encoded event, its envelope included", len(request.body), most)


# The rules, in the order of runtime.routing and runtime.decoding


def _rules(entry: ConnectorEntry, message: bytes, max_event_bytes: int) -> Iterator[Rule]:
    try:
        header, event = decode_event(message, max_event_bytes)
    except InvalidEvent as error:
        yield Rule("event", False, str(error))
        return
    yield Rule("event", True, f"{header.event_type}, id {header.id}")
    for rule in _rules_of(entry, header, event):
        yield rule
        if not rule.lets_pass:
            return


def _rules_of(entry: ConnectorEntry, header: EventHeader, event: bytes) -> Iterator[Rule]:
    settings, event_type = entry.settings, canonical_event_type(header.event_type)
    yield _app_group(settings.app_group_ids, header)
    yield Rule("enabled", settings.enabled, "yes" if settings.enabled else "no")
    yield _event_type(entry, header.event_type, event_type)
    yield _app(settings.app_ids, header)
    yield _user(entry, header)
    yield _name(entry, event_type)
    yield _lane(entry, header, event_type)
    if entry.sink.age_limits:
        yield _age(entry, header)
    if settings.redact:
        yield Rule("redact", True, _redacted(entry, event))
    if settings.paused:
        yield Rule("paused", True, "yes: it is held until that is changed")


def _app_group(groups: Sequence[str] | None, header: EventHeader) -> Rule:
    if groups is None:
        return Rule("app_group_ids", True, "not set: events of all app groups")
    found = f"{header.app_group_id!r}" if header.app_group_id else "none"
    return Rule(
        "app_group_ids",
        header.app_group_id in groups,
        f"the event's app group is {found}; set are {', '.join(groups)}",
    )


def _event_type(entry: ConnectorEntry, spelling: str, event_type: str) -> Rule:
    known = ""
    if event_type not in event_types():
        known = f"; the catalogue does not know it{suggestion(event_type, event_types(), ',')}"
    name = event_type if spelling == event_type else f"{spelling}, which is {event_type}"
    patterns = entry.settings.events
    wanted = "not set: all types" if patterns is None else f"set are {', '.join(patterns)}"
    return Rule("events", entry.selects(event_type), f"{name}{known}; {wanted}")


def _app(apps: Sequence[str] | None, header: EventHeader) -> Rule:
    if apps is None:
        return Rule("app_ids", True, "not set: events of all apps, and of none")
    found = repr(header.app_id) if header.app_id else "none"
    return Rule(
        "app_ids", header.app_id in apps, f"the event's app is {found}; set are {', '.join(apps)}"
    )


def _user(entry: ConnectorEntry, header: EventHeader) -> Rule:
    has = "has one" if header.has_external_user_id else "has none"
    needs = entry.sink.leaves_out_anonymous
    wanted = "the partner needs one" if needs else "the partner takes events without one"
    return Rule(
        "external_user_id", header.has_external_user_id or not needs, f"the user {has}; {wanted}"
    )


def _name(entry: ConnectorEntry, event_type: str) -> Rule:
    if entry.sink.supports(event_type):
        return Rule("name", True, "the partner takes the type")
    return Rule(
        "name",
        False,
        "no name is published for it at this partner; unnamed_events: raw sends it under its own",
    )


def _lane(entry: ConnectorEntry, header: EventHeader, event_type: str) -> Rule:
    part = entry.sink.place(header, event_type, "")
    if isinstance(part, Filtered):
        wanted = entry.sink.wanted_part(header, event_type)
        feeds = ", ".join(getattr(entry.settings, "feeds", ())) or "none"
        says = f"its feed {wanted} is not configured; configured are {feeds}"
        return Rule("feed", False, f"{says} (app {header.app_id}, platform {header.platform})")
    return Rule("feed", True, part or "the partner has none")


def _age(entry: ConnectorEntry, header: EventHeader) -> Rule:
    seconds = now_ms() / 1_000 - header.time
    advice = entry.sink.age_advice(seconds)
    return Rule("age", True, f"{max(0, seconds) / 86_400:.1f} days; {advice or 'not too old'}")


def _redacted(entry: ConnectorEntry, event: bytes) -> str:
    fields = sorted(entry.settings.redact.fields) if entry.settings.redact else []
    hides = entry.sink.redact_for_replay(event) != event
    return f"{', '.join(fields)}: {'some are in it' if hides else 'none is in it'}"
