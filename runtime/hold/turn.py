"""What happens in one turn of attending a lane."""

from collections import Counter
from dataclasses import dataclass, field

from runtime.hold.watch import (
    MAX_REJECTED,
    Failure,
    ProbePace,
    Watch,
    accepted,
    failed,
    rejected,
)

TURN_SECONDS = 2.0
"""How long a queue is worked on at a time, so that lanes take turns."""


@dataclass
class Turn:
    """What was found and done so far."""

    failure: Failure | None = None
    accepted: bool = False
    rejected: int = 0
    """Events that were buried as rejected since one was accepted."""
    buried: Counter[str] = field(default_factory=Counter)
    """Events that were past their deadline, by reason."""
    token_at_ms: int = 0
    """When the rate limit lets the next portion go."""

    def may_bury(self, watch: Watch) -> int:
        """How many more events may be buried as rejected before one is accepted."""
        before = 0 if self.accepted else watch.rejected
        return max(0, MAX_REJECTED - before - self.rejected)

    def accept(self) -> None:
        self.accepted = True
        self.rejected = 0

    def after(self, watch: Watch, now_ms: int, pace: ProbePace) -> Watch:
        """The watch that this turn makes of an earlier one."""
        if self.accepted:
            watch = accepted(watch, now_ms)
        if self.rejected:
            watch = rejected(watch, self.rejected, now_ms)
        if self.failure is not None:
            watch = failed(watch, self.failure, now_ms, pace)
        return watch
