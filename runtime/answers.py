"""Reading a partner's answer: when to come back, and what it said, fit to be shown."""

import re
import urllib.parse
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

import msgspec

from schemas.limits import MAX_DETAIL_CHARS
from sinks.sink import Answer, HttpRequest, Request

_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd]+")

_LONGEST_SECONDS = 1e9
"""Whoever asks for more asks for ever."""


def retry_after_seconds(answer: Answer, now: float) -> float | None:
    """How long the partner asks to wait, given in seconds or as a date (RFC 9110, 10.2.3).

    None where it does not ask, or asks for what is no time.
    """
    text = _header(answer, "retry-after")
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_SECONDS)
    try:
        wait = parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(0.0, wait), _LONGEST_SECONDS)


def sanitise(answer: Answer, secrets: Iterable[str]) -> str:
    """What the partner said, or the error, in printable characters and without our secrets."""
    text = answer.detail or answer.body[: 8 * MAX_DETAIL_CHARS].decode("utf-8", "replace")
    for secret in sorted(secrets, key=len, reverse=True):  # one may begin another
        for spelling in _spellings(secret):
            text = text.replace(spelling, "[SECRET]")
    return " ".join(_UNPRINTABLE.sub(" ", text).split())[:MAX_DETAIL_CHARS]


def _spellings(secret: str) -> list[str]:
    """As it is, as in a URL, and as in JSON with and without escaped slashes; longest first."""
    in_json = msgspec.json.encode(str(secret)).decode()[1:-1]  # msgspec takes no subclass of str
    spellings = {secret, urllib.parse.quote(secret, safe=""), in_json, in_json.replace("/", "\\/")}
    return sorted(spellings - {""}, key=len, reverse=True)


def spelled_out(request: Request) -> list[str]:
    """What a request says of secrets in other words than theirs: a partner may repeat it."""
    if not isinstance(request, HttpRequest):
        return []
    parts = urllib.parse.urlsplit(request.url)
    said = [request.url, f"{parts.path}?{parts.query}", parts.query] if parts.query else []
    said += [value for _, value in urllib.parse.parse_qsl(parts.query)]
    authorization = next(
        (value for name, value in request.headers.items() if name.lower() == "authorization"), ""
    )
    return [text for text in (*said, authorization.rpartition(" ")[2]) if text]


def _header(answer: Answer, name: str) -> str | None:
    for key, value in answer.headers.items():
        if key.lower() == name:
            return value.strip()
    return None
