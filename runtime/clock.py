"""The time of day."""

import datetime
import time

from schemas.limits import MAX_TIME_SECONDS


def rfc3339(ms: int) -> str:
    """A time in ms since the epoch as text, in UTC and to the second.

    What lies outside of the years 1970 to 9999 is told as the nearest of them: the times of a file
    that somebody else has named may be any.
    """
    ms = max(0, min(ms, MAX_TIME_SECONDS * 1_000))
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


_BEGAN = time.time() - time.monotonic()


def steady_seconds() -> float:
    """Seconds since the epoch by a clock that was right when the process began and never jumps."""
    return _BEGAN + time.monotonic()


def is_recent(moment_ms: int | None, now_ms: int, span_ms: int) -> bool:
    """Whether something was less than `span_ms` ago; not where the clock was put back since."""
    return moment_ms is not None and 0 <= now_ms - moment_ms < span_ms
