"""Reading a partner's answer: when to come back, and what it said, fit to be shown."""

import base64
import functools
import html
import json
import re
import string
import urllib.parse
from collections.abc import Iterable, Iterator
from datetime import timezone
from email.utils import parsedate_to_datetime

from runtime.exchange import MAX_ANSWER_BYTES
from schemas.limits import MAX_DETAIL_CHARS
from sinks.sink import Answer, HttpRequest, Request

MOST_ASKED_SECONDS = 6 * 3_600.0
"""A partner's own Retry-After is honoured up to this: some give the time of day in its place."""

_KEY_CHARS = 6
"""A part of a URL that is shorter is no key: `1` or `us` stands in many an answer."""
_LONG_KEY_CHARS = 16
"""A part of a secret URL's path that is as long may be a key though no digit is in it."""
_PART_CHARS = 8
"""Of a key that is repeated in part, so much and half of it is taken out; less is no help to anybody."""
_LOOKED_AT_CHARS = 8_192
"""Of what a partner said; a few hundred are shown."""
_LONGEST_SPELLING = 12
"""Of one character of a secret, in characters."""


def retry_after_seconds(answer: Answer, now: float) -> float | None:
    """How long the partner asks to wait, given in seconds or as a date (RFC 9110, 10.2.3).

    None where it does not ask, or asks for what is no time. A date without a zone is GMT.
    """
    text = _header(answer, "retry-after")
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text), MOST_ASKED_SECONDS)
    try:
        date = parsedate_to_datetime(text)
        wait = date.replace(tzinfo=date.tzinfo or timezone.utc).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(0.0, wait), MOST_ASKED_SECONDS)


def sanitise(answer: Answer, secrets: Iterable[str]) -> str:
    """What the partner said, or the error, in printable characters and without our secrets.

    A secret that is a URL is taken out with its parts: a partner may repeat its path alone.
    """
    text = answer.detail or answer.body.decode("utf-8", "replace")
    if not text:
        return ""
    wordings = frozenset(wording for secret in secrets for wording in _wordings(str(secret)))
    is_cut = len(text) > _LOOKED_AT_CHARS or len(answer.body) >= MAX_ANSWER_BYTES
    layer = text = _masked(text[:_LOOKED_AT_CHARS], wordings)
    for _ in range(_MOST_LAYERS):
        plainer = _unescaped(layer)
        if plainer == layer:
            break
        layer = _masked(plainer, wordings)
        if layer != plainer:
            text = layer
    if is_cut:  # it may end with the beginning of a secret
        longest = max(map(len, wordings), default=0) * _LONGEST_SPELLING
        text = text[: max(0, len(text) - longest)]
    # Cut at last: before, a secret might lose its end and be taken for none.
    shown = (char if char.isprintable() else " " for char in text)
    return " ".join("".join(shown).split())[:MAX_DETAIL_CHARS]


_MASK = "[SECRET]"
_MOST_LAYERS = 3
"""Of escapes within escapes: JSON within JSON is what happens."""
_JSON_ESCAPE = re.compile(r"\\+u([0-9a-fA-F]{4})")


def _masked(text: str, wordings: frozenset[str]) -> str:
    """The text without secrets, as they are or in the usual spellings, and without halves of them."""
    for wording in sorted(wordings, key=len, reverse=True):  # one may begin another
        text = _pattern(wording).sub(_MASK, text)
    return _without_parts(text, _parts_of(wordings))


def _unescaped(text: str) -> str:
    """The text with what escapes stand for, letters and digits too, in JSON, HTML or a URL."""
    plain = _JSON_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    return urllib.parse.unquote(html.unescape(plain))


def _without_parts(text: str, parts: Iterable[str]) -> str:
    """The text without any part of a secret: the rest may stand in a header, or in another answer."""
    lower = text.translate(_LOWER)
    found = [part for part in parts if part in lower]
    if not found:
        return text
    hidden = {
        at + step for part in found for at in _places_of(part, lower) for step in range(len(part))
    }
    shown = (_HIDDEN if at in hidden else char for at, char in enumerate(text))
    return re.sub(f"{_HIDDEN}+", _MASK, "".join(shown))


@functools.lru_cache(maxsize=256)
def _parts_of(wordings: frozenset[str]) -> frozenset[str]:
    """All that is taken out of a text, in whatever way the secrets are told there."""
    told = wordings.union(*map(_encodings, wordings))
    return frozenset[str]().union(*map(_halves_of, told))


def _halves_of(secret: str) -> frozenset[str]:
    """Every half of it, or of a short one as much as is told apart from other words."""
    length = min(len(secret), max(_PART_CHARS, len(secret) // 2))
    lower = secret.translate(_LOWER)
    return frozenset(lower[at : at + length] for at in range(len(lower) - length + 1))


_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
"""Changes no length, as `str.lower` may."""
_HIDDEN = "\x00"
"""Is not printable, so that it can stand for what is taken out."""


def _places_of(part: str, text: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def spelled_out(request: Request) -> list[str]:
    """What a request says of secrets in other words than theirs: a partner may repeat it."""
    if not isinstance(request, HttpRequest):
        return []
    parts = urllib.parse.urlsplit(request.url)
    said = [f"{parts.path}?{parts.query}"] if parts.query else []
    authorization = next(
        (value for name, value in request.headers.items() if name.lower() == "authorization"), ""
    )
    token = authorization.rpartition(" ")[2]
    return [*said, *_said_by_query(parts.query), *([token] if token else [])]


@functools.lru_cache(maxsize=4_096)
def _encodings(secret: str) -> frozenset[str]:
    """What every text that has the secret in it has in it when it is told in base64 or hexadecimal."""
    content = secret.encode("utf-8", "replace")
    codes = {content.hex()}
    for before in range(3):
        code = base64.b64encode(bytes(before) + content).decode()
        # The first and last characters depend on what stands beside the secret.
        inner = code[-(-before * 8 // 6) : (len(content) + before) * 8 // 6]
        codes |= {inner, inner.replace("+", "-").replace("/", "_")}
    return frozenset(code for code in codes if len(content) >= _KEY_CHARS)


@functools.lru_cache(maxsize=4_096)
def _wordings(secret: str) -> frozenset[str]:
    """The secret and, of one that is a URL, what of it may be a key by itself."""
    try:
        parts = urllib.parse.urlsplit(secret)
    except ValueError:
        return frozenset({secret})
    if not parts.netloc:
        return frozenset({secret} - {""})
    path = {parts.path, urllib.parse.unquote(parts.path)} if len(parts.path) > _KEY_CHARS else ()
    pieces = filter(_may_be_key, map(urllib.parse.unquote, parts.path.split("/")))
    asked = [f"{parts.path}?{parts.query}", *_said_by_query(parts.query)] if parts.query else ()
    return frozenset({secret, *path, *pieces, *asked})


def _said_by_query(query: str) -> Iterator[str]:
    """The query, its parts, and their values; not those that are too short to be a key."""
    if query:
        yield query
    for name, value in urllib.parse.parse_qsl(query):
        yield f"{name}={value}"
        if len(value) >= _KEY_CHARS:
            yield value
            yield from filter(_may_be_key, value.split("/"))  # an account and its key


def _may_be_key(piece: str) -> bool:
    has_digit = any(map(str.isdigit, piece))
    return len(piece) >= (_KEY_CHARS if has_digit else _LONG_KEY_CHARS)


@functools.lru_cache(maxsize=4_096)
def _pattern(secret: str) -> re.Pattern[str]:
    """Matches it as it is, and in the spellings of URLs, HTML and JSON, mixed or not."""
    return re.compile("".join(map(_any_spelling, secret)), re.IGNORECASE)


def _any_spelling(char: str) -> str:
    if char.isascii() and char.isalnum():
        return char
    spellings = {
        char,
        urllib.parse.quote(char, safe="", errors="replace"),
        urllib.parse.quote_plus(char, errors="replace"),
        html.escape(char),
        f"&#{ord(char)};",
        f"&#x{ord(char):x};",
        json.dumps(char)[1:-1],
        "\\" + char,
        f"\\u{ord(char):04x}",
    }
    if char in _NAMED_BY_HTML:
        spellings.add(f"&{_NAMED_BY_HTML[char]};")
    if not char.isascii():
        spellings.add("\N{REPLACEMENT CHARACTER}")
    return f"(?:{'|'.join(map(re.escape, sorted(spellings, key=len, reverse=True)))})"


_NAMED_BY_HTML = {"'": "apos", "/": "sol", "=": "equals", "+": "plus", ":": "colon"}


def _header(answer: Answer, name: str) -> str | None:
    for key, value in answer.headers.items():
        if key.lower() == name:
            return value.strip()
    return None
