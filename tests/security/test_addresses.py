"""Where a partner's URL may lead: no spelling, no name and no answer leads to an address inside.

Which addresses are public is tested in tests/runtime/test_address.py, on the policy alone; here real
sockets on loopback would be reached if one got through.
"""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from runtime.address import PUBLIC_ONLY, AddressPolicy
from runtime.exchange import HttpExchange
from sinks.sink import Answer, HttpRequest
from tests.runtime.wire import ok, says, serving

SPELLINGS = [
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1"),
    *("017700000001", "0", "0.0.0.0", "127.000.000.001", "127.0.0.1.", "localhost", "LOCALHOST."),
    *("[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *(
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::1%25lo]",
        "[::ffff:0:127.0.0.1]",
    ),
    *("\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "\u24dbocalhost"),
]
"""Of loopback, or of this machine, by way of one library or another."""


@pytest.fixture
def exchange() -> Iterator[HttpExchange]:
    running = HttpExchange(PUBLIC_ONLY, 8)
    yield running
    running.close()


def post(exchange: HttpExchange, url: str) -> Answer:
    return exchange.send(HttpRequest("POST", url, {"Authorization": "Bearer key"}, b"{}"), 5)


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_this_machine_is_connected_to(host: str, exchange: HttpExchange) -> None:
    with serving(says(ok())) as server:
        for scheme in ("https", "http"):
            answer = post(exchange, f"{scheme}://{host}:{server.port}/")
            assert answer.status is None
            assert answer.error in ("address", "network")  # not every library knows every spelling
        assert server.connections == 0


Find = Callable[..., Any]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Sequence[str]]]:
    """What names lead to, one list of addresses a lookup; the last one stays."""
    known: dict[str, list[Sequence[str]]] = {}
    found: Find = socket.getaddrinfo

    def find(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host not in known:
            return found(host, port, *args, **kwargs)
        answers = known[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [one for address in addresses for one in found(address, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", find)
    return known


INSIDE = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254", "100.64.0.1"]


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_leads_inside_is_not_connected_to(
    address: str, exchange: HttpExchange, names: dict[str, list[Sequence[str]]]
) -> None:
    names["partner.example.com"] = [[address]]
    with serving(says(ok())) as server:
        answer = post(exchange, f"https://partner.example.com:{server.port}/")
        assert answer.error == "address"
        assert server.connections == 0


def test_of_a_name_with_several_addresses_none_inside_is_connected_to(
    names: dict[str, list[Sequence[str]]],
) -> None:
    """Whatever the order, and though the public one does not answer."""
    policy = AddressPolicy(allow_networks=("127.0.0.2/32",))
    with serving(says(ok())) as server:
        for addresses in (["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]):
            names["partner.example.com"] = [addresses]
            exchange = HttpExchange(policy, 8)
            answer = post(exchange, f"http://partner.example.com:{server.port}/")
            exchange.close()
            assert answer.error == "address"
        assert server.connections == 0


def test_a_name_that_changes_between_the_check_and_the_connection_changes_nothing(
    names: dict[str, list[Sequence[str]]],
) -> None:
    """It is looked up once, and what was checked is what is connected to (DNS rebinding)."""
    names["partner.example.com"] = [["127.0.0.2"], ["127.0.0.1"]]
    exchange = HttpExchange(AddressPolicy(allow_networks=("127.0.0.2/32",)), 8)
    with serving(says(ok())) as server:  # on 127.0.0.1, where the second lookup leads
        answer = post(exchange, f"http://partner.example.com:{server.port}/")
        assert (answer.status, answer.error) == (None, "network")
        assert names["partner.example.com"] == [["127.0.0.1"]]  # one lookup was made
        for thread in threading.enumerate():
            if thread.name == "lookup":  # its answer serves whoever asks until it has ended
                thread.join()
        again = post(exchange, f"http://partner.example.com:{server.port}/")
        assert again.error == "address"
        assert server.connections == 0
    exchange.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["http://127.0.0.1:{}/", "//127.0.0.1:{}/", "/inside"])
def test_a_redirect_leads_nowhere(status: int, target: str) -> None:
    exchange = HttpExchange(AddressPolicy(allow_local=True), 8)
    with serving(says(ok())) as inside:
        place = target.format(inside.port).encode()
        head = b"HTTP/1.1 %d Moved\r\nLocation: %s\r\n" % (status, place)
        with serving(
            says(head + b"Refresh: 0;url=%s\r\nContent-Length: 0\r\n\r\n" % place)
        ) as outside:
            assert post(exchange, outside.url).status == status
            assert len(outside.requests) == 1
        assert inside.connections == 0
    exchange.close()


def test_a_proxy_named_by_the_environment_or_by_an_answer_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exchange = HttpExchange(AddressPolicy(allow_local=True), 8)
    with (
        serving(says(ok())) as proxy,
        serving(
            says(
                b"HTTP/1.1 305 Use Proxy\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
                % proxy.port
            )
        ) as server,
    ):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert post(exchange, server.url).status == 305
        assert proxy.connections == 0
    exchange.close()
