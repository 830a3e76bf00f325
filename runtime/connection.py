"""One connection to a partner: how it is made, and how a request and its answer go over it.

Its socket never blocks: whatever cannot be done at once is waited for, up to the exchange's
deadline, so that a partner that does a little at a time stretches nothing.
"""

import contextlib
import errno
import functools
import os
import select
import socket
import ssl
import time
from typing import Any

from runtime.address import AddressPolicy
from runtime.answer_parser import AnswerParser
from runtime.cutoff import Cutoff, DeadlinePassed, ExchangeFailed
from runtime.lookups import Lookups
from runtime.request_head import Origin

_READ_BYTES = 65_536
"""More than a TLS record has, so that OpenSSL keeps nothing back that a poll would not tell of."""
_WRITE_BYTES = 262_144

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """A connected socket, encrypted or not, over which one exchange is made after the other."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._is_encrypted = isinstance(sock, ssl.SSLSocket)
        self._since = time.monotonic()
        self._readable = _Watch(sock, select.POLLIN)
        self._writable = _Watch(sock, select.POLLOUT)
        self._either = _Watch(sock, select.POLLIN | select.POLLOUT)

    def is_usable(self, most_seconds: float) -> bool:
        """Whether it is not too old and nothing has come: no end, and nothing that nobody asked for."""
        return time.monotonic() - self._since <= most_seconds and not self._readable.is_ready()

    def close(self) -> None:
        self._socket.close()

    def exchange(self, head: bytes, body: bytes, parser: AnswerParser, cutoff: Cutoff) -> None:
        """Send a request and feed the parser until its answer is whole.

        Afterwards the parser's `is_last` says whether the connection is of no more use.

        Raises:
            DeadlinePassed: the deadline passed before.
            ExchangeFailed: what came is no answer.
            OSError: the connection broke.
        """
        try:
            unsent = self._send_at_once(head, body)
            if unsent:
                self._send(unsent, parser, cutoff)
            self._receive_all(parser, cutoff)
        except OSError:
            if not self._was_refused(parser, cutoff):
                raise

    def _send_at_once(self, head: bytes, body: bytes) -> memoryview | None:
        """Send what goes without waiting, mostly everything; returns what does not."""
        sent = 0
        if not self._is_encrypted:
            try:
                sent = self._socket.sendmsg((head, body))
            except BlockingIOError:
                pass
            else:
                if sent == len(head) + len(body):
                    return None
        return memoryview(head + body)[sent:]

    def _send(self, unsent: memoryview, parser: AnswerParser, cutoff: Cutoff) -> None:
        """Send it all, unless the partner refuses it meanwhile.

        Success that is reported before the end was sent counts once the end is sent.
        """
        while unsent:
            if parser.is_whole:
                self._writable.wait(cutoff)
            elif self._either.wait(cutoff) != select.POLLOUT:
                self._receive(parser)
            if parser.is_whole and parser.is_refusal:
                parser.is_last = True
                return
            with contextlib.suppress(*_NOT_NOW):
                unsent = unsent[self._socket.send(unsent[:_WRITE_BYTES]) :]

    def _receive_all(self, parser: AnswerParser, cutoff: Cutoff) -> None:
        while not parser.is_whole:
            self._readable.wait(cutoff)
            self._receive(parser)

    def _receive(self, parser: AnswerParser) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except _NOT_NOW:
            return
        if data:
            parser.feed(data)
        else:
            parser.end()

    def _was_refused(self, parser: AnswerParser, cutoff: Cutoff) -> bool:
        """Whether the partner had refused the request before the connection broke.

        Who refuses a long request ends the connection while it is still being sent: what was said
        before can be read nevertheless, or as much of it as says that it is a refusal.
        """
        parser.is_last = True
        with contextlib.suppress(OSError, ExchangeFailed):
            self._receive_all(parser, cutoff)
        return parser.is_refusal


class Dialer:
    """Makes connections: to addresses that were checked, and not to what a name may lead to later."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._lookups = Lookups()

    def connect(self, origin: Origin, cutoff: Cutoff) -> Connection:
        """Connect to the first address of the origin that takes it.

        Raises:
            AddressRefused: by the policy.
            DeadlinePassed: the deadline passed before.
            ExchangeFailed: the name is none.
            OSError: the name was not found, no address takes a connection, or TLS does not begin.
        """
        failure: OSError | DeadlinePassed | None = None
        found = self._lookups.find(origin.host, origin.port, cutoff)
        for tried, (*kind, _, address) in enumerate(found):
            self._policy.check(str(address[0]), origin.is_encrypted)
            try:  # one that hangs leaves time for those after it
                sock = _connect(kind, address, cutoff.part(len(found) - tried))
            except (OSError, DeadlinePassed) as error:
                failure = error
                continue
            return Connection(self._encrypt(sock, origin, cutoff) if origin.is_encrypted else sock)
        raise failure or ExchangeFailed("the host name leads to no address")

    @functools.cached_property
    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _encrypt(self, sock: socket.socket, origin: Origin, cutoff: Cutoff) -> ssl.SSLSocket:
        name = origin.host.partition("%")[0]
        try:
            encrypted = self._context.wrap_socket(
                sock, server_hostname=name, do_handshake_on_connect=False
            )
        except ValueError:
            sock.close()
            raise ExchangeFailed("the host name is no valid name") from None
        try:
            _shake_hands(encrypted, cutoff)
        except BaseException:
            encrypted.close()
            raise
        return encrypted


class _Watch:
    """Tells when a socket is ready for something."""

    def __init__(self, sock: socket.socket, events: int) -> None:
        self._poll = select.poll()
        self._poll.register(sock, events)

    def is_ready(self) -> bool:
        return bool(self._poll.poll(0))

    def wait(self, cutoff: Cutoff) -> int:
        """What it is ready for; errors and ends come on top of what was asked for."""
        while not (ready := self._poll.poll(cutoff.seconds_left() * 1_000)):
            pass
        return ready[0][1]


def _connect(kind: list[int], address: Any, cutoff: Cutoff) -> socket.socket:
    sock = socket.socket(*kind)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        _reach(sock, address, cutoff)
    except BaseException:
        sock.close()
        raise
    return sock


def _reach(sock: socket.socket, address: Any, cutoff: Cutoff) -> None:
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        _Watch(sock, select.POLLOUT).wait(cutoff)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _shake_hands(sock: ssl.SSLSocket, cutoff: Cutoff) -> None:
    readable, writable = _Watch(sock, select.POLLIN), _Watch(sock, select.POLLOUT)
    while True:
        try:
            return sock.do_handshake()
        except ssl.SSLWantReadError:
            readable.wait(cutoff)
        except ssl.SSLWantWriteError:
            writable.wait(cutoff)
