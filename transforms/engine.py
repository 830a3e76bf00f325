"""What the steps need to know of the engine that runs them."""

import enum
import time

from apache_beam.transforms.window import GlobalWindow

from runtime.clock import steady_seconds


class Engine(enum.Enum):
    """How a run reads, and who acknowledges what it read."""

    BOUNDED = "bounded"
    """Files, or what is held: ends by itself; no state, no timers (they lose data on FnApiRunner)."""
    DIRECT = "direct"
    """Pub/Sub on DirectRunner: one thread, one process; we acknowledge after the effect."""
    DISTRIBUTED = "distributed"
    """Pub/Sub on Dataflow: many processes; the engine acknowledges when it commits."""
    PORTABLE = "portable"
    """Pub/Sub on an engine behind Beam's Job API (Flink): we read, and acknowledge what it has committed."""

    def now(self) -> float:
        """What its REAL_TIME timers go by, in seconds since the epoch.

        On DirectRunner that is a clock which nobody puts back (`read_through` gives it to Beam):
        else every lane would stand still until the time of day has come back to where it was.
        """
        return steady_seconds() if self is Engine.DIRECT else time.time()


END_OF_INPUT = GlobalWindow().end
"""To what a WATERMARK timer is set that looks after what is left when the source has ended."""
