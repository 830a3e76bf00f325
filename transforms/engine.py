"""What the steps need to know of the engine that runs them."""

import enum


class Engine(enum.Enum):
    """How a run reads, and who acknowledges what it read."""

    BOUNDED = "bounded"
    """Files, or what is held: ends by itself; no state, no timers (they lose data on FnApiRunner)."""
    DIRECT = "direct"
    """Pub/Sub on DirectRunner: one thread, one process; we acknowledge after the effect."""
    DISTRIBUTED = "distributed"
    """Pub/Sub on Dataflow: many processes; the engine acknowledges when it commits."""
