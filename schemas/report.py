"""The report of a run: a contract that tools read."""

import msgspec


class Latency(msgspec.Struct):
    """Of one attempt, in milliseconds; null before the first."""

    p50: float | None = None
    p99: float | None = None


class ConnectorReport(msgspec.Struct):
    """What became of the events of one connector: `offered + adopted` is the sum of its fates."""

    kind: str
    state: str
    proves_delivery: bool
    offered: int = 0
    adopted: int = 0
    delivered: int = 0
    filtered: dict[str, int] = {}
    dead: dict[str, int] = {}
    held: int = 0
    requests: int = 0
    attempts: int = 0
    bytes: int = 0
    latency_ms: Latency = msgspec.field(default_factory=Latency)

    @property
    def balanced(self) -> bool:
        fates = self.delivered + sum(self.filtered.values()) + sum(self.dead.values()) + self.held
        return self.offered + self.adopted == fates


class Report(msgspec.Struct):
    """One run, or a stretch of a streaming run that goes on."""

    started: str
    finished: str
    runner: str
    received: int
    invalid: int
    connectors: dict[str, ConnectorReport]
    balanced: bool
