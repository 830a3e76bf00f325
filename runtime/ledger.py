"""The ledger: what became of every event, by connector; exact on one machine.

A `Tally` is filled while a bundle is worked on and entered when the bundle has done its work, so
that a bundle which fails and is retried is counted once.
"""

import math
import threading
from collections import Counter
from dataclasses import dataclass, field

_BUCKETS_PER_DOUBLING = 8


@dataclass
class ConnectorTally:
    """Counts of one connector's events and requests."""

    offered: int = 0
    """Valid events of its app groups; what is replayed to it counts whatever it is."""
    addressed: int = 0
    """Those of the messages read that were for this connector alone, which a replay's are."""
    adopted: int = 0
    delivered: int = 0
    held: int = 0
    requests: int = 0
    attempts: int = 0
    bytes: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    latency: Counter[int] = field(default_factory=Counter)
    """Attempts by bucket of their duration: each bucket is 9 % wider than the one before."""

    def time_attempt(self, seconds: float) -> None:
        milliseconds = max(seconds * 1_000, 0.01)
        self.latency[round(math.log2(milliseconds) * _BUCKETS_PER_DOUBLING)] += 1

    def latency_ms(self, quantile: float) -> float | None:
        """The duration that a share `quantile` of the attempts kept within, to 5 %."""
        left = math.ceil(self.latency.total() * quantile)
        for bucket, count in sorted(self.latency.items()):
            left -= count
            if left <= 0:
                return float(f"{2 ** (bucket / _BUCKETS_PER_DOUBLING):.3g}")
        return None

    def add(self, other: "ConnectorTally") -> None:
        self.offered += other.offered
        self.addressed += other.addressed
        self.adopted += other.adopted
        self.delivered += other.delivered
        self.held += other.held
        self.requests += other.requests
        self.attempts += other.attempts
        self.bytes += other.bytes
        self.filtered.update(other.filtered)
        self.dead.update(other.dead)
        self.latency.update(other.latency)

    def since(self, before: "ConnectorTally") -> "ConnectorTally":
        """What came to the counts after `before`."""
        return ConnectorTally(
            offered=self.offered - before.offered,
            addressed=self.addressed - before.addressed,
            adopted=self.adopted - before.adopted,
            delivered=self.delivered - before.delivered,
            held=self.held - before.held,
            requests=self.requests - before.requests,
            attempts=self.attempts - before.attempts,
            bytes=self.bytes - before.bytes,
            filtered=self.filtered - before.filtered,
            dead=self.dead - before.dead,
            latency=self.latency - before.latency,
        )


@dataclass
class Tally:
    """Counts of one bundle."""

    received: int = 0
    invalid: Counter[str] = field(default_factory=Counter)
    connectors: dict[str, ConnectorTally] = field(default_factory=dict)

    def of(self, connector: str) -> ConnectorTally:
        found = self.connectors.get(connector)
        if found is None:
            found = self.connectors[connector] = ConnectorTally()
        return found

    def add(self, other: "Tally") -> None:
        self.received += other.received
        self.invalid.update(other.invalid)
        for connector, tally in other.connectors.items():
            self.of(connector).add(tally)


class Ledger:
    """The sum of all tallies of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sum = Tally()
        self.unread: list[str] = []
        """What could not be read of the input, in words."""

    def enter(self, tally: Tally) -> None:
        with self._lock:
            self._sum.add(tally)

    def read(self) -> Tally:
        """A copy of the sums."""
        copy = Tally()
        with self._lock:
            copy.add(self._sum)
        return copy
