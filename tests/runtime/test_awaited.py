"""All answers are waited for by one thread: none waits for another, and each has its own deadline."""

import queue
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from runtime.address import AddressPolicy
from runtime.exchange import HttpExchange
from sinks.sink import Answer, HttpRequest
from tests.runtime.wire import DEADLINE_SECONDS, WireServer, ok, says, serving

Answers = queue.SimpleQueue[Answer | None]


@pytest.fixture
def exchange() -> Iterator[HttpExchange]:
    running = HttpExchange(AddressPolicy(allow_local=True), 64)
    yield running
    running.close()


def answer_to(answers: Answers) -> Answer:
    answer = answers.get(timeout=DEADLINE_SECONDS)
    assert answer is not None
    return answer


def post(exchange: HttpExchange, server: WireServer, timeout: float = DEADLINE_SECONDS) -> Answers:
    answers: Answers = queue.SimpleQueue()
    request = HttpRequest("POST", server.url, {}, b"{}")
    exchange.dial(request, timeout, answers.put)
    return answers


def test_a_deadline_that_is_earlier_than_those_before_is_kept(exchange: HttpExchange) -> None:
    stopped = threading.Event()

    def hang(connection: socket.socket, _: bytes) -> None:
        stopped.wait(DEADLINE_SECONDS)
        connection.sendall(ok())

    with serving(hang) as server:
        late = post(exchange, server)
        began = time.monotonic()
        early = [post(exchange, server, timeout) for timeout in (0.4, 0.2)]
        for answers in early:
            assert answer_to(answers).error == "timeout"
        assert 0.4 <= time.monotonic() - began < DEADLINE_SECONDS / 2
        assert late.empty()
        stopped.set()
        assert answer_to(late).status == 200


def test_partners_that_hang_take_no_threads_and_keep_nobody_waiting(
    exchange: HttpExchange,
) -> None:
    stopped = threading.Event()

    def hang(connection: socket.socket, _: bytes) -> None:
        stopped.wait(DEADLINE_SECONDS)
        connection.sendall(ok())

    with serving(hang) as slow, serving(says(ok())) as quick:
        hanging = [post(exchange, slow) for _ in range(50)]
        for _ in range(50):
            assert answer_to(post(exchange, quick)).status == 200
        assert [thread.name for thread in threading.enumerate()].count("answers") == 1
        assert all(answers.empty() for answers in hanging)
        stopped.set()
        assert {answer_to(answers).status for answers in hanging} == {200}


def test_close_waits_for_the_last_answer() -> None:
    exchange = HttpExchange(AddressPolicy(allow_local=True), 8)
    closing = threading.Event()

    def answer_when_closing(connection: socket.socket, _: bytes) -> None:
        closing.wait(DEADLINE_SECONDS)
        connection.sendall(ok())

    with serving(answer_when_closing) as server:
        answers = post(exchange, server)
        thread = threading.Thread(target=exchange.close)
        thread.start()
        assert answers.empty()
        closing.set()
        assert answer_to(answers).status == 200
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


def test_a_mistake_with_one_answer_does_not_cost_the_others(
    exchange: HttpExchange, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Event()

    def mistake(_: Answer | None) -> None:
        told.set()
        raise ValueError("SECRET-KEY")

    with serving(says(ok())) as server:
        exchange.dial(HttpRequest("POST", server.url, {}, b"{}"), 20, mistake)
        assert told.wait(DEADLINE_SECONDS)
        assert answer_to(post(exchange, server)).status == 200
    assert "ValueError" in caplog.text
    assert "SECRET" not in caplog.text


def test_without_a_connection_nothing_is_begun() -> None:
    exchange = HttpExchange(AddressPolicy(allow_local=True), 8)
    answers: Answers = queue.SimpleQueue()
    with serving(says(ok())) as server:
        request = HttpRequest("POST", server.url, {}, b"{}")
        assert not exchange.begin(request, DEADLINE_SECONDS, answers.put)
        assert exchange.send(request, DEADLINE_SECONDS).status == 200
        assert exchange.begin(request, DEADLINE_SECONDS, answers.put)
        assert answer_to(answers).status == 200
        assert server.connections == 1
        assert not exchange.begin(HttpRequest("POST", "http://", {}, b""), 1, answers.put)
    exchange.close()
