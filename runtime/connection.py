"""One connection to a partner: how it is made, and how a request and its answer go over it.

Its socket never blocks: whatever cannot be done at once is waited for, up to the exchange's
deadline, so that a partner that does a little at a time stretches nothing.
"""

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
from runtime.transfer import Transfer


class Connection:
    """A connected socket, encrypted or not, over which one exchange is made after the other."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._since = time.monotonic()
        self._readable = _Watch(sock, select.POLLIN)

    def is_usable(self, most_seconds: float) -> bool:
        """Whether it is not too old and nothing has come: no end, and nothing that nobody asked for."""
        return time.monotonic() - self._since <= most_seconds and not self._readable.is_ready()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def begin(self, head: bytes, body: bytes, parser: AnswerParser) -> Transfer:
        """Send what goes of a request without waiting; the parser gets its answer.

        That the connection broke shows at the next step.
        """
        transfer = Transfer(self._socket, parser)
        transfer.begin(head, body)
        return transfer


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

    def wait(self, cutoff: Cutoff) -> None:
        while not self._poll.poll(cutoff.seconds_left() * 1_000):
            pass


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
