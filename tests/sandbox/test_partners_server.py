import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import trustme

from sandbox.partners import Counts, Fault, PartnerSandbox, PostbackSite, TreasureDataSite
from sandbox.partners.wire import Wire

HEADERS = {"Braze-Currents-Version": "1", "Content-Type": "application/json"}
SITES = {"hook": PostbackSite(), "other": PostbackSite(), "cdp": TreasureDataSite("1/abc")}
DEADLINE_SECONDS = 10


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox(SITES) as server:
        yield server


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as threads:
        yield threads


def body_of(*event_ids: str) -> bytes:
    events = [{"event_type": "t", "id": event_id, "time": 1} for event_id in event_ids]
    return json.dumps({"events": events}).encode()


def post(sandbox: PartnerSandbox, *event_ids: str, site: str = "hook") -> requests.Response:
    url = sandbox.url(site)
    return requests.post(url, data=body_of(*event_ids), headers=HEADERS, timeout=DEADLINE_SECONDS)


def raw_request(sandbox: PartnerSandbox, *event_ids: str) -> socket.socket:
    """A connection on which a request has just been sent, to look at what comes back."""
    address = urlsplit(sandbox.url("hook"))
    body = body_of(*event_ids)
    head = [f"POST {address.path} HTTP/1.1", f"Host: {address.netloc}"]
    head += [f"{name}: {value}" for name, value in HEADERS.items()]
    head += [f"Content-Length: {len(body)}", "", ""]
    connection = socket.create_connection(
        (str(address.hostname), int(address.port or 0)), timeout=DEADLINE_SECONDS
    )
    connection.sendall("\r\n".join(head).encode() + body)
    return connection


def control_url(sandbox: PartnerSandbox, path: str) -> str:
    return sandbox.url("hook").removesuffix("/hook") + "/_sandbox" + path


def put_fault(sandbox: PartnerSandbox, body: Any, site: str = "hook") -> requests.Response:
    url = control_url(sandbox, f"/sites/{site}/fault")
    data = body if isinstance(body, bytes) else json.dumps(body)
    return requests.put(url, data=data, timeout=DEADLINE_SECONDS)


def arrived(count: int) -> Any:
    return lambda counts: counts.requests >= count


# What is remembered.


def test_a_request_is_remembered_whole(sandbox: PartnerSandbox) -> None:
    before = time.monotonic()
    url = sandbox.url("hook") + "/a?b=c%20d"
    requests.post(url, data=body_of("1", "2"), headers=HEADERS, timeout=DEADLINE_SECONDS)
    [received] = sandbox.requests("hook")
    assert (received.method, received.path, received.query) == ("POST", "/a", {"b": "c d"})
    assert received.headers["braze-currents-version"] == "1"
    assert received.body_bytes == len(body_of("1", "2"))
    assert (received.status, received.event_ids, received.feed) == (200, ["1", "2"], None)
    assert received.events == 2
    assert received.ended_at is not None
    assert before <= received.at <= received.ended_at <= time.monotonic()


def test_counts_are_of_requests_events_refusals_and_bytes(sandbox: PartnerSandbox) -> None:
    post(sandbox, "1", "2")
    post(sandbox, *["3"] * 101)
    size = len(body_of("1", "2")) + len(body_of(*["3"] * 101))
    assert sandbox.counts("hook") == Counts(requests=2, accepted=2, refused=1, bytes=size)


def test_sites_know_nothing_of_each_other(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(status=503))
    assert post(sandbox, "1", site="other").status_code == 200
    assert sandbox.accepted_ids("other") == ["1"]
    assert sandbox.counts("hook") == Counts()


def test_duplicates_stay_visible_and_in_order(sandbox: PartnerSandbox) -> None:
    post(sandbox, "2", "1")
    post(sandbox, "2")
    assert sandbox.accepted_ids("hook") == ["2", "1", "2"]


def test_only_the_last_bodies_are_kept() -> None:
    with PartnerSandbox(SITES, keep_bodies=2) as sandbox:
        for event_id in "123":
            post(sandbox, event_id)
        assert sandbox.bodies("hook") == [body_of("2"), body_of("3")]


def test_ids_are_not_kept_where_that_is_turned_off() -> None:
    with PartnerSandbox(SITES, keep_ids=False) as sandbox:
        post(sandbox, "1")
        assert sandbox.counts("hook").accepted == 1
        [received] = sandbox.requests("hook")
        assert (received.events, received.event_ids) == (1, [])
        with pytest.raises(ValueError, match="does not keep ids"):
            sandbox.accepted_ids("hook")


def test_a_body_over_8_mib_is_refused_before_any_site_sees_it(sandbox: PartnerSandbox) -> None:
    url = sandbox.url("hook")
    for size in (8 * 1_024 * 1_024, 8 * 1_024 * 1_024 + 1):
        answer = requests.post(url, data=b" " * size, headers=HEADERS, timeout=DEADLINE_SECONDS)
        assert answer.status_code == 413
    assert sandbox.counts("hook").requests == 1


def test_what_was_received_can_be_read_after_the_stop() -> None:
    with PartnerSandbox(SITES) as sandbox:
        post(sandbox, "1")
    assert sandbox.accepted_ids("hook") == ["1"]


def test_an_unknown_site_is_an_error(sandbox: PartnerSandbox) -> None:
    with pytest.raises(KeyError, match="there are hook, other, cdp"):
        sandbox.url("hok")
    missing = sandbox.url("hook").replace("/hook", "/hok")
    assert requests.post(missing, timeout=DEADLINE_SECONDS).status_code == 404


# Waiting.


def test_wait_for_sees_what_comes_later(sandbox: PartnerSandbox, pool: ThreadPoolExecutor) -> None:
    waiting = pool.submit(sandbox.wait_for, "hook", lambda counts: counts.accepted >= 3)
    for event_id in "123":
        post(sandbox, event_id)
    assert waiting.result(DEADLINE_SECONDS) is True


def test_wait_for_gives_up_in_time(sandbox: PartnerSandbox) -> None:
    assert sandbox.wait_for("hook", arrived(1), timeout_seconds=0.05) is False


# Faults.


def test_a_status_is_answered_without_a_look_at_the_request(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(status=503, retry_after="2", body=b"busy"))
    answer = post(sandbox, "1")
    assert (answer.status_code, answer.content) == (503, b"busy")
    assert answer.headers["Retry-After"] == "2"
    assert sandbox.accepted_ids("hook") == []
    assert sandbox.requests("hook")[0].event_ids == ["1"]
    assert sandbox.counts("hook").refused == 1


def test_none_clears_a_fault(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(status=503))
    sandbox.set_fault("hook", None)
    assert post(sandbox, "1").status_code == 200


def test_a_fault_clears_itself_after_so_many_times(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(status=429, times=2))
    assert [post(sandbox, "1").status_code for _ in range(4)] == [429, 429, 200, 200]


def test_requests_that_a_fault_spares_do_not_count_towards_its_times(
    sandbox: PartnerSandbox,
) -> None:
    sandbox.set_fault("hook", Fault(reject_ids=frozenset({"bad"}), times=1))
    answers = [post(sandbox, event_id).status_code for event_id in ("good", "bad", "bad")]
    assert answers == [200, 400, 200]


def test_only_requests_that_hold_a_poisoned_event_are_rejected(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(reject_ids=frozenset({"bad"})))
    assert post(sandbox, "1", "bad", "2").status_code == 400
    assert post(sandbox, "1", "2").status_code == 200
    assert sandbox.accepted_ids("hook") == ["1", "2"]


def test_the_next_event_is_the_one_that_is_rejected_from_then_on(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(reject_next=True))
    answers = [post(sandbox, *ids).status_code for ids in ([], ["1", "2"], ["2"], ["3", "1"])]
    assert answers == [200, 400, 200, 400]
    assert sandbox.fault("hook") == Fault(reject_ids=frozenset({"1"}))


def test_a_poisoned_event_may_be_answered_with_another_status(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(reject_ids=frozenset({"bad"}), status=422, body=b"no"))
    answer = post(sandbox, "bad")
    assert (answer.status_code, answer.content) == (422, b"no")


def test_a_delay_alone_is_a_slow_success(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(delay_seconds=0.3))
    before = time.monotonic()
    assert post(sandbox, "1").status_code == 200
    assert time.monotonic() - before >= 0.3
    assert sandbox.accepted_ids("hook") == ["1"]


def test_a_delay_on_one_site_is_not_felt_on_another(
    sandbox: PartnerSandbox, pool: ThreadPoolExecutor
) -> None:
    sandbox.set_fault("hook", Fault(delay_seconds=1))
    slow = pool.submit(post, sandbox, "1")
    assert sandbox.wait_for("hook", arrived(1))
    assert post(sandbox, "1", site="other").status_code == 200
    assert not slow.done()


def test_a_reset_reads_the_body_and_breaks_the_connection(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(reset=True, times=1))
    with raw_request(sandbox, "1") as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)
    [received] = sandbox.requests("hook")
    assert (received.event_ids, received.status) == (["1"], None)
    assert sandbox.counts("hook").accepted == 0
    assert post(sandbox, "1").status_code == 200


def test_a_drip_sends_its_answer_at_one_byte_a_second(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(drip=True))
    with raw_request(sandbox, "1") as connection:
        first = connection.recv(100)
        before = time.monotonic()
        second = connection.recv(100)
    assert (first, second) == (b"H", b"T")
    assert time.monotonic() - before >= 0.8
    assert sandbox.accepted_ids("hook") == ["1"]


def test_a_dripped_answer_is_a_whole_one(
    sandbox: PartnerSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.partners.wire.DRIP_SECONDS", 0)
    sandbox.set_fault("hook", Fault(drip=True, status=599, body=b"slow", retry_after="7"))
    answer = post(sandbox, "1")
    assert (answer.status_code, answer.content) == (599, b"slow")
    assert answer.headers["Retry-After"] == "7"


def hang_one(sandbox: PartnerSandbox, pool: ThreadPoolExecutor) -> "Future[requests.Response]":
    sandbox.set_fault("hook", Fault(hang=True))
    hanging = pool.submit(post, sandbox, "1")
    assert sandbox.wait_for("hook", arrived(1))
    return hanging


def test_a_hang_is_released_by_clearing_the_fault(
    sandbox: PartnerSandbox, pool: ThreadPoolExecutor
) -> None:
    hanging = hang_one(sandbox, pool)
    assert sandbox.requests("hook")[0].status is None
    assert not hanging.done()
    sandbox.set_fault("hook", None)
    assert hanging.result(DEADLINE_SECONDS).status_code == 200
    assert sandbox.accepted_ids("hook") == ["1"]
    assert sandbox.requests("hook")[0].status == 200


def test_what_hung_meets_the_next_fault(sandbox: PartnerSandbox, pool: ThreadPoolExecutor) -> None:
    hanging = hang_one(sandbox, pool)
    sandbox.set_fault("hook", Fault(status=500))
    assert hanging.result(DEADLINE_SECONDS).status_code == 500


def test_a_hang_ends_when_the_client_leaves(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(hang=True))
    with raw_request(sandbox, "gone"):
        assert sandbox.wait_for("hook", arrived(1))
    # A round trip later the server has seen the client leave.
    assert requests.get(control_url(sandbox, "/state"), timeout=DEADLINE_SECONDS).ok
    sandbox.set_fault("hook", None)
    assert post(sandbox, "2").status_code == 200
    assert sandbox.accepted_ids("hook") == ["2"]
    assert [received.status for received in sandbox.requests("hook")] == [None, 200]


def test_a_stop_ends_what_hangs_and_closes_all(pool: ThreadPoolExecutor) -> None:
    threads = set(threading.enumerate())
    with PartnerSandbox(SITES) as sandbox:
        hanging = hang_one(sandbox, pool)
        port = urlsplit(sandbox.url("hook")).port
        before = time.monotonic()
    assert time.monotonic() - before < 2
    with pytest.raises(requests.ConnectionError):
        hanging.result(DEADLINE_SECONDS)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port or 0)))
    assert not [t for t in threading.enumerate() if t not in threads and "Pool" not in t.name]


def test_a_stop_ends_a_drip_and_a_delay(pool: ThreadPoolExecutor) -> None:
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(PartnerSandbox(SITES))
        sandbox.set_fault("hook", Fault(drip=True))
        sandbox.set_fault("other", Fault(delay_seconds=600))
        slow = [pool.submit(post, sandbox, "1", site=site) for site in ("hook", "other")]
        assert sandbox.wait_for("hook", arrived(1))
        assert sandbox.wait_for("other", arrived(1))
    for answer in slow:
        with pytest.raises(requests.ConnectionError):
            answer.result(DEADLINE_SECONDS)


# Faults of the connection itself.


def answer_of(sandbox: PartnerSandbox, fault: Fault, end: bytes) -> bytes:
    """What comes, to its end."""
    sandbox.set_fault("hook", fault)
    came = b""
    with raw_request(sandbox, "1") as connection:
        while not came.endswith(end) and (more := connection.recv(65_536)):
            came += more
    return came


def test_every_second_request_can_meet_a_fault(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(status=503, every=2))
    assert [post(sandbox, "1").status_code for _ in range(4)] == [503, 200, 503, 200]


def test_events_can_be_kept_though_the_answer_does_not_say_so(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(status=504, keeps=True, headers={"X-Of": "a proxy"}))
    answer = post(sandbox, "1")
    assert (answer.status_code, answer.headers["X-Of"]) == (504, "a proxy")
    assert sandbox.accepted_ids("hook") == ["1"]


def test_events_can_be_kept_though_no_answer_comes(
    sandbox: PartnerSandbox, pool: ThreadPoolExecutor
) -> None:
    sandbox.set_fault("hook", Fault(hang=True, keeps=True))
    hanging = pool.submit(post, sandbox, "1")
    assert sandbox.wait_for("hook", lambda counts: counts.accepted == 1)
    assert not hanging.done()
    sandbox.set_fault("hook", None)
    assert hanging.result(DEADLINE_SECONDS).status_code == 200
    assert sandbox.accepted_ids("hook") == ["1"]


@pytest.mark.parametrize("how", ["reset_at_head", "reset_in_body"])
def test_a_connection_can_be_reset_before_the_request_is_whole(
    how: Wire, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(wire=how, times=1))
    with raw_request(sandbox, "1") as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)
    [received] = sandbox.requests("hook")
    assert (received.event_ids, received.status) == ([], None)
    assert post(sandbox, "1").status_code == 200


def test_a_request_can_be_answered_before_its_body_is_read(sandbox: PartnerSandbox) -> None:
    came = answer_of(sandbox, Fault(wire="early_answer", status=413, body=b"no"), b"no")
    assert came.startswith(b"HTTP/1.1 413 ")
    [received] = sandbox.requests("hook")
    assert (received.event_ids, received.status) == ([], 413)


def test_of_a_body_that_is_read_slowly_nothing_is_kept(sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(wire="slow_body"))
    with raw_request(sandbox, "1") as connection:
        assert sandbox.wait_for("hook", arrived(1))
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    sandbox.set_fault("hook", None)
    assert post(sandbox, "2").status_code == 200
    assert sandbox.accepted_ids("hook") == ["2"]


OK = b"HTTP/1.1 200 OK\r\n"


def test_interim_answers_can_come_first(sandbox: PartnerSandbox) -> None:
    came = answer_of(sandbox, Fault(status=200, keeps=True, body=b"yes", wire="interim"), b"yes")
    assert OK in came
    assert came.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n")
    assert sandbox.accepted_ids("hook") == ["1"]


@pytest.mark.parametrize(
    ("how", "begin", "end"),
    [
        ("cut_short", OK + b"Content-Length: 105\r\n", b"hello"),
        ("no_length", b"HTTP/1.0 200 OK\r\n\r\n", b"hello"),
        ("bad_chunks", OK + b"Transfer-Encoding: chunked\r\n", b"\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
        ("no_http", b"220 mail.example.com", b"ESMTP\r\n"),
        ("surplus", OK, b"helloHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("close", OK, b"hello"),
    ],
)
def test_an_answer_can_go_wrong_on_the_wire(
    how: Wire, begin: bytes, end: bytes, sandbox: PartnerSandbox
) -> None:
    came = answer_of(sandbox, Fault(wire=how, status=200, keeps=True, body=b"hello"), end)
    assert came.startswith(begin)
    assert came.endswith(end)
    assert sandbox.accepted_ids("hook") == ["1"]


def test_an_answer_can_be_reset_in_its_middle(sandbox: PartnerSandbox) -> None:
    with pytest.raises(ConnectionResetError):
        answer_of(sandbox, Fault(wire="reset_in_answer"), b"never")
    assert sandbox.accepted_ids("hook") == ["1"]


def test_a_long_answer_comes_whole_and_ends_when_the_client_leaves(
    sandbox: PartnerSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.set_fault("hook", Fault(wire="long_answer"))
    with raw_request(sandbox, "1") as connection:
        assert connection.recv(1) == b"H"
    monkeypatch.setattr("sandbox.partners.wire.LONG_ANSWER_BYTES", 1 << 20)
    assert len(post(sandbox, "2").content) == 1 << 20


def test_https_is_spoken_with_a_certificate() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    with PartnerSandbox(SITES, tls=server) as sandbox:
        url = urlsplit(sandbox.url("hook"))
        assert url.scheme == "https"
        connection = HTTPSConnection(str(url.hostname), url.port, context=client)
        connection.request("POST", url.path, body_of("1"), HEADERS)
        assert connection.getresponse().status == 200
    connection.close()
    assert sandbox.accepted_ids("hook") == ["1"]


@pytest.mark.parametrize(
    "fields",
    [
        {"status": 99},
        {"status": 1_000},
        {"times": 0},
        {"every": 0},
        {"keeps": True},
        {"headers": {"Location": "/"}},
        {"wire": "cut"},
        {"wire": "early_answer"},
        {"delay_seconds": -1},
        {"retry_after": "2"},
        {"body": "x"},
        {"stauts": 503},
        {"hang": "yes"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(
    sandbox: PartnerSandbox, fields: dict[str, Any]
) -> None:
    answer = put_fault(sandbox, fields)
    assert answer.status_code == 400
    assert answer.text
    assert post(sandbox, "1").status_code == 200


# Control.


def test_a_fault_can_be_set_and_cleared_over_http(sandbox: PartnerSandbox) -> None:
    fields = {"status": 503, "retry_after": "2", "body": "busy", "reject_ids": ["b", "a"]}
    assert put_fault(sandbox, fields).json()["fault"] == {**fields, "reject_ids": ["a", "b"]}
    answer = post(sandbox, "a")
    assert (answer.status_code, answer.content) == (503, b"busy")
    assert put_fault(sandbox, {}).json()["fault"] == {}
    assert post(sandbox, "a").status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]"])
def test_what_is_no_json_object_sets_no_fault(sandbox: PartnerSandbox, body: bytes) -> None:
    assert put_fault(sandbox, body).status_code == 400


def test_the_fault_of_an_unknown_site_cannot_be_set(sandbox: PartnerSandbox) -> None:
    assert put_fault(sandbox, {"status": 503}, site="hok").status_code == 404


def test_the_state_shows_counts_faults_requests_and_no_credentials(
    sandbox: PartnerSandbox,
) -> None:
    sandbox.set_fault("other", Fault(status=500, body=b"no, 1/abc"))
    post(sandbox, "1")
    answer = requests.get(control_url(sandbox, "/state"), timeout=DEADLINE_SECONDS)
    sites = answer.json()["sites"]
    size = len(body_of("1"))
    hook, [request] = sites["hook"], sites["hook"].pop("requests")
    assert hook == {
        "kind": "postback",
        "counts": {"requests": 1, "accepted": 1, "refused": 0, "bytes": size},
        "fault": {},
    }
    assert (request["number"], request["events"], request["status"]) == (0, 1, 200)
    assert (request["body_bytes"], request["feed"]) == (size, None)
    assert sites["other"]["fault"] == {"status": 500, "body": "no, •••"}
    assert "1/abc" not in answer.text


def test_the_state_tells_of_the_last_dozen_requests_newest_first(sandbox: PartnerSandbox) -> None:
    for number in range(14):
        post(sandbox, str(number))
    answer = requests.get(control_url(sandbox, "/state"), timeout=DEADLINE_SECONDS)
    told = [request["number"] for request in answer.json()["sites"]["hook"]["requests"]]
    assert told == [*range(13, 1, -1)]


# The server.


def test_twenty_clients_at_once_lose_and_mix_up_nothing(
    sandbox: PartnerSandbox, pool: ThreadPoolExecutor
) -> None:
    def post_many(client: int) -> list[int]:
        with requests.Session() as session:
            url = sandbox.url("hook")
            bodies = [body_of(f"{client}-{n}-a", f"{client}-{n}-b") for n in range(20)]
            return [session.post(url, data=b, headers=HEADERS).status_code for b in bodies]

    statuses = [status for done in pool.map(post_many, range(20)) for status in done]
    assert statuses == [200] * 400
    ids = sandbox.accepted_ids("hook")
    assert set(ids) == {f"{c}-{n}-{x}" for c in range(20) for n in range(20) for x in "ab"}
    assert len(ids) == 800
    assert sandbox.counts("hook").requests == 400
    for client in range(20):
        own = [event_id for event_id in ids if event_id.startswith(f"{client}-")]
        assert own == [f"{client}-{n}-{x}" for n in range(20) for x in "ab"]


def test_it_listens_on_loopback_alone(sandbox: PartnerSandbox) -> None:
    assert urlsplit(sandbox.url("hook")).hostname == "127.0.0.1"
    port = int(urlsplit(sandbox.url("hook")).port or 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port))


def test_a_port_that_is_taken_is_an_error(sandbox: PartnerSandbox) -> None:
    port = int(urlsplit(sandbox.url("hook")).port or 0)
    with pytest.raises(OSError, match="in use"):
        PartnerSandbox(SITES, port=port).__enter__()


def test_a_port_can_be_chosen_and_taken_again() -> None:
    with PartnerSandbox(SITES) as first:
        port = int(urlsplit(first.url("hook")).port or 0)
        post(first, "1")
    with PartnerSandbox(SITES, port=port) as second:
        assert second.url("hook") == first.url("hook")
        assert post(second, "1").status_code == 200
