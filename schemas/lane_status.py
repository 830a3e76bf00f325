"""The status of a lane of the hold: what `status.json` holds and `currents status --json` prints."""

from typing import Literal

import msgspec


class LaneStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a lane that has something held; times are RFC 3339 in UTC, to the second."""

    lane: str
    connector: str
    state: Literal["holding", "suspended", "resuming"]
    """`holding`: undelivered events wait for their next try, and fresh ones flow."""
    reason: str
    """Of the last failure, as in a dead letter: `status_503`, `timeout`, `paused`, ...; `unknown` of a
    lane that no job attends or has attended."""
    status: int | None = None
    answer: str = ""
    since: str
    """When the lane came into this state; empty where nobody knows."""
    events: int = 0
    objects: int = 0
    bytes: int = 0
    oldest: str | None = None
    """When the oldest event was published."""
    probes_failed: int = 0
    next_probe: str | None = None
    dead_letters_from: str | None = None
    """When the oldest events are buried, if nothing is delivered before."""
    set_aside: int = 0
    """Objects that were damaged or not ours."""
    attended_by: str = ""
    attended_since: str = ""
    attended_at: str = ""
    """When the job that attends the lane last said so."""
