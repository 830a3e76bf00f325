"""A server on a loopback socket that says, byte for byte, what a test tells it to say."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Script = Callable[[socket.socket, bytes], None]
"""Answers a request that came on a connection."""

DEADLINE_SECONDS = 20.0


class WireServer:
    """Takes connections and counts them."""

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for connection in self._open:
            _hang_up(connection)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=[connection])
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket) -> None:
        raw.settimeout(DEADLINE_SECONDS)
        try:
            connection = self._context.wrap_socket(raw, server_side=True) if self._context else raw
        except OSError:
            raw.close()
            return
        self._open.append(connection)
        with connection:
            try:
                self._answer(connection)
            except OSError:
                _hang_up(connection)

    def _answer(self, connection: socket.socket) -> None:
        while request := read_request(connection):
            self.requests.append(request)
            self._script(connection, request)


@contextmanager
def serving(script: Script, context: ssl.SSLContext | None = None) -> Iterator[WireServer]:
    server = WireServer(script, context)
    try:
        yield server
    finally:
        server.close()


def says(answer: bytes) -> Script:
    """A script that answers every request alike."""
    return lambda connection, _: connection.sendall(answer)


def echo(connection: socket.socket, request: bytes) -> None:
    """A script that answers a request with its own body."""
    connection.sendall(ok(request.partition(b"\r\n\r\n")[2]))


def ok(body: bytes = b"ok", head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


def read_request(connection: socket.socket) -> bytes:
    """One request with a body of a given length; nothing when the client has left."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (more := connection.recv(65_536)):
            return b""
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"]
    while len(body) < int(lengths[0] if lengths else 0):
        if not (more := connection.recv(65_536)):
            return b""
        body += more
    return head + b"\r\n\r\n" + body


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # is gone already
