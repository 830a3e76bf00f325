"""Figures in the log, an object a line: what dashboards count by connector, however many there are."""

from typing import Literal

import msgspec


class ConnectorFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What one process did for a connector in so many seconds."""

    event: Literal["figures"] = "figures"
    connector: str
    kind: str
    seconds: int
    offered: int
    adopted: int
    delivered: int
    filtered: int
    dead: int
    held: int
    """Put into the hold, less what left it."""
    requests: int
    """Sent, whatever came of them."""
    failed: int
    """Those of them that were not answered as delivered."""
    bytes: int
    p50_ms: float | None
    p99_ms: float | None
    """Of one request; null where none was sent."""


class DeadFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Events or messages that were buried in that time for one reason."""

    event: Literal["dead_letters"] = "dead_letters"
    connector: str
    """Empty for what could not be decoded."""
    reason: str
    count: int


class HeldFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a lane of the hold has at the moment."""

    event: Literal["held"] = "held"
    connector: str
    lane: str
    state: Literal["holding", "suspended", "resuming"]
    reason: str
    held_events: int
    held_bytes: int
    oldest_seconds: int
    """The age of the oldest event."""
    dead_letters_in_seconds: int | None
    """Negative where they are due; null where nothing can be told."""
