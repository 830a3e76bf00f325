"""An alert: what a person should know of a lane of the hold, for the log and for a webhook."""

from typing import Literal

import msgspec

AlertEvent = Literal["suspended", "resumed", "expiring", "burying"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What has happened to a lane; times are RFC 3339 in UTC, to the second."""

    event: AlertEvent
    """`expiring`: the oldest held events are soon buried. `burying`: some were."""
    lane: str
    connector: str
    kind: str | None = None
    """Null where the connector is not configured any more."""
    reason: str = ""
    """Of the lane's last failure, as in a dead letter."""
    status: int | None = None
    answer: str = ""
    """What the partner said, without our secrets."""
    held_events: int = 0
    oldest: str | None = None
    """When the oldest held event was published."""
    dead_letters_from: str | None = None
    buried: dict[str, int] = {}
    """Events by the reason of their dead letters, since the last alert that told of any."""
    contact: str | None = None
    """Whom the connector's settings name."""
    at: str

    @property
    def sentence(self) -> str:
        """The alert in words, on one line whatever the lane is called."""
        said = {
            "suspended": f"is suspended: {self.reason}; {self.held_events} events are held",
            "resumed": f"has resumed; {self.held_events} events are held",
            "expiring": f"begins dead-lettering at {self.dead_letters_from}: "
            f"{self.held_events} events are held",
            "burying": f"has buried {_counts(self.buried)}; {self.held_events} events are held",
        }
        return f"lane {self.lane!r} {said[self.event]}"


def _counts(buried: dict[str, int]) -> str:
    by_reason = ", ".join(f"{count} {reason}" for reason, count in sorted(buried.items()))
    return f"{sum(buried.values())} events ({by_reason})"
