"""The time of day."""

import datetime
import time


def rfc3339(ms: int) -> str:
    """A time in ms since the epoch as text, in UTC and to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms / 1_000))


def from_rfc3339(text: str) -> int | None:
    """The time in ms since the epoch that `rfc3339` wrote; None for any other text."""
    try:
        moment = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return None
    return int(moment.timestamp()) * 1_000


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return int(time.time() * 1_000)
