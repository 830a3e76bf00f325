"""Answers that no HTTP library gives: a reset and a drip, written to the connection itself."""

import asyncio
import socket
import struct
from http import HTTPStatus

from aiohttp import web

from sandbox.partners.site import Reply

DRIP_SECONDS = 1.0
_LINGER_ZERO = struct.pack("ii", 1, 0)


def reset(transport: asyncio.Transport) -> None:
    """Close at once, so that the client gets RST and not a proper end."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()


async def drip(transport: asyncio.Transport, reply: Reply) -> None:
    """Send the whole answer, its head included, at one byte a second, and close."""
    for byte in _raw(reply):
        transport.write(bytes([byte]))
        await asyncio.sleep(DRIP_SECONDS)
    transport.close()


def send(reply: Reply) -> web.Response:
    """An ordinary answer."""
    return web.Response(status=reply.status, body=reply.body, headers=reply.headers)


def _raw(reply: Reply) -> bytes:
    headers = {**reply.headers, "Content-Length": str(len(reply.body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + reply.body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
