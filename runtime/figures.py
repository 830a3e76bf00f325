"""Figures in the log: a line a minute for each connector that did something, and for each lane held.

Beam's counters are kept by connector for up to 100 connectors; these are in any case, and they tell of
partners' latency and errors, of dead letters by reason, and of how old what is held is.
"""

import logging
import time
from collections.abc import Callable

import msgspec

from runtime.clock import from_rfc3339, is_recent
from runtime.connectors import Config
from runtime.ledger import ConnectorTally, Tally
from schemas.figures import ConnectorFigures, DeadFigures, HeldFigures
from schemas.lane_status import LaneStatus

EVERY_SECONDS = 60.0

_logger = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class FiguresLog:
    """Says what was done since it was last said."""

    def __init__(
        self,
        read: Callable[[], Tally],
        config: Callable[[], Config],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._config = config
        self._clock = clock
        self._before = Tally()
        self._told_at = clock()

    def tell(self) -> None:
        tally, now = self._read(), self._clock()
        seconds, self._told_at = round(now - self._told_at), now
        before, self._before = self._before, tally
        connectors = self._config().connectors
        for name, counts in tally.connectors.items():
            done = counts.since(before.connectors.get(name, ConnectorTally()))
            entry = connectors.get(name)
            kind = entry.settings.kind if entry else "removed"
            if done != ConnectorTally():
                _say(f"connector {name}", _figures(name, kind, seconds, done))
            for reason, count in done.dead.items():
                _say("dead letters", DeadFigures(connector=name, reason=reason, count=count))
        for reason, count in (tally.invalid - before.invalid).items():
            _say("dead letters", DeadFigures(connector="", reason=reason, count=count))


class LaneFigures:
    """Says what a lane holds, at most once a minute."""

    def __init__(self) -> None:
        self._told_ms: int | None = None

    def look(self, status: LaneStatus | None, now_ms: int) -> None:
        if status is None or is_recent(self._told_ms, now_ms, int(EVERY_SECONDS * 1_000)):
            return
        self._told_ms = now_ms
        _say(f"lane {status.lane!r} holds", held_figures(status, now_ms))


def held_figures(status: LaneStatus, now_ms: int) -> HeldFigures:
    """The figures in a lane's status."""
    oldest_ms = from_rfc3339(status.oldest or "")
    letters_ms = from_rfc3339(status.dead_letters_from or "")
    return HeldFigures(
        connector=status.connector,
        lane=status.lane,
        state=status.state,
        reason=status.reason,
        held_events=status.events,
        held_bytes=status.bytes,
        oldest_seconds=0 if oldest_ms is None else (now_ms - oldest_ms) // 1_000,
        dead_letters_in_seconds=None if letters_ms is None else (letters_ms - now_ms) // 1_000,
    )


def _figures(name: str, kind: str, seconds: int, done: ConnectorTally) -> ConnectorFigures:
    return ConnectorFigures(
        connector=name,
        kind=kind,
        seconds=seconds,
        offered=done.offered,
        adopted=done.adopted,
        delivered=done.delivered,
        filtered=done.filtered.total(),
        dead=done.dead.total(),
        held=done.held,
        requests=done.attempts,
        failed=max(0, done.attempts - done.requests),
        bytes=done.bytes,
        p50_ms=done.latency_ms(0.5),
        p99_ms=done.latency_ms(0.99),
    )


def _say(sentence: str, figures: msgspec.Struct) -> None:
    _logger.info("%s %s", sentence, _encode(figures).decode())
