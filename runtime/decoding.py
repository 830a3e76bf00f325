"""Decoding and routing pulls into the lanes of connectors: what DecodeAndRoute does, without Beam."""

import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from runtime.clock import now_ms
from runtime.keeping import VERSION, Letters
from runtime.ledger import Tally
from runtime.receipts import Receipts
from runtime.routing import Plan, Route, Router
from schemas.batch import Batch, Token, make_batch
from schemas.dead_letter import DeadLetter
from schemas.event import (
    NO_PROPERTIES,
    EventHeader,
    InvalidEvent,
    are_plain,
    decode_event,
    is_set,
)
from schemas.pull import Pull
from sinks.sink import Filtered

MAX_GATHERED_BYTES = 48_000_000
"""What all lanes together may gather in memory before the fullest move on."""
LEFT_BYTES = 36_000_000
"""What stays in those that are not so full, until they are: of a thousand lanes all would be half full."""
MAX_LEFT = 16
"""So often a lane may stay; one of few events would wait for the end."""

_MAX_PLACEMENTS = 20_000
"""Event types and app groups come from messages: the memory for them is bounded."""

_Slot = tuple[str, int]
"""A lane's key, and how often its events were replayed."""
_Way = tuple[str | None, str, str | None, str | None, bool]
"""All that routing looks at of most events: app group, event type, app, platform, and whether the user is
named. Events of a pull that are the same in these go the same way."""


class _Gathering:
    """The events of one lane so far, all of them replayed equally often."""

    __slots__ = (
        "events",
        "left",
        "newest_ms",
        "oldest_ms",
        "size",
        "slot",
        "target_bytes",
        "tokens",
    )

    def __init__(self, slot: _Slot, target_bytes: int, pull: Pull) -> None:
        self.slot = slot
        self.target_bytes = target_bytes
        self.events: list[bytes] = []
        self.size = 0
        """In bytes, without the events of the pull that is being taken."""
        self.oldest_ms = pull.oldest_ms
        self.newest_ms = pull.newest_ms
        self.tokens: dict[int, Token] = {}
        self.left = 0
        """How often it stayed when fuller lanes moved on."""


class _Placement(NamedTuple):
    """The lanes of events that go the same way, and why the other connectors do not take them."""

    lanes: Sequence[tuple[str, Route]]
    filtered: Sequence[tuple[str, Filtered]]


@dataclass(eq=False, slots=True)
class _Destination:
    """Where events of a pull go that go the same way."""

    plan: Plan
    adders: Sequence[Callable[[bytes], None]]
    """One for each lane that takes them."""
    filtered: Sequence[tuple[str, Filtered]]
    count: int = 0


class Decoder:
    """Turns pulls into fragments of lanes and dead letters, and counts; for one bundle."""

    def __init__(self, router: Router, receipts: Receipts, max_event_bytes: int) -> None:
        self._router = router
        self._receipts = receipts
        self._max_event_bytes = max_event_bytes
        self._lanes: dict[_Slot, _Gathering] = {}
        self._size = 0
        self._received = 0
        self._invalid: Counter[str] = Counter()
        self._offered: Counter[Plan] = Counter()
        self._filtered: Counter[tuple[str, Filtered]] = Counter()
        self._addressed: Counter[str] = Counter()
        self._returned: Counter[str] = Counter()
        self._readings: list[tuple[int, int]] = []
        self._placements: dict[tuple[Plan, _Way, str], _Placement] = {}
        self._of_pull: dict[_Gathering, int] = {}
        """The lanes that the pull adds to, with the number of events that they had before."""

    def decode(self, pull: Pull) -> Iterator[Letters | tuple[str, Batch]]:
        """Yield what of a pull is invalid, and the lanes that are full with it."""
        reading = self._receipts.begin(pull.receipt) if pull.receipt else 0
        if pull.receipt:
            self._readings.append((pull.receipt, reading))
        tokens = _Tokens(pull.receipt, reading, self._receipts)
        letters = self._take(pull, tokens)
        if letters:
            yield Letters(VERSION, tokens.for_letters(), letters)
        self._weigh()
        for lane in self._of_pull:
            if lane.size >= lane.target_bytes:
                yield lane.slot[0], self._end(lane.slot)
        self._of_pull = {}
        if pull.paced:
            yield from self.flush()
        elif self._size >= MAX_GATHERED_BYTES:
            yield from self._make_room()

    def flush(self) -> Iterator[tuple[str, Batch]]:
        """Yield all that the lanes have gathered."""
        for slot in list(self._lanes):
            yield slot[0], self._end(slot)

    def _make_room(self) -> Iterator[tuple[str, Batch]]:
        """Yield the fullest lanes, and those that have stayed often enough."""
        lanes = sorted(self._lanes.values(), key=lambda lane: lane.size, reverse=True)
        for lane in lanes:
            if self._size > LEFT_BYTES or lane.left >= MAX_LEFT:
                yield lane.slot[0], self._end(lane.slot)
            else:
                lane.left += 1

    def finish(self) -> None:
        """Say that all shares of the pulls are open: the outputs are the engine's now."""
        for receipt, reading in self._readings:
            self._receipts.decoded(receipt, reading)
        self._readings.clear()

    def take_tally(self) -> Tally:
        """What was counted since the last call."""
        tally = Tally(self._received, self._invalid)
        for plan, count in self._offered.items():
            for connector in plan.offered:
                tally.of(connector).offered += count
            for connector, reason in plan.filtered.items():
                tally.of(connector).filtered[reason.value] += count
        for (connector, reason), count in self._filtered.items():
            tally.of(connector).filtered[reason.value] += count
        for connector, count in self._addressed.items():
            tally.of(connector).addressed += count
        for connector, count in self._returned.items():
            tally.of(connector).offered += count
        self._received = 0
        self._invalid = Counter()
        self._offered.clear()
        self._filtered.clear()
        self._addressed.clear()
        self._returned.clear()
        return tally

    def _take(self, pull: Pull, tokens: "_Tokens") -> list[DeadLetter]:
        hour = time.strftime("%Y-%m-%d-%H", time.gmtime(pull.oldest_ms / 1_000))
        letters: list[DeadLetter] = []
        router, max_bytes = self._router, self._max_event_bytes
        if pull.connector:  # its size was checked when it came
            router, max_bytes = router.only(pull.connector), sys.maxsize
            self._addressed[pull.connector] += len(pull.messages)
        known: dict[_Way, _Destination] = {}
        odd: list[_Destination] = []
        plain = are_plain(pull.messages)
        for message in pull.messages:
            try:
                header, event = decode_event(message, max_bytes, plain)
            except InvalidEvent as error:
                letters.append(self._bury(message, error.reason, error.detail, pull))
                continue
            of, user = header.properties or NO_PROPERTIES, header.user
            named = user is not None and is_set(user.external_user_id)  # no property: it is quicker
            way = of.app_group_id, header.event_type, of.app_id, of.platform, named
            destination = known.get(way)
            if destination is None:
                plan = router.plan(of.app_group_id, header.event_type)
                if pull.connector and not plan.offered:
                    letters.append(self._bury(message, not_offered(router), "", pull))
                    continue
                placement = self._placement(plan, way, header, hour)
                destination = self._destination(plan, placement, pull, tokens)
                if plan.looks_at_each:
                    odd.append(destination)
                else:
                    known[way] = destination
            destination.count += 1
            for add in destination.adders:
                add(event)
        self._count(known.values())
        self._count(odd)
        self._received += len(pull.messages)
        return letters

    def _placement(self, plan: Plan, way: _Way, header: EventHeader, hour: str) -> _Placement:
        if plan.looks_at_each:
            return _place_all(plan, header, hour)
        found = self._placements.get((plan, way, hour))
        if found is None:
            if len(self._placements) >= _MAX_PLACEMENTS:
                self._placements.clear()
            found = self._placements[plan, way, hour] = _place_all(plan, header, hour)
        return found

    def _destination(
        self, plan: Plan, placement: _Placement, pull: Pull, tokens: "_Tokens"
    ) -> _Destination:
        adders = [
            self._lane((key, pull.replays), route, pull, tokens).events.append
            for key, route in placement.lanes
        ]
        return _Destination(plan, adders, placement.filtered)

    def _count(self, destinations: Iterable[_Destination]) -> None:
        for destination in destinations:
            self._offered[destination.plan] += destination.count
            for left_out in destination.filtered:
                self._filtered[left_out] += destination.count

    def _weigh(self) -> None:
        """Add what the pull has added."""
        for lane, before in self._of_pull.items():
            added = lane.events[before:]
            size = sum(map(len, added)) + len(added)
            lane.size += size
            self._size += size

    def _bury(self, message: bytes, reason: str, detail: str, pull: Pull) -> DeadLetter:
        """What is for one connector alone counts as offered to it, though it goes nowhere."""
        if pull.connector:
            self._returned[pull.connector] += 1
        else:
            self._invalid[reason] += 1
        return DeadLetter(
            event=message,
            stage="decode",
            reason=reason,
            detail=detail,
            connector=pull.connector,
            published_ms=pull.newest_ms,
            first_failed_ms=now_ms(),
            buried_ms=now_ms(),
            replays=pull.replays,
        )

    def _lane(self, slot: _Slot, route: Route, pull: Pull, tokens: "_Tokens") -> "_Gathering":
        """The lane that gathers events of a pull."""
        lane = self._lanes.get(slot)
        if lane is None:
            lane = _Gathering(slot, route.entry.sink.max_request_bytes, pull)
            self._lanes[slot] = lane
        if lane in self._of_pull:
            return lane
        self._of_pull[lane] = len(lane.events)
        if pull.receipt:
            lane.tokens[pull.receipt] = tokens.next()
        lane.oldest_ms = min(lane.oldest_ms, pull.oldest_ms)
        lane.newest_ms = max(lane.newest_ms, pull.newest_ms)
        return lane

    def _end(self, slot: _Slot) -> Batch:
        lane = self._lanes.pop(slot)
        self._size -= lane.size
        tokens = list(lane.tokens.values())
        return make_batch(lane.events, lane.oldest_ms, lane.newest_ms, tokens, slot[1])


class _Tokens:
    """Opens the shares of one pull, in an order that only its events decide."""

    def __init__(self, receipt: int, reading: int, receipts: Receipts) -> None:
        self._receipt = receipt
        self._reading = reading
        self._receipts = receipts
        self._count = 0

    def next(self) -> Token:
        token = Token(self._receipt, self._reading, str(self._count))
        self._count += 1
        self._receipts.open(token)
        return token

    def for_letters(self) -> list[Token]:
        return [self.next()] if self._receipt else []


def not_offered(only: Router) -> str:
    """Why the one connector that a router knows is not offered an event."""
    return "other_app_group" if only.config.connectors else "connector_removed"


def left_out(only: Router, header: EventHeader) -> str | None:
    """Why the one connector that a router knows would not take an event today, if it would not."""
    plan = only.plan(header.app_group_id, header.event_type)
    if not plan.offered:
        return not_offered(only)
    for reason in plan.filtered.values():
        return reason.value
    part = _place(plan.routes[0], header, plan.event_type, hour="")
    return part.value if isinstance(part, Filtered) else None


def _place_all(plan: Plan, header: EventHeader, hour: str) -> _Placement:
    """The lanes of the connectors that take an event, and why the others do not."""
    lanes: list[tuple[str, Route]] = []
    filtered: list[tuple[str, Filtered]] = []
    for route in plan.routes:
        part = _place(route, header, plan.event_type, hour)
        if isinstance(part, Filtered):
            filtered.append((route.connector, part))
            continue
        shards = route.entry.settings.shards
        shard = _shard(header, shards) if shards > 1 else 0
        lanes.append((f"{route.connector}/{shard}/{part}", route))
    return _Placement(lanes, filtered)


def _place(route: Route, header: EventHeader, event_type: str, hour: str) -> str | Filtered:
    if route.app_ids is not None and header.app_id not in route.app_ids:
        return Filtered.APP_ID
    if route.leaves_out_anonymous and not header.has_external_user_id:
        return Filtered.NO_EXTERNAL_USER_ID
    if not route.supported:
        return Filtered.UNSUPPORTED
    return route.entry.sink.place(header, event_type, hour)


def _shard(header: EventHeader, shards: int) -> int:
    """By user where there is one, so that a user's events stay in order and together."""
    user = header.user.external_user_id if header.user else None
    return zlib.crc32((user or header.id).encode()) % shards
