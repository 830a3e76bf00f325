"""What goes out before a request's body, and where to."""

import functools
import re
from typing import NamedTuple

from urllib3.util import parse_url

from runtime.cutoff import ExchangeFailed

_PORTS = {"http": 80, "https": 443}
_DEFAULTS = {"Accept-Encoding": "identity", "User-Agent": "currents-pipeline"}
_OURS = {"host", "content-length", "transfer-encoding"}
"""Headers that nobody else sets: were there two of one, the partner might go by the other."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[!-~]+")
_VALUE = re.compile(r"[^\0\r\n\u0100-\U0010ffff]*")
"""One line of latin-1: what begins a new one would be a header that nobody asked for."""


class Origin(NamedTuple):
    """Whom to connect to; requests to the same one share connections."""

    is_encrypted: bool
    host: str
    """A name, or an IP address without brackets."""
    port: int


class RequestHead:
    """The head of all requests with one method, URL and headers; may hold secrets, so it prints none."""

    __slots__ = ("_start", "origin")

    def __init__(self, origin: Origin, start: bytes) -> None:
        self.origin = origin
        self._start = start

    def of(self, body: bytes) -> bytes:
        """The head of the request with this body."""
        return b"%bContent-Length: %d\r\n\r\n" % (self._start, len(body))


@functools.lru_cache(maxsize=1_024)  # a deployment has a few for each of its connectors
def head_of(method: str, url: str, headers: tuple[tuple[str, str], ...]) -> RequestHead:
    """Put together what requests have in common; the URL is read as urllib3 reads one.

    Raises:
        ExchangeFailed: it cannot be sent.
    """
    try:
        parts = parse_url(url)
    except ValueError:
        raise ExchangeFailed("the URL is no valid one") from None
    scheme, host = parts.scheme, (parts.host or "").rstrip(".")
    if scheme not in _PORTS or not host:
        raise ExchangeFailed("the URL is not of http or https, or has no host")
    port = parts.port or _PORTS[scheme]
    named = host if port == _PORTS[scheme] else f"{host}:{port}"
    fields = {"Host": named, **_DEFAULTS, **_checked(headers)}
    lines = [_request_line(method, parts.request_uri), *map(": ".join, fields.items())]
    start = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
    return RequestHead(Origin(scheme == "https", host.strip("[]"), port), start)


def _request_line(method: str, target: str) -> str:
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise ExchangeFailed("the request's method or URL cannot be sent")
    return f"{method} {target} HTTP/1.1"


def _checked(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value) or name.lower() in _OURS:
            raise ExchangeFailed("the request has a header that cannot be sent")
    return dict(headers)
