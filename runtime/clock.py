"""The time of day."""

import time


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return int(time.time() * 1_000)
