"""How far a run is: reckoned from one look at its books to the next, and told in a line or a table."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.words import in_words
from schemas.report import ConnectorReport, Report

RATE_SECONDS = 10.0
"""Rates are those of so long."""
BAR_WIDTH = 30
AROUND_ROWS = 10
"""Lines of the table that are none of a connector's: titles, the bar, what is left out."""

_STOPPING = "stopping: what was read is delivered or held"
_STYLES = {"suspended": "red", "holding": "yellow", "resuming": "green", "removed": "red"}


@dataclass(frozen=True)
class Goal:
    """All that a run is to read."""

    total: int
    unit: Literal["bytes", "events"]

    def told(self, count: float) -> str:
        return decimal(int(count)) if self.unit == "bytes" else f"{int(count):,} events"


class Look(NamedTuple):
    """The books at one moment, in seconds of a clock that never jumps."""

    at: float
    report: Report
    done: int
    """How much of the goal is reached."""
    states: Mapping[str, str]
    """Of connectors that have a suspended or resuming lane."""
    stopping: bool = False


class Progress:
    """What one run has done, and how fast it is."""

    def __init__(self, goal: Goal | None) -> None:
        self._goal = goal
        self._looks: deque[Look] = deque()

    def take(self, look: Look) -> None:
        """Take the newest look at the books."""
        self._looks.append(look)
        while len(self._looks) > 2 and look.at - self._looks[1].at >= RATE_SECONDS:
            self._looks.popleft()

    def line(self) -> str:
        """All connectors together, for a log."""
        stopping = [_STOPPING] if self._now.stopping else []
        return ", ".join([*stopping, *self._read(), *_sums(self._now.report)])

    def table(self, height: int) -> RenderableType:
        """Each connector, as far as a terminal of this height has room, and how much is read."""
        rows = self._rows()
        room = max(1, height - AROUND_ROWS)
        shown = rows if len(rows) <= room else sorted(rows, key=self._urgency)[:room]
        parts: list[RenderableType] = [self._head(), self._table(shown)]
        if self._now.stopping:
            parts.insert(0, Text(_STOPPING, "yellow"))
        if len(shown) < len(rows):
            parts.append(Text(f"and {len(rows) - len(shown):,} more connectors", "dim"))
        if any(not connector.proves_delivery and connector.delivered for _, connector in shown):
            parts.append(Text("* answered as delivered whatever the partner keeps", "dim"))
        return Group(*parts)

    @property
    def _now(self) -> Look:
        return self._looks[-1]

    @property
    def _seconds(self) -> float:
        return self._now.at - self._looks[0].at

    def _rate(self, now: float, before: float) -> float:
        return max(0.0, now - before) / self._seconds if self._seconds else 0.0

    def _left_seconds(self, goal: Goal) -> float | None:
        rate = self._rate(self._now.done, self._looks[0].done)
        return (goal.total - self._now.done) / rate if rate else None

    def _read(self) -> Iterator[str]:
        goal = self._goal
        if goal is None or not goal.total:
            return
        share = self._now.done / goal.total
        yield f"read {share:.0%} of {goal.told(goal.total)}"
        left = self._left_seconds(goal)
        if left is not None and share < 1:
            yield f"{in_words(int(left * 1_000))} left"

    def _head(self) -> RenderableType:
        now, before = self._now.report, self._looks[0].report
        received = f"{now.received:,} messages received"
        if now.invalid:
            received += f", {now.invalid:,} of them invalid"
        rate = f"{self._rate(now.received, before.received):,.0f}/s"
        goal = self._goal
        if goal is None or not goal.total:
            return Text(f"{received}, {rate}")
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=goal.total, completed=self._now.done, width=BAR_WIDTH)
        line.add_row(bar, ", ".join([*self._read(), received, rate]))
        return line

    def _rows(self) -> list[tuple[str, ConnectorReport]]:
        return list(self._now.report.connectors.items())

    def _state(self, name: str, connector: ConnectorReport) -> str:
        return self._now.states.get(name, connector.state)

    def _urgency(self, row: tuple[str, ConnectorReport]) -> tuple[int, int]:
        """Those in trouble first, then the busiest."""
        name, connector = row
        troubled = self._state(name, connector) in _STYLES or bool(connector.dead)
        return (0 if troubled else 1, -connector.offered - connector.adopted)

    def _table(self, rows: list[tuple[str, ConnectorReport]]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("connector", overflow="ellipsis", no_wrap=True)
        table.add_column("state", no_wrap=True)
        for title in ("delivered", "a second", "held", "dead", "filtered"):
            table.add_column(title, justify="right", no_wrap=True)
        before = self._looks[0].report.connectors
        for name, connector in rows:
            state = self._state(name, connector)
            earlier = before[name].delivered if name in before else 0
            mark = "*" if connector.delivered and not connector.proves_delivery else ""
            table.add_row(
                f"{name} ({connector.kind})",
                Text(state, _STYLES.get(state, "")),
                f"{connector.delivered:,}{mark}",
                f"{self._rate(connector.delivered, earlier):,.0f}",
                Text(f"{connector.held:,}", "yellow" if connector.held else ""),
                _dead(connector),
                f"{sum(connector.filtered.values()):,}",
            )
        return table


def _dead(connector: ConnectorReport) -> Text:
    count = sum(connector.dead.values())
    return Text(f"{count:,}", "red" if count else "")


def _sums(report: Report) -> Iterator[str]:
    connectors = report.connectors.values()
    yield f"received {report.received}"
    if report.invalid:
        yield f"invalid {report.invalid}"
    yield f"delivered {sum(connector.delivered for connector in connectors)}"
    yield f"held {sum(connector.held for connector in connectors)}"
    yield f"dead {sum(sum(connector.dead.values()) for connector in connectors)}"
