"""Until when an event is tried: its publish time and its connector's `max_event_age`."""

from dataclasses import dataclass
from typing import Literal

from runtime.connectors import ConnectorEntry


def letter_reason(entry: ConnectorEntry | None) -> str:
    """The reason of a dead letter for an event that is past its deadline."""
    gone = entry is None or not entry.settings.enabled
    return "connector_removed" if gone else "expired"


@dataclass(frozen=True)
class Deadlines:
    """The deadlines of a deployment; times in ms since the epoch."""

    max_age_seconds: float
    late_events: Literal["bury", "deliver"] = "bury"

    def of(self, entry: ConnectorEntry | None, newest_ms: int) -> int:
        """When events of which the newest was published then are buried, if they are still held.

        Never early: what is kept together goes by its newest event.
        """
        own = entry.settings.max_event_age if entry else None
        return newest_ms + int((self.max_age_seconds if own is None else own) * 1_000)

    def has_passed(self, entry: ConnectorEntry | None, newest_ms: int, now_ms: int) -> bool:
        """Whether events of which the newest was published then are to be buried."""
        return self.of(entry, newest_ms) <= now_ms

    def refuses(self, entry: ConnectorEntry | None, newest_ms: int, now_ms: int) -> bool:
        """Whether events that arrive now are too old even to be tried."""
        return self.late_events == "bury" and self.has_passed(entry, newest_ms, now_ms)
