"""Answers that no HTTP library gives: connections that break, drip and lie, byte by byte."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Literal

from aiohttp import web

from sandbox.partners.site import Reply

DRIP_SECONDS = 1.0
LONG_ANSWER_BYTES = 1 << 30

AtHead = Literal[
    "reset_at_head",  # reset when the head of a request has come; its body is not read
    "reset_in_body",  # reset when a part of the body has been read
    "slow_body",  # the body is read at a byte a second
    "early_answer",  # answered when its head has come; its body is not read
]
"""What happens to a request before it is whole, so that nothing of it is kept."""

Wire = (
    AtHead
    | Literal[
        "interim",  # 100 and 103 come before the answer
        "reset_in_answer",  # reset when a part of the answer has been sent
        "cut_short",  # the connection ends before the answer does
        "no_length",  # the answer is as long as the connection lasts, which is HTTP/1.0
        "bad_chunks",  # the answer is chunked, and a chunk has no length
        "no_http",  # the answer is another protocol's
        "long_answer",  # a gigabyte is promised, and comes
        "surplus",  # a second answer, 200, follows the first
        "close",  # the connection ends after the answer, which did not say so
    ]
)

_LINGER_ZERO = struct.pack("ii", 1, 0)
_INTERIM = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
)
_SURPLUS = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def break_off(request: web.Request, wire: Wire | None) -> web.StreamResponse:
    """Fail before the request is whole; what is returned goes nowhere."""
    if wire == "slow_body":
        while await request.content.read(1):
            await asyncio.sleep(DRIP_SECONDS)
    elif wire == "reset_in_body":
        await request.content.read(1)
    reset(request)
    return web.Response()


def begin(request: web.Request, wire: Wire | None) -> None:
    """What is sent before the request is looked at."""
    if wire == "interim":
        _transport(request).write(_INTERIM)


async def answer(request: web.Request, reply: Reply, wire: Wire | None) -> web.StreamResponse:
    """Answer, or begin to."""
    way = _WAYS.get(wire or "")
    return send(reply) if way is None else await way(request, reply)


def reset(request: web.Request) -> None:
    """Close at once, so that the client gets RST and not a proper end."""
    transport = _transport(request)
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()


async def drip(request: web.Request, reply: Reply) -> None:
    """Send the whole answer, its head included, at one byte a second, and close."""
    transport = _transport(request)
    for byte in _raw(reply):
        transport.write(bytes([byte]))
        await asyncio.sleep(DRIP_SECONDS)
    transport.close()


def send(reply: Reply) -> web.Response:
    """An ordinary answer."""
    return web.Response(status=reply.status, body=reply.body, headers=reply.headers)


def _transport(request: web.Request) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError("the client has left")
    return request.transport


async def _reset_in_answer(request: web.Request, reply: Reply) -> web.StreamResponse:
    raw = _raw(reply)
    _transport(request).write(raw[: len(raw) // 2])
    reset(request)
    return web.Response()


async def _early_answer(request: web.Request, reply: Reply) -> web.StreamResponse:
    return _say(request, _raw(reply))


async def _cut_short(request: web.Request, reply: Reply) -> web.StreamResponse:
    return _say(request, _raw(reply, {"Content-Length": str(len(reply.body) + 100)}))


async def _no_length(request: web.Request, reply: Reply) -> web.StreamResponse:
    head = f"HTTP/1.0 {reply.status} {_phrase(reply.status)}\r\n\r\n"
    return _say(request, head.encode() + reply.body)


async def _bad_chunks(request: web.Request, reply: Reply) -> web.StreamResponse:
    head, _, _ = _raw(reply, {"Transfer-Encoding": "chunked"}).partition(b"\r\n\r\n")
    return _say(request, head + b"\r\n\r\nzz\r\nhello\r\n0\r\n\r\n")


async def _no_http(request: web.Request, _: Reply) -> web.StreamResponse:
    return _say(request, b"220 mail.example.com ESMTP\r\n")


async def _long_answer(request: web.Request, reply: Reply) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = LONG_ANSWER_BYTES
    await response.prepare(request)
    piece = b"x" * 65_536
    with contextlib.suppress(ConnectionResetError):  # the client has heard enough
        for _ in range(LONG_ANSWER_BYTES // len(piece)):
            await response.write(piece)
    return response


async def _surplus(request: web.Request, reply: Reply) -> web.StreamResponse:
    response = await _sent(request, reply)
    _transport(request).write(_SURPLUS)
    return response


async def _close(request: web.Request, reply: Reply) -> web.StreamResponse:
    response = await _sent(request, reply)
    _transport(request).close()
    return response


_WAYS: Mapping[str, Callable[[web.Request, Reply], Awaitable[web.StreamResponse]]] = {
    "early_answer": _early_answer,
    "reset_in_answer": _reset_in_answer,
    "cut_short": _cut_short,
    "no_length": _no_length,
    "bad_chunks": _bad_chunks,
    "no_http": _no_http,
    "long_answer": _long_answer,
    "surplus": _surplus,
    "close": _close,
}


async def _sent(request: web.Request, reply: Reply) -> web.StreamResponse:
    response = send(reply)
    await response.prepare(request)
    await response.write_eof()
    return response


def _say(request: web.Request, raw: bytes) -> web.StreamResponse:
    """Send these bytes and end the connection; what is returned goes nowhere."""
    transport = _transport(request)
    transport.write(raw)
    transport.close()
    return web.Response()


def _raw(reply: Reply, more: Mapping[str, str] | None = None) -> bytes:
    own = {**(more or {"Content-Length": str(len(reply.body))}), "Connection": "close"}
    lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}"]
    lines += [f"{name}: {value}" for name, value in {**reply.headers, **own}.items()]
    return "\r\n".join([*lines, "", ""]).encode() + reply.body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
