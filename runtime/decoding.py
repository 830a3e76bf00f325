"""Decoding and routing pulls into the lanes of connectors: what DecodeAndRoute does, without Beam."""

import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator

from runtime.clock import now_ms
from runtime.keeping import VERSION, Letters
from runtime.ledger import Tally
from runtime.receipts import Receipts
from runtime.routing import Plan, Route, Router
from schemas.batch import Batch, Token, make_batch
from schemas.dead_letter import DeadLetter
from schemas.event import EventHeader, InvalidEvent, decode_event
from schemas.pull import Pull
from sinks.sink import Filtered

MAX_GATHERED_BYTES = 48_000_000
"""What all lanes together may gather in memory before all of it moves on."""


_Slot = tuple[str, int]
"""A lane's key, and how often its events were replayed."""
_LaneName = tuple[str, str, int]
"""Connector, part and shard: a lane among the events of one pull."""


class _Gathering:
    """The events of one lane so far, all of them replayed equally often."""

    __slots__ = ("events", "newest_ms", "oldest_ms", "size", "slot", "target_bytes", "tokens")

    def __init__(self, slot: _Slot, target_bytes: int, pull: Pull) -> None:
        self.slot = slot
        self.target_bytes = target_bytes
        self.events: list[bytes] = []
        self.size = 0
        self.oldest_ms = pull.oldest_ms
        self.newest_ms = pull.newest_ms
        self.tokens: dict[int, Token] = {}


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
        self._of_pull: dict[_LaneName, _Gathering] = {}
        """The lanes that the pull adds to."""

    def decode(self, pull: Pull) -> Iterator[Letters | tuple[str, Batch]]:
        """Yield what of a pull is invalid, and the lanes that are full with it."""
        reading = self._receipts.begin(pull.receipt) if pull.receipt else 0
        if pull.receipt:
            self._readings.append((pull.receipt, reading))
        tokens = _Tokens(pull.receipt, reading, self._receipts)
        letters = self._take(pull, tokens)
        if letters:
            yield Letters(VERSION, tokens.for_letters(), letters)
        for lane in self._of_pull.values():
            if lane.size >= lane.target_bytes:
                yield lane.slot[0], self._end(lane.slot)
        self._of_pull = {}
        if pull.paced or self._size >= MAX_GATHERED_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[str, Batch]]:
        """Yield all that the lanes have gathered."""
        for slot in list(self._lanes):
            yield slot[0], self._end(slot)

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
        plan_of, offered = router.plan, self._offered
        for message in pull.messages:
            try:
                header, event = decode_event(message, max_bytes)
            except InvalidEvent as error:
                letters.append(self._bury(message, error.reason, error.detail, pull))
                continue
            plan = plan_of(header.app_group_id, header.event_type)
            if pull.connector and not plan.offered:
                letters.append(self._bury(message, not_offered(router), "", pull))
                continue
            offered[plan] += 1
            self._gather(plan, header, event, hour, pull, tokens)
        self._received += len(pull.messages)
        return letters

    def _gather(
        self,
        plan: Plan,
        header: EventHeader,
        event: bytes,
        hour: str,
        pull: Pull,
        tokens: "_Tokens",
    ) -> None:
        """Add an event to the lanes of the connectors that take it."""
        size = len(event) + 1
        is_named = header.has_external_user_id
        for route in plan.routes:
            part = route.part
            if part is None or (route.leaves_out_anonymous and not is_named):
                placed = _place(route, header, plan.event_type, hour)
                if isinstance(placed, Filtered):
                    self._filtered[route.connector, placed] += 1
                    continue
                part = placed
            shards = route.entry.settings.shards
            name = route.connector, part, _shard(header, shards) if shards > 1 else 0
            lane = self._of_pull.get(name)
            if lane is None:
                lane = self._of_pull[name] = self._lane(route, name, pull, tokens)
            lane.events.append(event)
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

    def _lane(self, route: Route, name: _LaneName, pull: Pull, tokens: "_Tokens") -> "_Gathering":
        """The lane that gathers events of a pull; looked for once a pull, and not once an event."""
        connector, part, shard = name
        slot = f"{connector}/{shard}/{part}", pull.replays
        lane = self._lanes.get(slot)
        if lane is None:
            lane = _Gathering(slot, route.entry.sink.max_request_bytes, pull)
            self._lanes[slot] = lane
        if pull.receipt and pull.receipt not in lane.tokens:
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
