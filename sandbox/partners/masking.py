"""What is shown of an exchange: all that was sent and answered, without a secret."""

import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from sandbox.partners.journal import Exchange

MASK = "•••"
MAX_BODY_CHARS = 60_000
"""Of a body that is shown: a few dozen events."""

_HARMLESS_HEADERS = frozenset(
    {
        *("accept", "accept-encoding", "braze-currents-version", "connection", "content-encoding"),
        *("content-length", "content-type", "date", "host", "retry-after", "transfer-encoding"),
        *("user-agent", "x-mp-rate-limit-percentage-used"),
    }
)
_SCHEMES = frozenset({"Basic", "Bearer", "TD1"})


class Masking:
    """Hides what sites know as their credentials, and every header and query value that may be one."""

    def __init__(self, credentials: Iterable[str]) -> None:
        plain = {credential for credential in credentials if credential}
        self._hidden = sorted({form for text in plain for form in _forms(text)}, key=len)[::-1]

    def shown(self, exchange: Exchange) -> dict[str, Any]:
        """An exchange as JSON."""
        received, answer = exchange.received, exchange.answer
        return {
            "method": received.method,
            "path": self.text(received.path),
            "query": dict.fromkeys(map(self.text, received.query), MASK),
            "headers": self._headers(received.headers),
            "body": None if exchange.body is None else self._body(exchange.body),
            "body_bytes": received.body_bytes,
            "answer": answer
            and {
                "status": answer.status,
                "headers": self._headers(answer.headers),
                "body": self._body(answer.body),
            },
        }

    def hidden(self, value: Any) -> Any:
        """What can be JSON, without the credentials that sites know in any of its texts."""
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {name: self.hidden(inner) for name, inner in value.items()}
            case list() | tuple():
                return [self.hidden(inner) for inner in value]
            case _:
                return value

    def text(self, text: str) -> str:
        """A text without the credentials that sites know."""
        for secret in self._hidden:
            text = text.replace(secret, MASK)
        return text

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {self.text(name): self._header(name, value) for name, value in headers.items()}

    def _header(self, name: str, value: str) -> str:
        if name.lower() in _HARMLESS_HEADERS:
            return self.text(value)
        scheme = value.partition(" ")[0]
        return f"{scheme} {MASK}" if scheme in _SCHEMES else MASK

    def _body(self, body: bytes) -> str:
        text = self.text(_readable(body))  # before it is cut: half a secret is one too
        return text if len(text) <= MAX_BODY_CHARS else text[:MAX_BODY_CHARS] + " …"


def _forms(credential: str) -> Iterator[str]:
    """A credential as it may stand in a text: plain, in a URL and in JSON."""
    yield credential
    yield urllib.parse.quote(credential, safe="")
    yield msgspec.json.encode(credential).decode()[1:-1]


def _readable(body: bytes) -> str:
    try:
        return msgspec.json.format(body, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode(errors="replace")
