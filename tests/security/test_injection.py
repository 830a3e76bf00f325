"""No text of a connector, a secret or an event changes what is asked of a partner but its own place."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from runtime.address import AddressPolicy
from runtime.connectors import Config, parse_config
from runtime.exchange import HttpExchange
from sandbox.samples import sample_event
from schemas.catalogue import canonical_event_type
from schemas.connector import Url
from schemas.event import decode_event
from sinks.sink import HttpRequest
from tests.runtime.wire import WireServer, ok, says, serving

LOCAL = AddressPolicy(allow_local=True)
OPEN = "users.messages.email.Open"
EVIL = [
    "x\r\nX-Evil: 1\r\n\r\nPOST /evil HTTP/1.1",
    "x\nX-Evil: 1",
    "x\rX-Evil: 1",
    "x\0y",
    "x\u010d\u010aX-Evil: 1",  # whose low bytes are CR and LF
    "\u2028X-Evil: 1",
    "x y\tz",
    "../../evil?evil=1#evil",
    "%0d%0aX-Evil:%201",
    '"],"evil":["',
]


def connectors(server: WireServer) -> Config:
    base = server.url.rstrip("/")
    feed = {"key": "env:A", "secret": "env:B"}
    settings: list[dict[str, Any]] = [
        {"name": "hook", "kind": "postback", "url": f"{base}/hook?q=1", "token": "env:A"},
        {"name": "warehouse", "kind": "rudderstack", "url": "env:URL"},
        {"name": "cdp", "kind": "treasure_data", "url": f"{base}/td", "write_key": "env:A"},
        {"name": "analytics", "kind": "segment", "write_key": "env:A", "endpoint": base},
        {"name": "mobile", "kind": "mparticle", "feeds": {"unbound": feed}, "endpoint": base},
    ]
    for one in settings:
        if one["kind"] in ("segment", "mparticle"):
            one["unnamed_events"] = "raw"
    config, problems = parse_config(msgspec.json.encode({"connectors": settings}), LOCAL)
    assert not problems
    return config


def evil_event(text: str) -> bytes:
    """An event that says it wherever an event says something of its own."""
    event = dict(sample_event(OPEN, 1))
    event["id"] = text
    event["user"] = dict.fromkeys(("external_user_id", "user_id", "device_id"), text)
    event["properties"] = {**dict.fromkeys(event["properties"], text), text: text, "app_id": text}
    event["properties"].pop("platform", None)
    return msgspec.json.encode(event)


def heads_of(server: WireServer, event: bytes, secrets: Mapping[str, str]) -> list[list[bytes]]:
    """What is sent before the body for an event, by each kind of partner."""
    exchange = HttpExchange(LOCAL, 8)
    server.requests.clear()
    for entry in connectors(server).connectors.values():
        header, line = decode_event(event, 900_000)
        part = entry.sink.place(header, canonical_event_type(header.event_type), "2026-01-31-23")
        assert isinstance(part, str)
        packed = entry.sink.pack([line], part, secrets)
        for request in packed.requests:
            assert isinstance(request, HttpRequest)
            exchange.send(request, 5)
    exchange.close()
    return [_lines_of(request) for request in server.requests]


def _lines_of(request: bytes) -> list[bytes]:
    lines = request.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return [line for line in lines if not line.lower().startswith(b"content-length:")]


def test_what_an_event_says_is_in_no_line_of_a_request_but_its_body() -> None:
    with serving(says(ok())) as server:
        secrets = {"env:A": "key", "env:B": "secret", "env:URL": f"{server.url}rs?writeKey=k"}
        expected = heads_of(server, evil_event("harmless"), secrets)
        assert len(expected) == 5
        for text in EVIL:
            assert heads_of(server, evil_event(text), secrets) == expected


@pytest.mark.parametrize("text", EVIL)
def test_no_secret_adds_a_line_to_a_request(text: str) -> None:
    with serving(says(ok())) as server:
        good = {"env:A": "key", "env:B": "secret", "env:URL": f"{server.url}rs?writeKey=k"}
        expected = [sorted(names_in(head)) for head in heads_of(server, evil_event("e"), good)]
        bad = {"env:A": text, "env:B": text, "env:URL": f"{server.url}rs?writeKey={text}"}
        for head in heads_of(server, evil_event("e"), bad):
            assert sorted(names_in(head)) in expected
            assert head[0].count(b" ") == 2
            assert not any(name.lower() == b"x-evil" for name in names_in(head))


def names_in(head: Sequence[bytes]) -> list[bytes]:
    return [line.partition(b":")[0] for line in head[1:]]


@pytest.mark.parametrize("text", [*(text for text in EVIL if not text.isprintable()), "x y"])
@pytest.mark.parametrize(
    "url", ["https://a.example.com/{}", "https://a{}.example.com/", "https://a.example.com/?q={}"]
)
def test_a_url_with_a_line_break_or_a_blank_in_it_is_refused(url: str, text: str) -> None:
    if not any(char <= " " or char == "\x7f" for char in text):
        text += "\n"
    with pytest.raises(ValueError, match="a URL starts with"):
        Url.parse(url.format(text))
