"""One HTTP exchange with a partner: checked address, one deadline for all of it, bounded answer.

urllib3 is used directly: both the address check and the deadline live in its connection classes.
"""

import contextlib
import functools
import heapq
import http.client
import io
import itertools
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from runtime.address import AddressPolicy, AddressRefused
from sinks.sink import Answer, HttpRequest

MAX_ANSWER_BYTES = 65_536
"""What is read of an answer; partners say what they have to say in far less."""

MAX_LOOKUPS = 256
"""So many host names are looked up at the same time; one that hangs cannot be ended."""

MAX_CONNECTION_SECONDS = 3_600
"""After that, and after an answer that is no success, a new one is made.

Its name is looked up again: partners move ("Resolve DNS at least daily; refresh the address on 5xx":
Segment, "HTTP API source"). And who sends an answer too many after an error must not have it taken for
the next request's: a 200 would lose that request's events.
"""

_USER_AGENT = "currents-pipeline"

for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.ERROR)  # else it logs URLs, and a URL may hold a key


class HttpExchange:
    """Sends requests over kept-alive connections; one a process, safe to share by threads."""

    def __init__(self, policy: AddressPolicy, connections_per_host: int) -> None:
        self._watchdog = _Watchdog()
        self._pools = urllib3.PoolManager(
            num_pools=1_024, maxsize=connections_per_host, timeout=None
        )
        self._guard = threading.local()
        shared = {"policy": policy, "guard": self._guard, "lookups": _Lookups()}
        self._pools.pool_classes_by_scheme = {
            "http": _pool_class(HTTPConnectionPool, HTTPConnection, shared),
            "https": _pool_class(HTTPSConnectionPool, HTTPSConnection, shared),
        }

    def send(self, request: HttpRequest, timeout_seconds: float) -> Answer:
        """Make the exchange and say what came back; never raises for what a network does.

        Redirects are not followed, so that no credential goes where it was not meant to go.
        """
        with self._watchdog.watch(timeout_seconds) as cutoff:
            self._guard.cutoff = cutoff
            try:
                answer = self._exchange(request)
            except AddressRefused as error:
                return Answer(error="address", detail=str(error))
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                return _answer_of(error, cutoff)
            finally:
                self._guard.cutoff = None
        # http.client takes the end of a connection for the end of the headers, so that an answer
        # which was cut at the deadline can look whole.
        return _timed_out(cutoff) if cutoff.has_passed else answer

    def close(self) -> None:
        self._pools.clear()
        self._watchdog.close()

    def _exchange(self, request: HttpRequest) -> Answer:
        response = self._pools.urlopen(
            request.method,
            request.url,
            body=request.body,
            headers={"User-Agent": _USER_AGENT, **request.headers},
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
        )
        connection, succeeded = response.connection, 200 <= response.status < 300
        if not succeeded and isinstance(connection, _GuardedConnection):
            connection.is_stale = True  # before it is given back, for another may take it then
        body = _read(response)
        if not response.closed:  # a new connection is cheaper than the rest of a long answer
            response.close()
        return Answer(response.status, dict(response.headers.items()), body)


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    """The answer's body, up to the limit; only a read at its end tells that it was cut short."""
    body = b""
    while len(body) < MAX_ANSWER_BYTES and (more := response.read(MAX_ANSWER_BYTES - len(body))):
        body += more
    return body


def _answer_of(error: Exception, cutoff: "_Cutoff") -> Answer:
    refused = _find(error, AddressRefused)
    if refused is not None:
        return Answer(error="address", detail=str(refused))
    if cutoff.has_passed:
        return _timed_out(cutoff)
    # The text of a network error may hold the URL, and the URL may hold a key: the type has to do.
    cause = _find(error, OSError)
    said = (cause.strerror if isinstance(cause, OSError) else None) or type(error).__name__
    return Answer(error="network", detail=said)


def _timed_out(cutoff: "_Cutoff") -> Answer:
    return Answer(error="timeout", detail=f"no answer within {cutoff.seconds:g} s")


def _find(error: BaseException | None, kind: type[Exception]) -> BaseException | None:
    while error is not None and not isinstance(error, kind):
        reason = getattr(error, "reason", None)
        error = (
            reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
        )
    return error


class _Cutoff:
    """The deadline of one exchange: at it, the exchange's socket is shut."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    @property
    def has_passed(self) -> bool:
        return time.monotonic() >= self.deadline

    @property
    def seconds_left(self) -> float:
        """As a timeout: a little more than nothing at the least."""
        return max(0.001, self.deadline - time.monotonic())

    def attach(self, sock: socket.socket) -> None:
        """Watch over the connection: a copy of its handle, which survives a TLS handshake."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = socket.socket(fileno=socket.dup(sock.fileno()))
            if self.has_passed:
                self._shut()

    def cut(self) -> None:
        with self._lock:
            self._shut()

    def release(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class _Watchdog:
    """One thread that ends exchanges at their deadlines; a timeout per read lets a drip go on."""

    def __init__(self) -> None:
        self._order = itertools.count()
        self._due: list[tuple[float, int, _Cutoff]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextlib.contextmanager
    def watch(self, seconds: float) -> Iterator[_Cutoff]:
        cutoff = _Cutoff(seconds)
        with self._changed:
            heapq.heappush(self._due, (cutoff.deadline, next(self._order), cutoff))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            if self._due[0][2] is cutoff:
                self._changed.notify()
        try:
            yield cutoff
        finally:
            cutoff.release()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    heapq.heappop(self._due)[2].cut()
                self._changed.wait(min(60.0, self._due[0][0] - now) if self._due else None)


def _pool_class(pool: type[Any], connection: type[Any], shared: dict[str, Any]) -> type[Any]:
    """A connection pool whose connections check addresses and are watched over."""
    guarded = type(f"Guarded{connection.__name__}", (_GuardedConnection, connection), shared)
    return type(f"Guarded{pool.__name__}", (pool,), {"ConnectionCls": guarded})


class _GuardedConnection:
    """Mixed into urllib3's connections; `_pool_class` sets what all of them share."""

    policy: AddressPolicy
    guard: threading.local
    lookups: "_Lookups"
    host: str
    port: int
    sock: socket.socket | None
    socket_options: Any
    is_stale = False
    _since = 0.0

    @property
    def is_connected(self) -> bool:
        """What urllib3 asks before it uses a connection again."""
        old = time.monotonic() - self._since > MAX_CONNECTION_SECONDS
        return super().is_connected and not self.is_stale and not old  # type: ignore[misc]

    def response_class(self, sock: socket.socket, **kwargs: Any) -> "_FinalResponse":
        """What http.client reads an answer with."""
        return _FinalResponse(sock, **kwargs)

    def _new_conn(self) -> socket.socket:
        """Connect to an address that was checked, and not to what the name may lead to later."""
        self.is_stale, self._since = False, time.monotonic()
        encrypted = isinstance(self, HTTPSConnection)
        failure: OSError | None = None
        host, cutoff = self.host.strip("[]"), self.guard.cutoff
        found = self.lookups.find(host, self.port, cutoff)
        for tried, (family, kind, proto, _, address) in enumerate(found):
            self.policy.check(str(address[0]), encrypted)
            seconds = cutoff.seconds_left / (len(found) - tried)  # one that hangs leaves time
            try:
                return self._connect(socket.socket(family, kind, proto), address, seconds)
            except OSError as error:
                failure = error
        raise failure or OSError("the host name leads to no address")

    def _connect(self, sock: socket.socket, address: Any, seconds: float) -> socket.socket:
        cutoff: _Cutoff = self.guard.cutoff
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(seconds)
            sock.connect(address)
            sock.settimeout(None)
            cutoff.attach(sock)  # not before: what is not connected yet cannot be shut
        except BaseException:
            sock.close()
            raise
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            self.guard.cutoff.attach(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


class _FinalResponse(http.client.HTTPResponse):
    """The final answer to a request: interim ones (1xx) before it are passed over.

    Were one of them taken for the answer, the final one would be read as the next request's.
    """

    def __init__(self, sock: socket.socket, **kwargs: Any) -> None:
        super().__init__(_Readable(sock), **kwargs)  # type: ignore[arg-type] # makefile will do

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200 and self.status != http.client.SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment] # as before it began
            super().begin()
        if self.status == http.client.SWITCHING_PROTOCOLS:  # what follows is no HTTP
            self.will_close = True


class _Readable:
    """A socket as far as http.client needs one to read from."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, _mode: str) -> "_Reader":
        return _Reader(self._sock)


class _Reader(io.BufferedReader):
    """Reads one answer; ends the connection if more has come than the answer, for it is nobody's."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._stream = _Stoppable(sock.makefile("rb", buffering=0))
        super().__init__(self._stream)

    def close(self) -> None:
        if not self.closed and self._has_more():
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        super().close()

    def _has_more(self) -> bool:
        self._stream.is_stopped = True
        decrypted = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0
        return decrypted or bool(self.peek(1))


class _Stoppable(io.RawIOBase):
    """A stream from which, once it is stopped, nothing more is read."""

    def __init__(self, stream: io.RawIOBase) -> None:
        self.is_stopped = False
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        return None if self.is_stopped else self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Lookups:
    """Looks host names up on threads of their own: a lookup that hangs can only be left alone.

    Who asks for a name that is being looked up waits for the same lookup: so a name that hangs
    costs one thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[tuple[str, int], Future[list[Any]]] = {}

    def find(self, host: str, port: int, cutoff: _Cutoff) -> list[Any]:
        """What `socket.getaddrinfo` says.

        Raises:
            OSError: it says nothing, or not in time.
        """
        try:
            return self._begin(host, port, cutoff).result(cutoff.seconds_left)
        except FutureTimeout:
            raise OSError("the host name was not looked up in time") from None

    def _begin(self, host: str, port: int, cutoff: _Cutoff) -> "Future[list[Any]]":
        name = host, port
        with self._changed:
            self._changed.wait_for(
                lambda: name in self._running or len(self._running) < MAX_LOOKUPS,
                cutoff.seconds_left,
            )
            if name in self._running:
                return self._running[name]
            if len(self._running) >= MAX_LOOKUPS:
                raise OSError("too many host names are being looked up")
            found: Future[list[Any]] = Future()
            look = functools.partial(self._look, name, found)
            threading.Thread(target=look, name="lookup", daemon=True).start()
            self._running[name] = found
        return found

    def _look(self, name: tuple[str, int], found: "Future[list[Any]]") -> None:
        try:
            found.set_result(socket.getaddrinfo(*name, type=socket.SOCK_STREAM))
        except UnicodeError:
            found.set_exception(OSError("the host name is no valid name"))
        except OSError as error:
            found.set_exception(error)
        finally:
            with self._changed:
                del self._running[name]
                self._changed.notify_all()
