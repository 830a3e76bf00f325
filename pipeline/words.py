"""Figures as people read them."""


def in_words(ms: int) -> str:
    """A length of time in its two largest units: `3 d 4 h`, `6 h 12 min`, `12 min`, `45 s`."""
    seconds = max(0, ms // 1_000)
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3_600, seconds // 86_400
    if minutes < 60:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"
