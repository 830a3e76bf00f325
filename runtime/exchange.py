"""One HTTP exchange with a partner: checked address, one deadline for all of it, bounded answer.

urllib3 is used directly: both the address check and the deadline live in its connection classes.
"""

import contextlib
import heapq
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from runtime.address import AddressPolicy, AddressRefused
from sinks.sink import Answer, HttpRequest

MAX_ANSWER_BYTES = 65_536
"""What is read of an answer; partners say what they have to say in far less."""

_USER_AGENT = "currents-pipeline"


class HttpExchange:
    """Sends requests over kept-alive connections; one a process, safe to share by threads."""

    def __init__(self, policy: AddressPolicy, connections_per_host: int) -> None:
        self._watchdog = _Watchdog()
        self._pools = urllib3.PoolManager(
            num_pools=1_024, maxsize=connections_per_host, timeout=None
        )
        self._guard = threading.local()
        shared = {"policy": policy, "guard": self._guard}
        self._pools.pool_classes_by_scheme = {
            "http": _pool_class(HTTPConnectionPool, HTTPConnection, shared),
            "https": _pool_class(HTTPSConnectionPool, HTTPSConnection, shared),
        }

    def send(self, request: HttpRequest, timeout_seconds: float) -> Answer:
        """Make the exchange and say what came back; never raises for what a network does.

        Redirects are not followed, so that no credential goes where it was not meant to go.
        """
        with self._watchdog.watch(timeout_seconds) as watch:
            self._guard.watch = watch
            try:
                answer = self._exchange(request)
            except AddressRefused as error:
                return Answer(error="address", detail=str(error))
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                return _answer_of(error, watch)
            finally:
                self._guard.watch = None
        # http.client takes the end of a connection for the end of the headers, so that an answer
        # which was cut at the deadline can look whole.
        return _timed_out(watch) if watch.expired else answer

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


def _answer_of(error: Exception, watch: "_Watch") -> Answer:
    refused = _find(error, AddressRefused)
    if refused is not None:
        return Answer(error="address", detail=str(refused))
    if watch.expired:
        return _timed_out(watch)
    # The text of a network error may hold the URL, and the URL may hold a key: the type has to do.
    cause = _find(error, OSError)
    said = (cause.strerror if isinstance(cause, OSError) else None) or type(error).__name__
    return Answer(error="network", detail=said)


def _timed_out(watch: "_Watch") -> Answer:
    return Answer(error="timeout", detail=f"no answer within {watch.seconds:g} s")


def _find(error: BaseException | None, kind: type[Exception]) -> BaseException | None:
    while error is not None and not isinstance(error, kind):
        reason = getattr(error, "reason", None)
        error = (
            reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
        )
    return error


class _Watch:
    """The deadline of one exchange: at it, the exchange's socket is shut."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self.deadline

    def attach(self, sock: socket.socket) -> None:
        """Watch over the connection: a copy of its handle, which survives a TLS handshake."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = socket.socket(fileno=socket.dup(sock.fileno()))
            if self.expired:
                self._shut()

    def expire(self) -> None:
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
        self._due: list[tuple[float, int, _Watch]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextlib.contextmanager
    def watch(self, seconds: float) -> Iterator[_Watch]:
        watch = _Watch(seconds)
        with self._changed:
            heapq.heappush(self._due, (watch.deadline, next(self._order), watch))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            if self._due[0][2] is watch:
                self._changed.notify()
        try:
            yield watch
        finally:
            watch.release()

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
                    heapq.heappop(self._due)[2].expire()
                self._changed.wait(min(60.0, self._due[0][0] - now) if self._due else None)


def _pool_class(pool: type[Any], connection: type[Any], shared: dict[str, Any]) -> type[Any]:
    """A connection pool whose connections check addresses and are watched over."""
    guarded = type(f"Guarded{connection.__name__}", (_GuardedConnection, connection), shared)
    return type(f"Guarded{pool.__name__}", (pool,), {"ConnectionCls": guarded})


class _GuardedConnection:
    """Mixed into urllib3's connections; `policy` and `guard` are set by `_pool_class`."""

    policy: AddressPolicy
    guard: threading.local
    host: str
    port: int
    sock: socket.socket | None
    socket_options: Any

    def _new_conn(self) -> socket.socket:
        """Connect to an address that was checked, and not to what the name may lead to later."""
        encrypted = isinstance(self, HTTPSConnection)
        failure: OSError | None = None
        host = self.host.strip("[]")
        for family, kind, proto, _, address in _resolve(host, self.port):
            self.policy.check(str(address[0]), encrypted)
            try:
                return self._connect(socket.socket(family, kind, proto), address)
            except OSError as error:
                failure = error
        raise failure or OSError("the host name leads to no address")

    def _connect(self, sock: socket.socket, address: Any) -> socket.socket:
        watch: _Watch = self.guard.watch
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(max(0.001, watch.deadline - time.monotonic()))
            sock.connect(address)
            sock.settimeout(None)
            watch.attach(sock)  # not before: what is not connected yet cannot be shut
        except BaseException:
            sock.close()
            raise
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            self.guard.watch.attach(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]


def _resolve(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError("the host name is no valid name") from None
