"""One exchange with a partner, on real sockets: whatever the partner does, it ends in time."""

import datetime
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.address import PUBLIC_ONLY, AddressPolicy
from runtime.exchange import MAX_ANSWER_BYTES, HttpExchange
from runtime.request_head import head_of
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sinks.sink import Answer, HttpRequest
from tests.runtime.threads import no_threads
from tests.runtime.wire import DEADLINE_SECONDS, Script, echo, ok, says, serving

LOCAL = AddressPolicy(allow_local=True)
PATH = "path?key=SECRET-KEY"


@pytest.fixture
def exchange() -> Iterator[HttpExchange]:
    running = HttpExchange(LOCAL, 8)
    yield running
    running.close()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite()}) as running:
        yield running


def post(
    exchange: HttpExchange, url: str, timeout: float = DEADLINE_SECONDS, body: bytes = b"{}"
) -> Answer:
    headers = {"Content-Type": "application/json", "Braze-Currents-Version": "1"}
    return exchange.send(HttpRequest("POST", url, headers, body), timeout)


def timed(act: Callable[[], Answer]) -> tuple[Answer, float]:
    began = time.monotonic()
    answer = act()
    return answer, time.monotonic() - began


def hang(stopped: threading.Event) -> None:
    stopped.wait(DEADLINE_SECONDS)


# What goes out and comes back


def test_a_request_goes_out_as_it_is_and_its_answer_comes_back(exchange: HttpExchange) -> None:
    with serving(says(b"HTTP/1.1 202 Fine\r\nX-Of: a\r\nContent-Length: 3\r\n\r\nyes")) as server:
        headers = {"Authorization": "Bearer t", "Content-Type": "application/json"}
        request = HttpRequest("POST", server.url + PATH, headers, b'{"a": 1}')
        answer = exchange.send(request, DEADLINE_SECONDS)
    assert (answer.status, answer.body, answer.error) == (202, b"yes", None)
    assert answer.headers["X-Of"] == "a"
    sent = server.requests[0]
    assert sent.startswith(b"POST /path?key=SECRET-KEY HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer t\r\n" in sent
    assert b"\r\nUser-Agent: currents-pipeline\r\n" in sent
    assert sent.endswith(b'\r\n\r\n{"a": 1}')


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", b"/"),
        ("?a=b", b"/?a=b"),
        ("a b/\u00e9?\u00fc=\n#c", b"/a%20b/%C3%A9?%C3%BC=%0A"),
        ("%2F%7e?%20", b"/%2F%7E?%20"),
    ],
)
def test_a_url_is_written_as_urls_are(path: str, target: bytes, exchange: HttpExchange) -> None:
    with serving(says(ok())) as server:
        assert post(exchange, server.url.rstrip("/") + ("/" + path if path else "")).status == 200
    assert server.requests[0].split(b"\r\n")[0] == b"POST %b HTTP/1.1" % target
    assert b"\r\nHost: 127.0.0.1:%d\r\n" % server.port in server.requests[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(status: int, exchange: HttpExchange) -> None:
    with serving(says(ok())) as elsewhere:
        head = f"HTTP/1.1 {status} Go\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n"
        with serving(says(head.encode())) as server:
            assert post(exchange, server.url).status == status
        assert elsewhere.connections == 0


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_not_used(
    name: str, exchange: HttpExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(says(ok())) as proxy, serving(says(ok(b"direct"))) as server:
        monkeypatch.setenv(name, proxy.url)
        assert post(exchange, server.url).body == b"direct"
        assert proxy.connections == 0


# The deadline


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(drip=True), Fault(delay_seconds=30)])
def test_an_exchange_ends_at_its_deadline(
    fault: Fault, exchange: HttpExchange, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", fault)
    answer, seconds = timed(lambda: post(exchange, sandbox.url("hook"), 0.5, b""))
    sandbox.set_fault("hook", None)
    assert (answer.error, answer.detail) == ("timeout", "no answer within 0.5 s")
    assert 0.45 < seconds < 1.5


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\n",  # then its headers
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",  # then a body as long as it lasts
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
    ],
)
def test_an_answer_that_drips_from_its_status_on_is_no_answer(
    begin: bytes, exchange: HttpExchange
) -> None:
    stopped = threading.Event()

    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(begin)
        while not stopped.wait(0.02):
            connection.sendall(b"x")

    with serving(drip) as server:
        answer, seconds = timed(lambda: post(exchange, server.url, 0.5))
        stopped.set()
    assert (answer.status, answer.error) == (None, "timeout")
    assert seconds < 1.5


def test_a_partner_that_does_not_read_is_left_at_the_deadline(exchange: HttpExchange) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # nobody accepts
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        answer, seconds = timed(lambda: post(exchange, url, 0.5, b"x" * 50_000_000))
    assert answer.error == "timeout"
    assert seconds < 2


def test_a_handshake_that_hangs_is_left_at_the_deadline(exchange: HttpExchange) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        answer, seconds = timed(lambda: post(exchange, url, 0.5))
    assert answer.error == "timeout"
    assert seconds < 1.5


@contextmanager
def full_port() -> Iterator[int]:
    """A port on which somebody listens and accepts no connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as fill:
        for _ in range(4):  # the kernel keeps one or two, and drops what comes after
            waiting = fill.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_connection_that_nobody_answers_is_left_at_the_deadline(exchange: HttpExchange) -> None:
    with full_port() as port:
        answer, seconds = timed(lambda: post(exchange, f"http://127.0.0.1:{port}/", 0.5))
    assert answer.error == "timeout"
    assert seconds < 1.5


@pytest.mark.parametrize("timeout", [0, 0.000_1, 0.001])
def test_a_deadline_that_passes_while_connecting_ends_the_exchange(
    timeout: float, exchange: HttpExchange
) -> None:
    stopped = threading.Event()
    with serving(lambda *_: hang(stopped)) as server:
        for _ in range(20):
            answer, seconds = timed(lambda: post(exchange, server.url, timeout))
            assert answer.error == "timeout"
            assert seconds < 1
        stopped.set()


def test_deadlines_of_many_exchanges_are_each_their_own(exchange: HttpExchange) -> None:
    stopped = threading.Event()
    with serving(lambda *_: hang(stopped)) as server:
        timeouts = [0.9, 0.3, 0.6]

        def one(timeout: float) -> tuple[Answer, float]:
            return timed(lambda: post(exchange, server.url, timeout))

        with ThreadPoolExecutor(3) as threads:
            found = list(threads.map(one, timeouts))
        stopped.set()
    for (answer, seconds), timeout in zip(found, timeouts, strict=True):
        assert answer.error == "timeout"
        assert timeout - 0.05 < seconds < timeout + 0.5


def test_the_deadline_holds_on_a_connection_that_is_used_again(exchange: HttpExchange) -> None:
    stopped = threading.Event()

    def hang_later(connection: socket.socket, _: bytes) -> None:
        if len(server.requests) == 1:
            connection.sendall(ok())
        else:
            hang(stopped)

    with serving(hang_later) as server:
        assert post(exchange, server.url).status == 200
        answer, seconds = timed(lambda: post(exchange, server.url, 0.5))
        stopped.set()
        assert server.connections == 1
    assert answer.error == "timeout"
    assert seconds < 1.5


def test_a_deadline_that_passed_shuts_no_later_exchange(exchange: HttpExchange) -> None:
    delay = threading.Event()

    def slow(connection: socket.socket, _: bytes) -> None:
        if len(server.requests) == 2:  # on the same connection, past the deadline of the first
            delay.wait(0.6)
        connection.sendall(ok())

    with serving(slow) as server:
        assert post(exchange, server.url, 0.3).status == 200
        assert post(exchange, server.url, 10).status == 200
        assert server.connections == 1


# The network


def test_a_reset_is_a_network_error(exchange: HttpExchange, sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(reset=True))
    answer = post(exchange, sandbox.url("hook"))
    sandbox.set_fault("hook", None)
    assert answer == Answer(error="network", detail="Connection reset by peer")


def test_a_refused_connection_is_a_network_error(exchange: HttpExchange) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    answer = post(exchange, f"http://127.0.0.1:{port}/{PATH}")
    assert answer == Answer(error="network", detail="Connection refused")


@pytest.mark.parametrize("name", ["partner.invalid", "a..b", "x" * 64 + ".invalid", "*"])
def test_a_name_that_leads_nowhere_is_a_network_error(name: str, exchange: HttpExchange) -> None:
    assert post(exchange, f"http://{name}/{PATH}").error == "network"


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The machine's own lookup of names hangs on `*.example.com`, until the event is set."""
    answers, found = threading.Event(), socket.getaddrinfo

    def find(host: str, *args: Any, **kwargs: Any) -> Any:
        if not host.endswith(".example.com") or kwargs.get("flags") == socket.AI_NUMERICHOST:
            return found(host, *args, **kwargs)
        answers.wait(DEADLINE_SECONDS)
        return found("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", find)
    yield answers
    answers.set()
    for thread in lookups():
        thread.join()


def test_an_address_that_does_not_answer_leaves_time_for_the_others(
    exchange: HttpExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a name has an IPv6 address, and no way leads there."""
    with serving(says(ok())) as server, full_port() as deaf:
        ports = [deaf, deaf, server.port]
        found = [socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM) for port in ports]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [one for [one] in found])
        answer, seconds = timed(lambda: post(exchange, "http://partner.example.com/", 3))
    assert answer.status == 200
    assert seconds < 3


def lookups() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lookup"]


def test_a_lookup_that_hangs_is_left_at_the_deadline_and_costs_one_thread(
    exchange: HttpExchange, name_server: threading.Event
) -> None:
    with serving(says(ok())) as server, ThreadPoolExecutor(5) as threads:
        url = f"http://a.example.com:{server.port}/"
        for answer, seconds in threads.map(
            lambda _: timed(lambda: post(exchange, url, 0.5)), range(10)
        ):
            assert answer.error == "timeout"
            assert seconds < 1.5
        assert len(lookups()) == 1
        assert post(exchange, server.url).status == 200  # other names are found meanwhile
        name_server.set()
        assert post(exchange, url).status == 200


@pytest.mark.parametrize("name", ["lookup", "answers"])
def test_where_the_system_has_no_more_threads_nothing_is_sent(
    name: str, exchange: HttpExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(says(ok())) as server:
        with monkeypatch.context() as patch:
            no_threads(name, patch)
            answer = post(exchange, f"http://localhost:{server.port}/")
            assert (answer.error, answer.detail) == ("network", "can't start new thread")
        assert server.connections == 0
        assert post(exchange, f"http://localhost:{server.port}/").status == 200


def test_no_more_than_so_many_lookups_hang_at_once(
    exchange: HttpExchange, name_server: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.lookups.MAX_LOOKUPS", 2)
    with serving(says(ok())) as server, ThreadPoolExecutor(5) as threads:
        urls = [f"http://{name}.example.com:{server.port}/" for name in "abcde"]
        answers = list(threads.map(lambda url: post(exchange, url, 0.5), urls))
        assert [answer.error for answer in answers] == ["timeout"] * 5
        assert len(lookups()) == 2
        name_server.set()
        assert [post(exchange, url).status for url in urls] == [200] * 5


GARBAGE: dict[str, Script] = {
    "no http": says(b"220 mail.example.com ESMTP\r\n"),
    "nothing": lambda connection, _: connection.shutdown(socket.SHUT_RDWR),
    "bad chunk": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n"),
    "endless header": says(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000),
    "many headers": says(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1_000 + b"\r\n"),
    "status of words": says(b"HTTP/1.1 two hundred\r\n\r\n"),
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_an_answer_that_is_no_http_is_a_network_error(garbage: str, exchange: HttpExchange) -> None:
    with serving(GARBAGE[garbage]) as server:
        answer = post(exchange, server.url + PATH)
    assert (answer.status, answer.error) == (None, "network")
    assert "SECRET-KEY" not in answer.detail


@pytest.mark.parametrize(
    "head", [b"Content-Length: 10\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"]
)
def test_an_answer_that_ends_before_its_end_is_a_network_error(
    head: bytes, exchange: HttpExchange
) -> None:
    def half(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head)
        connection.shutdown(socket.SHUT_RDWR)

    with serving(half) as server:
        assert post(exchange, server.url).error == "network"
        assert (server.connections, len(server.requests)) == (1, 1)


@pytest.mark.parametrize("url", ["http://[::1/x", "ftp://127.0.0.1/x", "http:///x"])
def test_a_url_that_is_none_is_answered_for_and_not_repeated(
    url: str, exchange: HttpExchange
) -> None:
    answer = post(exchange, f"{url}?key=SECRET-KEY")
    assert (answer.status, answer.error) == (None, "network")
    assert "SECRET-KEY" not in answer.detail
    assert "x?" not in answer.detail


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer SECRET\nKEY"),
        ("Authorization", "Bearer SECRET\r\n KEY"),
        ("Authorization", "Bearer SECRET\rKEY"),
        ("Authorization", "Bearer SECRET\0KEY"),
        ("Authorization", "Bearer SECRET\u0100KEY"),
        ("SECRET KEY", "x"),
        ("SECRET:KEY", "x"),
        ("SECRET\r\nKEY", "x"),
        ("", "SECRET"),
        ("content-length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Host", "another"),
    ],
)
def test_a_header_that_cannot_be_sent_is_answered_for_and_not_repeated(
    name: str, value: str, exchange: HttpExchange
) -> None:
    with serving(says(ok())) as server:
        request = HttpRequest("POST", server.url, {name: value}, b"")
        answer = exchange.send(request, DEADLINE_SECONDS)
    assert answer.error == "network"
    assert "SECRET" not in answer.detail
    assert server.requests == []


# Addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433"])
def test_loopback_is_refused_unless_it_is_opened_and_nothing_is_connected(host: str) -> None:
    exchange = HttpExchange(PUBLIC_ONLY, 8)
    with serving(says(ok())) as server:
        for scheme in ("http", "https"):
            answer = post(exchange, f"{scheme}://{host}:{server.port}/{PATH}")
            assert (answer.status, answer.error) == (None, "address")
            assert "SECRET-KEY" not in answer.detail
    exchange.close()
    assert server.connections == 0


def test_plain_http_is_refused_and_nothing_is_connected() -> None:
    exchange = HttpExchange(AddressPolicy(allow_networks=("10.0.0.0/8",)), 8)
    answer = post(exchange, "http://192.0.2.1/")
    exchange.close()
    assert (answer.error, answer.detail.split(" is ")[0]) == ("address", "plain http to 192.0.2.1")


def test_http_is_spoken_to_a_network_that_was_opened() -> None:
    exchange = HttpExchange(AddressPolicy(allow_networks=("127.0.0.0/8",)), 8)
    with serving(says(ok())) as server:
        assert post(exchange, server.url).status == 200
    exchange.close()


# How much is read


def test_an_answer_is_read_to_its_limit_only(exchange: HttpExchange) -> None:
    sent = [0]

    def endless(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        while sent[0] < 50_000_000:
            connection.sendall(b"x" * 100_000)
            sent[0] += 100_000

    with serving(endless) as server:
        answer = post(exchange, server.url)
        assert (answer.status, answer.body) == (200, b"x" * MAX_ANSWER_BYTES)
    assert sent[0] < 50_000_000


@pytest.mark.parametrize("head", [b"Connection: close\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_an_answer_of_unknown_length_is_read_to_its_limit_only(
    head: bytes, exchange: HttpExchange
) -> None:
    def endless(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        for _ in range(500):
            connection.sendall(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")

    with serving(endless) as server:
        answer = post(exchange, server.url)
    assert (answer.status, len(answer.body)) == (200, MAX_ANSWER_BYTES)


def test_a_compressed_bomb_stays_packed(exchange: HttpExchange) -> None:
    with serving(says(ok(b"\x1f\x8bzipped", b"Content-Encoding: gzip\r\n"))) as server:
        assert post(exchange, server.url).body == b"\x1f\x8bzipped"


def test_an_interim_answer_is_not_the_answer(exchange: HttpExchange) -> None:
    with serving(says(b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"real"))) as server:
        assert post(exchange, server.url).body == b"real"


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 So\r\n\r\n",
    ],
)
def test_the_answer_after_interim_ones_counts_and_is_not_the_next_requests(
    interim: bytes, exchange: HttpExchange
) -> None:
    def interim_then_echo(connection: socket.socket, request: bytes) -> None:
        connection.sendall(interim)
        echo(connection, request)

    with serving(interim_then_echo) as server:
        for number in range(5):
            body = b"request %d" % number
            answer = post(exchange, server.url, body=body)
            assert (answer.status, answer.body) == (200, body)
        assert server.connections == 1


def test_interim_answers_without_end_are_left_at_the_deadline(exchange: HttpExchange) -> None:
    stopped = threading.Event()

    def interim_only(connection: socket.socket, _: bytes) -> None:
        while not stopped.is_set():
            connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")

    with serving(interim_only) as server:
        answer, seconds = timed(lambda: post(exchange, server.url, 0.5))
        stopped.set()
    assert answer.error == "timeout"
    assert seconds < 1.5


def test_a_switch_of_protocols_is_an_answer_and_the_end_of_its_connection(
    exchange: HttpExchange,
) -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    with serving(says(switch)) as server:
        assert post(exchange, server.url).status == 101
        assert post(exchange, server.url).status == 101
        assert server.connections == 2


def test_what_is_logged_of_a_damaged_answer_does_not_hold_the_url(
    exchange: HttpExchange, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(says(b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nok")) as server:
        post(exchange, server.url + PATH)
    assert "SECRET-KEY" not in caplog.text


# Connections


def test_a_connection_is_used_again(exchange: HttpExchange) -> None:
    with serving(says(ok(b"x" * 1_000))) as server:
        for _ in range(20):
            assert post(exchange, server.url).status == 200
        assert server.connections == 1


@pytest.mark.parametrize("status", [302, 400, 429, 503])
def test_a_connection_is_made_anew_after_an_answer_that_is_no_success(
    status: int, exchange: HttpExchange
) -> None:
    """The name is looked up again, and no answer too many is taken for the next request's."""
    with serving(says(b"HTTP/1.1 %d No\r\nContent-Length: 4\r\n\r\nbusy" % status)) as server:
        for _ in range(3):
            assert post(exchange, server.url).status == status
        assert server.connections == 3


def test_an_answer_too_many_after_an_error_is_not_the_next_requests(
    exchange: HttpExchange,
) -> None:
    """It may come when the next request is on its way, so that nothing tells them apart."""

    def one_too_many(connection: socket.socket, _: bytes) -> None:
        if server.connections == len(server.requests):
            connection.sendall(b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n")
        else:
            connection.sendall(ok(b"too many"))

    with serving(one_too_many) as server:
        assert [post(exchange, server.url).status for _ in range(3)] == [429] * 3


def test_the_name_is_looked_up_again_after_an_hour(
    exchange: HttpExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(says(ok(b"x"))) as server:
        post(exchange, server.url)
        post(exchange, server.url)
        assert server.connections == 1
        monkeypatch.setattr("runtime.exchange.MAX_CONNECTION_SECONDS", -1)
        post(exchange, server.url)
        assert server.connections == 2


SURPLUS = {
    "a byte": b"x",
    "an answer": ok(b"stale"),
    "more than is read at once": b"x" * 20_000 + ok(b"stale"),
}


@pytest.mark.parametrize("surplus", SURPLUS)
def test_a_connection_on_which_more_than_the_answer_came_is_not_used_again(
    surplus: str, exchange: HttpExchange
) -> None:
    def too_much(connection: socket.socket, request: bytes) -> None:
        connection.sendall(ok(request.partition(b"\r\n\r\n")[2]) + SURPLUS[surplus])

    with serving(too_much) as server:
        for number in range(1, 6):
            body = b"request %d" % number
            assert post(exchange, server.url, body=body).body == body
            assert server.connections == number


def test_an_answer_that_nobody_asked_for_is_not_the_next_requests(exchange: HttpExchange) -> None:
    sent = threading.Event()

    def twice(connection: socket.socket, request: bytes) -> None:
        echo(connection, request)
        first_is_read.wait(DEADLINE_SECONDS)
        connection.sendall(ok(b"stale"))
        sent.set()

    with serving(twice) as server:
        for number in range(5):
            first_is_read = threading.Event()
            body = b"request %d" % number
            assert post(exchange, server.url, body=body).body == body
            first_is_read.set()
            assert sent.wait(DEADLINE_SECONDS)
            sent.clear()


def test_a_connection_that_the_partner_closed_in_between_is_made_anew(
    exchange: HttpExchange,
) -> None:
    closed = threading.Event()

    def answer_and_close(connection: socket.socket, _: bytes) -> None:
        connection.sendall(ok())  # says nothing of a close
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    with serving(answer_and_close) as server:
        for number in range(1, 6):
            assert post(exchange, server.url).status == 200
            assert closed.wait(DEADLINE_SECONDS)
            closed.clear()
            assert server.connections == number


def test_answers_too_long_to_be_read_do_not_use_up_the_connections(exchange: HttpExchange) -> None:
    with serving(says(ok(b"x" * 200_000))) as server:
        for _ in range(20):  # more than are kept
            assert post(exchange, server.url).status == 200


def test_many_threads_at_once_get_each_their_own_answer(exchange: HttpExchange) -> None:
    answered: list[tuple[str, bytes]] = []

    def one(number: int) -> None:
        body = f"{number}-".encode() * 50
        answered.append((body.decode(), post(exchange, server.url, body=body).body))

    with serving(echo) as server, ThreadPoolExecutor(32) as threads:
        list(threads.map(one, range(400)))
        assert server.connections <= 200  # eight of them are kept at a time
    assert len(answered) == 400
    assert all(sent.encode() == came for sent, came in answered)


def test_no_more_connections_are_kept_than_were_asked_for() -> None:
    exchange, both_are_there = HttpExchange(LOCAL, 1), threading.Barrier(2)

    def meet(connection: socket.socket, request: bytes) -> None:
        if b"meet" in request:
            both_are_there.wait(DEADLINE_SECONDS)
        connection.sendall(ok())

    with serving(meet) as server, ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: post(exchange, server.url, body=b"meet"), range(2)))
        assert server.connections == 2
        post(exchange, server.url)
        assert server.connections == 2
        list(threads.map(lambda _: post(exchange, server.url, body=b"meet"), range(2)))
        assert server.connections == 3
    exchange.close()


def test_a_kept_connection_that_ends_without_a_word_costs_no_try(exchange: HttpExchange) -> None:
    """A partner may end it at any moment, and just before a request comes too."""
    seen: dict[socket.socket, int] = {}

    def answer_once(connection: socket.socket, _: bytes) -> None:
        seen[connection] = seen.get(connection, 0) + 1
        if seen[connection] > 1:
            connection.shutdown(socket.SHUT_RDWR)
        else:
            connection.sendall(ok())

    with serving(answer_once) as server:
        for _ in range(4):
            assert post(exchange, server.url).status == 200
        assert server.connections == 4
        assert len(server.requests) == 4 + 3


def test_what_a_partner_has_thought_about_is_not_sent_twice(exchange: HttpExchange) -> None:
    seen: list[bytes] = []

    def think_and_leave(connection: socket.socket, request: bytes) -> None:
        seen.append(request)
        if len(seen) == 1:
            connection.sendall(ok())
        else:
            time.sleep(1.2)  # longer than the end of a connection is under way
            connection.shutdown(socket.SHUT_RDWR)

    with serving(think_and_leave) as server:
        assert post(exchange, server.url).status == 200
        assert post(exchange, server.url).error == "network"
        assert len(server.requests) == 2


def test_of_too_many_partners_those_that_were_sent_to_last_are_kept(
    exchange: HttpExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.exchange._MAX_ORIGINS", 2)
    with serving(says(ok())) as a, serving(says(ok())) as b, serving(says(ok())) as c:
        for server in (a, b, a, c):
            assert post(exchange, server.url).status == 200
        assert [a.connections, b.connections, c.connections] == [1, 1, 1]
        for server in (c, a, b):
            assert post(exchange, server.url).status == 200
        assert [a.connections, b.connections, c.connections] == [1, 2, 1]


def test_a_head_that_is_kept_ready_does_not_tell_its_secrets() -> None:
    head = head_of("POST", f"https://a.example.com/{PATH}", (("Authorization", "SECRET-KEY"),))
    assert b"SECRET-KEY" in head.of(b"")
    assert "SECRET-KEY" not in f"{head} {head!r} {head.origin!r}"


def test_a_partner_that_hangs_holds_up_no_other(
    exchange: HttpExchange, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(hang=True))
    with serving(says(ok())) as server, ThreadPoolExecutor(20) as threads:
        hanging = [threads.submit(post, exchange, sandbox.url("hook"), 1.5, b"") for _ in range(20)]
        for _ in range(20):
            answer, seconds = timed(lambda: post(exchange, server.url))
            assert answer.status == 200
            assert seconds < 1
        assert {future.result().error for future in hanging} == {"timeout"}
    sandbox.set_fault("hook", None)


def test_close_ends_the_connections_that_are_kept_and_nothing_is_sent_after_it() -> None:
    exchange, ended = HttpExchange(LOCAL, 8), threading.Semaphore(0)

    def answer_and_await_the_end(connection: socket.socket, _: bytes) -> None:
        connection.sendall(ok())
        if connection.recv(1) == b"":
            ended.release()

    with serving(answer_and_await_the_end) as server:
        assert post(exchange, server.url).status == 200
        assert not ended.acquire(blocking=False)
        exchange.close()
        assert ended.acquire(timeout=DEADLINE_SECONDS)
        assert post(exchange, server.url).error == "network"
        assert (server.connections, len(server.requests)) == (1, 1)


def test_a_thousand_exchanges_leave_no_file_handle_behind(exchange: HttpExchange) -> None:
    with serving(says(ok())) as server:
        post(exchange, server.url)
        before = open_handles()
        for _ in range(1_000):
            post(exchange, server.url)
        for _ in range(50):
            post(exchange, f"http://127.0.0.1:{server.port}/{PATH}", 0.0001)
        assert open_handles() <= before + 2


def open_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a partner")])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    return made


def test_a_certificate_that_nobody_signed_is_refused(
    context: ssl.SSLContext, exchange: HttpExchange
) -> None:
    with serving(says(ok()), context) as server:
        answer = post(exchange, f"https://127.0.0.1:{server.port}/{PATH}")
    assert (answer.status, answer.error) == (None, "network")
    assert "certificate verify failed" in answer.detail
    assert "SECRET-KEY" not in answer.detail
    assert server.requests == []


def test_tls_is_spoken_with_a_partner_whose_certificate_is_trusted(
    context: ssl.SSLContext,
    certificate: Path,
    exchange: HttpExchange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(says(ok(b"sealed")), context) as server:
        for _ in range(3):
            assert post(exchange, f"https://127.0.0.1:{server.port}/").body == b"sealed"
        assert server.connections == 1


def test_a_long_request_arrives_as_it_is_through_tls(
    context: ssl.SSLContext,
    certificate: Path,
    exchange: HttpExchange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    body = bytes(range(256)) * 20_000
    with serving(says(ok()), context) as server:
        for _ in range(2):
            url = f"https://127.0.0.1:{server.port}/"
            assert post(exchange, url, body=body).status == 200
        assert server.connections == 1
    assert all(request.endswith(b"\r\n\r\n" + body) for request in server.requests)


def test_a_partner_that_does_not_read_is_left_at_the_deadline_inside_tls(
    context: ssl.SSLContext,
    certificate: Path,
    exchange: HttpExchange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    stopped = threading.Event()

    def shake_hands_and_hang() -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True):
            stopped.wait(DEADLINE_SECONDS)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=shake_hands_and_hang)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        answer, seconds = timed(lambda: post(exchange, url, 0.5, b"x" * 20_000_000))
        stopped.set()
        thread.join()
    assert answer.error == "timeout"
    assert seconds < 2


def test_the_certificate_has_to_be_of_the_host(
    context: ssl.SSLContext,
    certificate: Path,
    exchange: HttpExchange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(says(ok()), context) as server:
        answer = post(exchange, f"https://localhost:{server.port}/{PATH}")
    assert (answer.status, answer.error) == (None, "network")
    assert "certificate verify failed" in answer.detail
    assert server.requests == []


@pytest.mark.parametrize("surplus", SURPLUS)
def test_more_than_the_answer_is_noticed_inside_tls(
    surplus: str,
    context: ssl.SSLContext,
    certificate: Path,
    exchange: HttpExchange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    own = ok(b"own", b"X: " + b"x" * (8_192 - len(ok(b"own", b"X: \r\n"))) + b"\r\n")
    assert len(own) == 8_192  # what Python reads at once: the surplus is known to OpenSSL alone
    with serving(says(own + SURPLUS[surplus]), context) as server:
        for number in range(1, 4):
            assert post(exchange, f"https://127.0.0.1:{server.port}/").body == b"own"
            assert server.connections == number


def test_the_deadline_holds_inside_tls(
    context: ssl.SSLContext,
    certificate: Path,
    exchange: HttpExchange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    stopped = threading.Event()

    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
        while not stopped.wait(0.02):
            connection.sendall(b"x")

    with serving(drip, context) as server:
        answer, seconds = timed(
            lambda: post(exchange, f"https://127.0.0.1:{server.port}/", timeout=0.5)
        )
        stopped.set()
    assert answer.error == "timeout"
    assert seconds < 1.5


def test_a_server_that_speaks_no_tls_is_a_network_error(exchange: HttpExchange) -> None:
    def plain() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=plain)
        thread.start()
        answer = post(exchange, f"https://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join()
    assert (answer.status, answer.error) == (None, "network")
