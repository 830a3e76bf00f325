"""Secrets that can be found again, and a partner that repeats whatever it is sent."""

import base64
import html
import json
import socket
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.runtime.wire import WireServer, serving

TOKEN = "CANARYhookTOKEN0a1b2c3d4e5f"
HOOK_KEY = "CANARYhookURLkey6f7e8d9c0b1a"
WRITE_KEY = "CANARYrudderKEY1f2e3d4c5b6a"
TD_KEY = "CANARYtreasureKEY9a8b7c6d5e"
SEGMENT_KEY = "CANARYsegmentKEY0f1e2d3c4b5a"
FEED_KEY = "CANARYfeedKEY7a6b5c4d3e2f1a"
FEED_SECRET = "CANARYfeedSECRET3c4d5e6f7a8b"
WEBHOOK_KEY = "CANARYwebhookKEY2b3c4d5e6f7a"
CANARIES = [*(TOKEN, HOOK_KEY, WRITE_KEY, TD_KEY, SEGMENT_KEY, FEED_KEY, FEED_SECRET, WEBHOOK_KEY)]

SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "as it is": str,
    "of URLs": lambda value: urllib.parse.quote(value, safe=""),
    "of URLs, every character": lambda value: "".join(f"%{byte:02X}" for byte in value.encode()),
    "of JSON": lambda value: json.dumps({"you": {"said": value}}),
    "of JSON, every character": lambda value: "".join(f"\\u{ord(char):04x}" for char in value),
    "of HTML": lambda value: f"<p>{html.escape(value)}</p>",
    "of HTML, every character": lambda value: "".join(f"&#{ord(char)};" for char in value),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 of more": lambda value: base64.b64encode(f"k:{value}\n".encode()).decode(),
    "base64 of URLs": lambda value: base64.urlsafe_b64encode(f"ab{value}".encode()).decode(),
    "hexadecimal": lambda value: value.encode().hex(),
    "upper case": str.upper,
    "its second half": lambda value: f"the key that ends in {value[len(value) // 2 :]}",
    "its first half": lambda value: f"the key that begins with {value[: len(value) // 2]}",
}


def told(canary: str, content: bytes) -> list[str]:
    """The ways in which bytes tell a secret; what a reader of them could put together again."""
    folded = content.lower()
    half = len(canary) // 2
    ways = {
        "plain": canary,
        "hexadecimal": canary.encode().hex(),
        "first half": canary[:half],
        "second half": canary[-half:],
        "URL": "".join(f"%{byte:02x}" for byte in canary.encode()),
        "JSON": "".join(f"\\u{ord(char):04x}" for char in canary),
        "JSON in JSON": "".join(f"\\\\u{ord(char):04x}" for char in canary),
        "HTML": "".join(f"&#{ord(char)};" for char in canary),
    }
    for before in range(3):  # of base64 only what does not depend on its neighbours
        code = base64.b64encode(b"x" * before + canary.encode()).decode()[4:-4]
        ways[f"base64 after {before}"] = code
    return [way for way, text in ways.items() if text.lower().encode() in folded]


def connectors(base: str, key_file: Path) -> list[dict[str, Any]]:
    """One of each kind; the first part of a path says what it is answered."""
    feed = {"key": "env:FEED_KEY", "secret": "env:FEED_SECRET"}
    quick: dict[str, Any] = {"timeout": "5 s", "batch_window": "1 s"}
    return [
        {
            "name": "hook",
            "kind": "postback",
            "url": f"{base}/400/hook",
            "token": "env:TOKEN",
            **quick,
        },
        {"name": "secret-hook", "kind": "postback", "url": "env:HOOK_URL", **quick},
        {"name": "warehouse", "kind": "rudderstack", "url": "env:RS_URL", **quick},
        {"name": "cdp", "kind": "treasure_data", "url": "env:TD_URL", **quick},
        {
            "name": "analytics",
            "kind": "segment",
            "write_key": f"file:{key_file}",
            "endpoint": f"{base}/401",
            **quick,
        },
        {
            "name": "mobile",
            "kind": "mparticle",
            "feeds": {"ios": feed, "unbound": feed},
            "endpoint": f"{base}/403",
            **quick,
        },
    ]


def environment(base: str) -> dict[str, str]:
    return {
        "TOKEN": TOKEN,
        "FEED_KEY": FEED_KEY,
        "FEED_SECRET": FEED_SECRET,
        "HOOK_URL": f"{base}/503/services/{HOOK_KEY}/x",
        "RS_URL": f"{base}/404/v1/webhook?writeKey={WRITE_KEY}",
        "TD_URL": f"{base}/500/postback/v3/event/db/table?td_write_key=1/{TD_KEY}",
        "WEBHOOK_URL": f"{base}/500/webhook/{WEBHOOK_KEY}",
    }


@contextmanager
def echoing(spellings: Iterable[str]) -> Iterator[WireServer]:
    """A partner that answers each request with what was secret in it, in one spelling after the other."""
    spell = [SPELLINGS[name] for name in spellings]
    count = iter(range(10**9))

    def answer(connection: socket.socket, request: bytes) -> None:
        number = next(count)
        said = " ".join(map(spell[number % len(spell)], _secrets_in(request)))
        status = request.split(b"/", 2)[1][:3].decode()
        head = f"HTTP/1.1 {status} No\r\nX-Said: {_secrets_in(request)[0][:14]}\r\n"
        body = said.encode()
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    with serving(answer) as server:
        yield server


def _secrets_in(request: bytes) -> list[str]:
    """The canaries of a request, as its partner reads them; what it asks for where there is none."""
    head = request.partition(b"\r\n\r\n")[0].decode()
    words = [word for line in head.splitlines() for word in line.split()]
    decoded = [_decoded(word) for word in words if word[:1].isalnum()]
    text = "\n".join([head, *decoded])
    return [canary for canary in CANARIES if canary in text] or [words[1]]


def _decoded(word: str) -> str:
    try:
        return base64.b64decode(word, validate=True).decode()
    except ValueError:
        return ""
