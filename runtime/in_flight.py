"""Deliveries that were started and whose outcomes were not acted on yet."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.clock import now_ms
from runtime.connectors import Config
from runtime.deadline import Deadlines, letter_reason
from runtime.delivery import Deliverer, Delivery
from runtime.keeping import (
    VERSION,
    Holding,
    Letters,
    Life,
    encode_holding,
    encode_letters,
    held_batches,
    letters_of,
)
from runtime.ledger import ConnectorTally
from runtime.receipts import Receipts
from runtime.shares import Shares
from schemas.batch import Batch, Token, encode_batch
from schemas.lane import Lane

MAX_BYTES_IN_FLIGHT = 32_000_000
"""What memory should hold of events on their way."""

UNANSWERED = "unanswered"
"""Why a batch of a connector that hangs is held."""


@dataclass(eq=False)
class Flight:
    """One batch in the air."""

    lane: Lane
    batch: Batch
    delivery: Delivery
    config_version: str

    @property
    def size(self) -> int:
        return self.batch.size

    def land(self, receipts: Receipts) -> "Landed":
        """Turn the outcome into what flows on: undelivered events, letters, counts, shares."""
        outcome = self.delivery.outcome
        life = self._life()
        held = held_batches(life, outcome.undelivered)
        letters = letters_of(life, outcome.given_up)
        tokens = self.batch.tokens
        letter_tokens: Sequence[Token] = tokens
        if held and letters:
            letter_tokens = receipts.fork(tokens)
        else:
            receipts.unfork(tokens)
        return Landed(
            self.delivery.hold_lane,
            encode_holding(Holding(VERSION, tokens, held)) if held else None,
            encode_letters(Letters(VERSION, list(letter_tokens), letters)) if letters else None,
            outcome.tally,
            () if held or letters else tokens,
        )

    def _life(self) -> Life:
        return Life(
            lane=self.lane.key,
            connector=self.lane.connector,
            part=self.lane.part,
            oldest_ms=self.batch.oldest_ms,
            newest_ms=self.batch.newest_ms,
            now_ms=now_ms(),
            config_version=self.config_version,
            replays=self.batch.replays,
        )


@dataclass(frozen=True)
class Landed:
    """What a delivery left to do."""

    hold_lane: str
    holding: bytes | None
    letters: bytes | None
    tally: ConnectorTally
    tokens: Sequence[Token]
    """Shares that are settled by the delivery itself."""


def take_off(
    deliverer: Deliverer,
    deadlines: Deadlines,
    config: Config,
    key: str,
    batch: Batch,
    now: int,
    hold_reason: str = "",
) -> Flight:
    """Start to deliver a batch of the lane `key`, or to bury it if it comes too late.

    With a `hold_reason`, its own or this, nothing is sent: that is why it goes to the hold.
    """
    lane = Lane.of(key)
    entry = config.connectors.get(lane.connector)
    if deadlines.refuses(entry, batch.newest_ms, now):
        delivery = deliverer.bury(lane, entry, batch.events, letter_reason(entry))
    else:
        delivery = deliverer.start(lane, entry, batch.events, batch.hold_reason or hold_reason)
    return Flight(lane, batch, delivery, config.version)


class InFlight:
    """The deliveries of all lanes of this process, for an engine that looks after them by timer.

    A batch that a retried bundle brings again is the one that is in the air already.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, dict[bytes, Flight]] = {}
        self._shares = Shares()
        self.size = 0
        """Bytes of events in the air."""

    def has(self, key: str, batch: Batch) -> bool:
        digest = _digest(batch)
        with self._lock:
            return digest in self._flights.get(key, ())

    def add(self, key: str, flight: Flight) -> None:
        digest = _digest(flight.batch)
        with self._lock:
            self._flights.setdefault(key, {})[digest] = flight
            self._shares.add(flight.delivery, flight.size, flight.batch.count)
            self.size += flight.size

    def obstacle(self, lane: Lane) -> str:
        """Why the lane's next batch is not to be sent; empty where it is."""
        with self._lock:
            return UNANSWERED if self._shares.hangs(lane.connector) else ""

    def of(self, key: str) -> list[Flight]:
        """The lane's deliveries, in the order of their start."""
        with self._lock:
            return list(self._flights.get(key, {}).values())

    def wait_for_room(self, seconds: float) -> None:
        """Wait, but no longer than that, while more is in the air than memory should hold.

        It is the oldest delivery that is waited for, of a connector that does not hang if there is one.
        """
        if self.size > MAX_BYTES_IN_FLIGHT and (oldest := self._oldest()) is not None:
            oldest.wait(seconds)

    def _oldest(self) -> Delivery | None:
        with self._lock:
            under_way = [
                flight.delivery
                for flights in self._flights.values()
                for flight in flights.values()
                if not flight.delivery.done
            ]
            connectors = {delivery.lane.connector for delivery in under_way}
            hanging = {name for name in connectors if self._shares.hangs(name)}
        return min(
            under_way,
            key=lambda delivery: (delivery.lane.connector in hanging, delivery.started),
            default=None,
        )

    def remove(self, key: str, landed: Sequence[Flight]) -> None:
        """Forget deliveries whose outcomes were acted on."""
        with self._lock:
            flights = self._flights.pop(key, {})
            left = {digest: one for digest, one in flights.items() if one not in landed}
            if left:
                self._flights[key] = left
            for flight in flights.values():
                if flight in landed:
                    self._shares.forget(flight.delivery)
                    self.size -= flight.size


def _digest(batch: Batch) -> bytes:
    return hashlib.sha256(encode_batch(batch)).digest()
