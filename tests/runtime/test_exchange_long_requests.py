"""Requests that are longer than a socket takes at once: a partner may say something meanwhile."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from runtime.address import AddressPolicy
from runtime.exchange import HttpExchange
from sinks.sink import Answer, HttpRequest
from tests.runtime.wire import DEADLINE_SECONDS, ok, read_request, says, serving

LONG = bytes(range(256)) * 40_000
REFUSAL = b"HTTP/1.1 413 No\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nlong"


@pytest.fixture
def exchange() -> Iterator[HttpExchange]:
    running = HttpExchange(AddressPolicy(allow_local=True), 8)
    yield running
    running.close()


def post(exchange: HttpExchange, url: str, timeout: float = DEADLINE_SECONDS) -> Answer:
    return exchange.send(HttpRequest("POST", url, {"Content-Type": "text/plain"}, LONG), timeout)


@contextmanager
def taking(act: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does something with each connection, of which it has read the first bytes.

    It ends the connection afterwards: with a reset, where anything of the request is unread.
    """

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(DEADLINE_SECONDS)
                assert connection.recv(5) == b"POST "
                act(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def read_rest(connection: socket.socket) -> bytes:
    return read_request(connection).partition(b"\r\n\r\n")[2]


def test_a_long_request_arrives_as_it_is(exchange: HttpExchange) -> None:
    with serving(says(ok())) as server:
        for _ in range(3):
            assert post(exchange, server.url).status == 200
        assert server.connections == 1
    assert [request.partition(b"\r\n\r\n")[2] == LONG for request in server.requests] == [True] * 3


@pytest.mark.parametrize(
    "refusal",
    [
        REFUSAL,
        b"HTTP/1.1 413 No\r\nRetry-After: 7\r\nConnection: close\r\n\r\nlong",
        b"HTTP/1.1 413 No\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\nlong",  # its end is lost
        b"HTTP/1.1 413 No\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nlong",
    ],
)
def test_who_refuses_a_request_and_resets_the_connection_is_heard(
    refusal: bytes, exchange: HttpExchange
) -> None:
    with taking(lambda connection: connection.sendall(refusal)) as url:
        for _ in range(10):
            answer = post(exchange, url)
            assert (answer.status, answer.headers["Retry-After"]) == (413, "7"), answer
            assert answer.body == b"long"


def test_who_refuses_a_request_and_reads_no_further_is_left_at_once(
    exchange: HttpExchange,
) -> None:
    is_left = threading.Event()

    def refuse(connection: socket.socket) -> None:
        connection.sendall(REFUSAL)
        while connection.recv(1_000_000):
            pass
        is_left.set()

    def refuse_and_wait(connection: socket.socket) -> None:
        connection.sendall(REFUSAL)
        answered.wait(DEADLINE_SECONDS)

    answered = threading.Event()
    with taking(refuse_and_wait) as url:
        assert post(exchange, url).status == 413
        answered.set()
    with taking(refuse) as url:
        assert post(exchange, url).status == 413
        assert is_left.wait(DEADLINE_SECONDS)


def test_success_that_is_told_early_counts_once_all_is_sent(exchange: HttpExchange) -> None:
    received: list[bytes] = []

    def succeed(connection: socket.socket) -> None:
        connection.sendall(ok(b"early"))
        received.append(read_rest(connection))

    with taking(succeed) as url:
        assert post(exchange, url).body == b"early"
    assert received == [LONG]


def test_success_before_the_connection_breaks_is_none(exchange: HttpExchange) -> None:
    with taking(lambda connection: connection.sendall(ok())) as url:
        for _ in range(10):
            answer = post(exchange, url)
            assert (answer.status, answer.error) == (None, "network")


def test_an_interim_answer_does_not_stop_a_request(exchange: HttpExchange) -> None:
    received: list[bytes] = []

    def go_on(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        received.append(read_rest(connection))
        connection.sendall(ok(b"done"))

    with taking(go_on) as url:
        assert post(exchange, url).body == b"done"
    assert received == [LONG]


def test_a_partner_that_says_goodbye_without_an_answer_is_a_network_error(
    exchange: HttpExchange,
) -> None:
    answered = threading.Event()

    def leave(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        answered.wait(DEADLINE_SECONDS)

    with taking(leave) as url:
        answer = post(exchange, url)
        answered.set()
    assert answer == Answer(error="network", detail="the connection ended before the answer")


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", ok()])
def test_a_partner_that_reads_drop_by_drop_is_left_at_the_deadline(
    said: bytes, exchange: HttpExchange
) -> None:
    stopped = threading.Event()

    def sip(connection: socket.socket) -> None:
        connection.sendall(said)
        while not stopped.wait(0.01):
            connection.recv(100)

    with taking(sip) as url:
        began = time.monotonic()
        answer = post(exchange, url, 0.5)
        assert time.monotonic() - began < 1.5
        stopped.set()
    assert answer.error == "timeout"


def test_waiting_costs_nothing_though_the_partner_has_said_all(exchange: HttpExchange) -> None:
    stopped = threading.Event()

    def succeed_and_hang(connection: socket.socket) -> None:
        connection.sendall(ok())
        connection.shutdown(socket.SHUT_WR)
        stopped.wait(DEADLINE_SECONDS)

    with taking(succeed_and_hang) as url:
        began = time.thread_time()
        answer = post(exchange, url, 1.0)
        assert time.thread_time() - began < 0.1
        stopped.set()
    assert answer.error == "timeout"
