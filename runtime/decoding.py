"""Decoding and routing pulls into the lanes of connectors: what DecodeAndRoute does, without Beam."""

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


class _Gathering:
    """The events of one lane so far."""

    __slots__ = ("events", "newest_ms", "oldest_ms", "size", "target_bytes", "tokens")

    def __init__(self, target_bytes: int) -> None:
        self.target_bytes = target_bytes
        self.events: list[bytes] = []
        self.size = 0
        self.oldest_ms = 0
        self.newest_ms = 0
        self.tokens: dict[int, Token] = {}


class Decoder:
    """Turns pulls into fragments of lanes and dead letters, and counts; for one bundle."""

    def __init__(self, router: Router, receipts: Receipts, max_event_bytes: int) -> None:
        self._router = router
        self._receipts = receipts
        self._max_event_bytes = max_event_bytes
        self._lanes: dict[str, _Gathering] = {}
        self._size = 0
        self._received = 0
        self._invalid: Counter[str] = Counter()
        self._offered: Counter[Plan] = Counter()
        self._filtered: Counter[tuple[str, Filtered]] = Counter()
        self._readings: list[tuple[int, int]] = []
        self._full: list[str] = []

    def decode(self, pull: Pull) -> Iterator[Letters | tuple[str, Batch]]:
        """Yield what of a pull is invalid, and the lanes that are full with it."""
        reading = self._receipts.begin(pull.receipt) if pull.receipt else 0
        if pull.receipt:
            self._readings.append((pull.receipt, reading))
        tokens = _Tokens(pull.receipt, reading, self._receipts)
        letters = self._take(pull, tokens)
        if letters:
            yield Letters(VERSION, tokens.for_letters(), letters)
        for key in self._full:
            yield key, self._end(key)
        self._full.clear()
        if self._size >= MAX_GATHERED_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[str, Batch]]:
        """Yield all that the lanes have gathered."""
        for key in list(self._lanes):
            yield key, self._end(key)

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
        self._received = 0
        self._invalid = Counter()
        self._offered.clear()
        self._filtered.clear()
        return tally

    def _take(self, pull: Pull, tokens: "_Tokens") -> list[DeadLetter]:
        hour = time.strftime("%Y-%m-%d-%H", time.gmtime(pull.oldest_ms / 1_000))
        letters: list[DeadLetter] = []
        plan_of, offered, max_bytes = self._router.plan, self._offered, self._max_event_bytes
        for message in pull.messages:
            try:
                header, event = decode_event(message, max_bytes)
            except InvalidEvent as error:
                letters.append(_invalid_letter(message, error, pull))
                self._invalid[error.reason] += 1
                continue
            plan = plan_of(header.app_group_id, header.event_type)
            offered[plan] += 1
            for route in plan.routes:
                part = _place(route, header, plan.event_type, hour)
                if isinstance(part, Filtered):
                    self._filtered[route.connector, part] += 1
                else:
                    self._add(route, part, header, event, pull, tokens)
        self._received += len(pull.messages)
        return letters

    def _add(
        self,
        route: Route,
        part: str,
        header: EventHeader,
        event: bytes,
        pull: Pull,
        tokens: "_Tokens",
    ) -> None:
        shards = route.entry.settings.shards
        key = f"{route.connector}/{_shard(header, shards) if shards > 1 else 0}/{part}"
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Gathering(route.entry.sink.max_request_bytes)
        if not lane.events:
            lane.oldest_ms, lane.newest_ms = pull.oldest_ms, pull.newest_ms
        if pull.receipt and pull.receipt not in lane.tokens:
            lane.tokens[pull.receipt] = tokens.next()
        lane.oldest_ms = min(lane.oldest_ms, pull.oldest_ms)
        lane.newest_ms = max(lane.newest_ms, pull.newest_ms)
        lane.events.append(event)
        before = lane.size
        lane.size += len(event) + 1
        self._size += len(event) + 1
        if before < lane.target_bytes <= lane.size:
            self._full.append(key)

    def _end(self, key: str) -> Batch:
        lane = self._lanes.pop(key)
        self._size -= lane.size
        return make_batch(lane.events, lane.oldest_ms, lane.newest_ms, list(lane.tokens.values()))


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


def _place(route: Route, header: EventHeader, event_type: str, hour: str) -> str | Filtered:
    if route.app_ids is not None and header.app_id not in route.app_ids:
        return Filtered.APP_ID
    if route.needs_external_user_id and not header.has_external_user_id:
        return Filtered.NO_EXTERNAL_USER_ID
    if not route.supported:
        return Filtered.UNSUPPORTED
    return route.entry.sink.place(header, event_type, hour)


def _shard(header: EventHeader, shards: int) -> int:
    """By user where there is one, so that a user's events stay in order and together."""
    user = header.user.external_user_id if header.user else None
    return zlib.crc32((user or header.id).encode()) % shards


def _invalid_letter(message: bytes, error: InvalidEvent, pull: Pull) -> DeadLetter:
    return DeadLetter(
        event=message,
        stage="decode",
        reason=error.reason,
        detail=error.detail,
        published_ms=pull.newest_ms,
        first_failed_ms=now_ms(),
        buried_ms=now_ms(),
    )
