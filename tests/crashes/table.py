"""The table of moments: what was where when a run was killed, and what was sent twice after it."""

from dataclasses import dataclass, field

from rich.table import Table

from tests.crashes.world import CONNECTORS, Seen

_COLUMNS = (
    *("moment", "killed", "messages", "acknowledged", "delivered", "held", "buried"),
    *("files", "unsettled", "sent twice"),
)


@dataclass
class Moments:
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, moment: str, how: str, before: Seen, after: Seen) -> None:
        """Add a kill; `after` is when all was made good."""
        acknowledged = len(before.published) - len(before.unacknowledged)
        ids = (before.delivered, before.held, before.buried)
        hooks = sum(len(before.delivered[name]) for name in CONNECTORS if name != "lake")
        held, buried = (sum(map(len, kind.values())) for kind in ids[1:])
        figures = (
            *(len(before.published), acknowledged, hooks, held, buried),
            *(len(before.delivered["lake"]), unsettled(before), after.twice),
        )
        self.rows.append((moment, how, *(f"{figure:,}" for figure in figures)))

    def table(self, title: str) -> Table:
        table = Table(title=title)
        for number, name in enumerate(_COLUMNS):
            table.add_column(name, justify="left" if number < 2 else "right")
        for row in self.rows:
            table.add_row(*row)
        return table


def unsettled(seen: Seen) -> int:
    """Deliveries that were made and could be made again: of messages not acknowledged, or still held."""
    return sum(
        event_id in seen.unacknowledged or event_id in seen.held.get(name, ())
        for name in CONNECTORS
        for event_id in seen.delivered[name]
    )
