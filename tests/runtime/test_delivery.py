"""Deliveries to real servers: every event of a batch ends delivered, undelivered or given up."""

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime import sending
from runtime.address import AddressPolicy
from runtime.answers import sanitise, spelled_out
from runtime.clock import now_ms
from runtime.connectors import ConnectorEntry
from runtime.delivery import Deliverer, Delivery, Outcome
from runtime.exchange import HttpExchange
from runtime.pool import LanePool
from runtime.secrets import SecretStore
from runtime.worker import POOL_THREADS
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.samples import sample_events
from schemas.connector import decode_hook, secret_references
from schemas.lane import Lane
from sinks import sink_kinds
from sinks.sink import Answer, HttpRequest, Packed
from tests.pipeline.running import eventually
from tests.runtime.wire import ok, says, serving

HOOK = {"kind": "postback", "name": "hook"}
WAIT = b"HTTP/1.1 429 Slow\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"
EVENTS = list(sample_events(250, seed=5))
IDS = [msgspec.json.decode(event)["id"] for event in EVENTS]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite(token="right")}) as running:
        yield running


@pytest.fixture
def exchange() -> Iterator[HttpExchange]:
    running = HttpExchange(AddressPolicy(allow_local=True), 8)
    yield running
    running.close()


@pytest.fixture
def deliverer(exchange: HttpExchange) -> Iterator[Deliverer]:
    pool = LanePool(16)
    yield deliverer_of(pool, exchange)
    pool.close()


def deliverer_of(pool: LanePool, exchange: HttpExchange) -> Deliverer:
    begin, start = partial(sending.begin, exchange), partial(sending.start, exchange)
    return Deliverer(pool, SecretStore(), begin, start)


@pytest.fixture
def start(sandbox: PartnerSandbox, deliverer: Deliverer, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TOKEN", "right")

    def begin(events: Sequence[bytes], **changes: Any) -> Delivery:
        raw = {"name": "hook", "url": sandbox.url("hook"), "token": "env:TOKEN", **changes}
        delivery = deliverer.start(Lane("hook", ""), entry_of({"kind": "postback", **raw}), events)
        assert delivery.wait(20)
        return delivery

    sandbox.set_fault("hook", None)
    return begin


def entry_of(raw: Mapping[str, Any]) -> ConnectorEntry:
    sink_type = sink_kinds()[raw["kind"]]
    settings = msgspec.convert(raw, sink_type.settings_type, dec_hook=decode_hook)
    return ConnectorEntry(settings, sink_type(settings), tuple(secret_references(settings)))


def fates(outcome: Outcome) -> tuple[int, int, int]:
    undelivered = sum(len(part.events) for part in outcome.undelivered)
    return outcome.tally.delivered, undelivered, len(outcome.given_up)


def test_a_batch_is_delivered_in_requests_of_a_hundred(start: Any, sandbox: PartnerSandbox) -> None:
    before = len(sandbox.accepted_ids("hook"))
    outcome = start(EVENTS).outcome
    assert fates(outcome) == (250, 0, 0)
    assert (outcome.tally.requests, outcome.tally.attempts) == (3, 3)
    assert sorted(sandbox.accepted_ids("hook")[before:]) == sorted(IDS)
    assert outcome.tally.latency_ms(0.5) is not None


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503, 302])
def test_a_passing_fault_is_tried_again_at_once(
    status: int, start: Any, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(status=status, times=2))
    outcome = start(EVENTS[:10]).outcome
    assert fates(outcome) == (10, 0, 0)
    assert outcome.tally.attempts == 3


def test_three_tries_are_made_and_then_the_events_are_undelivered(
    start: Any, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(status=503))
    outcome = start(EVENTS[:10]).outcome
    assert fates(outcome) == (0, 10, 0)
    assert outcome.undelivered[0].reason == "status_503"
    assert outcome.undelivered[0].attempts == outcome.tally.attempts == 3


def test_a_long_retry_after_is_honoured_by_not_trying_again(
    start: Any, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(status=429, retry_after="60"))
    outcome = start(EVENTS[:10]).outcome
    assert fates(outcome) == (0, 10, 0)
    assert outcome.tally.attempts == 1


def test_a_short_retry_after_is_waited_for(start: Any, sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(status=429, retry_after="1", times=1))
    before = len(sandbox.requests("hook"))
    assert fates(start(EVENTS[:10]).outcome) == (10, 0, 0)
    first, second = sandbox.requests("hook")[before:]
    assert second.at - first.at >= 1


@pytest.mark.parametrize("status", [401, 403, 404, 407])
def test_a_refused_key_is_not_tried_again_and_suspends_the_rest_of_the_batch(
    status: int, start: Any, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(status=status))
    outcome = start(EVENTS, concurrency=1).outcome
    assert fates(outcome) == (0, 250, 0)
    assert outcome.tally.attempts == 1
    assert {part.reason for part in outcome.undelivered} == {f"status_{status}"}


def test_a_rejection_at_a_literal_url_with_a_query_is_an_outcome(
    start: Any, sandbox: PartnerSandbox
) -> None:
    """Its answer is searched for what the query says; once that ended the thread."""
    sandbox.set_fault("hook", Fault(reject_ids=frozenset({IDS[3]})))
    outcome = start(EVENTS[:10], url=sandbox.url("hook") + "/in?app_group=Brand%20A").outcome
    assert fates(outcome) == (9, 0, 1)


def test_one_poison_event_is_found_and_given_up_and_the_others_are_delivered(
    start: Any, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(reject_ids=frozenset({IDS[37]})))
    outcome = start(EVENTS[:100]).outcome
    assert fates(outcome) == (99, 0, 1)
    assert outcome.given_up[0].event == EVENTS[37]
    assert (outcome.given_up[0].reason, outcome.given_up[0].status) == ("rejected", 400)
    assert outcome.tally.attempts <= 1 + 16


def test_a_batch_of_which_nothing_is_accepted_is_kept_whole(
    start: Any, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(status=422))
    outcome = start(EVENTS[:100]).outcome
    assert fates(outcome) == (0, 100, 0)
    assert {part.reason for part in outcome.undelivered} == {"rejected"}
    assert outcome.tally.attempts <= 1 + 16


def test_413_splits_and_a_single_event_that_alone_is_too_large_is_given_up(
    start: Any, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(status=413, times=2))
    assert fates(start(EVENTS[:8]).outcome) == (8, 0, 0)
    sandbox.set_fault("hook", Fault(status=413, reject_ids=frozenset({IDS[5]})))
    outcome = start(EVENTS[:8]).outcome
    assert fates(outcome) == (7, 0, 1)
    assert outcome.given_up[0].event == EVENTS[5]
    assert (outcome.given_up[0].reason, outcome.given_up[0].status) == ("too_large", 413)


@pytest.mark.parametrize("count", [1, 2, 130])
def test_a_partner_that_finds_everything_too_large_has_nothing_buried(
    count: int, start: Any, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(status=413))
    outcome = start(EVENTS[:count]).outcome
    assert fates(outcome) == (0, count, 0)
    assert {(part.reason, part.blame) for part in outcome.undelivered} == {("too_large", "events")}
    assert outcome.tally.attempts <= 2 + 16  # of two requests at the most


def test_a_partner_that_takes_but_a_hundredth_of_a_request_gets_all_of_it_in_parts(
    deliverer: Deliverer,
) -> None:
    def take_three(connection: socket.socket, request: bytes) -> None:
        takes = request.count(b'"event_type"') <= 3
        connection.sendall(ok() if takes else b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")

    with serving(take_three) as server:
        entry = entry_of({**HOOK, "url": server.url, "max_events": 250})
        delivery = deliverer.start(Lane("hook", ""), entry, EVENTS[:250])
        assert delivery.wait(20)
    assert fates(delivery.outcome) == (250, 0, 0)


def test_a_key_that_was_renewed_at_both_ends_is_read_again_and_nothing_is_suspended(
    start: Any, deliverer: Deliverer, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("wrong")
    deliverer.secrets.resolve([f"file:{key}"])
    key.write_text("right")
    outcome = start(EVENTS, token=f"file:{key}").outcome
    assert fates(outcome) == (250, 0, 0)
    assert not deliverer.leaves_alone("hook")


def test_a_new_key_that_is_refused_too_suspends(deliverer: Deliverer, tmp_path: Path) -> None:
    key = tmp_path / "key"

    def refuse(connection: socket.socket, _: bytes) -> None:
        key.write_text(f"key {len(server.requests)}")  # another one at each look
        connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")

    key.write_text("key")
    with serving(refuse) as server:
        entry = entry_of({**HOOK, "url": server.url, "token": f"file:{key}"})
        delivery = deliverer.start(Lane("hook", ""), entry, EVENTS[:10])
        assert delivery.wait(20)
        assert len(server.requests) == 2
    assert fates(delivery.outcome) == (0, 10, 0)
    assert [part.blame for part in delivery.outcome.undelivered] == ["lane"]
    assert deliverer.leaves_alone("hook")


def test_a_wait_that_the_partner_asks_for_is_kept_though_it_takes_what_is_on_its_way(
    deliverer: Deliverer,
) -> None:
    """Of two requests on their way one is told to wait; then the other one is accepted."""
    told, together = threading.Event(), threading.Barrier(2)

    def one_of_two(connection: socket.socket, request: bytes) -> None:
        together.wait(20)
        if IDS[0].encode() in request:
            connection.sendall(WAIT)
        else:
            assert told.wait(20)
            connection.sendall(ok())

    with serving(one_of_two) as server:
        entry = entry_of({**HOOK, "url": server.url, "max_events": 1})
        delivery = deliverer.start(Lane("hook", ""), entry, EVENTS[:2])
        assert eventually(lambda: deliverer.leaves_alone("hook"))
        told.set()
        assert delivery.wait(20)
        assert fates(delivery.outcome) == (1, 1, 0)
        assert deliverer.leaves_alone("hook")
        later = deliverer.start(Lane("hook", ""), entry, EVENTS[2:20])
        assert later.wait(20)
        assert fates(later.outcome) == (0, 18, 0)
        assert len(server.requests) == 2


def test_a_release_ends_where_the_partner_asks_to_wait(deliverer: Deliverer) -> None:
    with serving(says(WAIT)) as server:
        entry = entry_of({**HOOK, "url": server.url, "max_events": 1, "concurrency": 1})
        delivery = deliverer.release(Lane("hook", ""), entry, EVENTS[:20])
        assert delivery.wait(20)
        assert len(server.requests) == 1
    assert fates(delivery.outcome) == (0, 20, 0)
    assert all(part.retry_at_ms for part in delivery.outcome.undelivered)


def test_an_absurd_wait_is_cut_to_six_hours(deliverer: Deliverer) -> None:
    with serving(says(WAIT.replace(b"60", b"1764184000"))) as server:
        entry = entry_of({**HOOK, "url": server.url})
        delivery = deliverer.start(Lane("hook", ""), entry, EVENTS[:1])
        assert delivery.wait(20)
    assert delivery.outcome.undelivered[0].retry_at_ms <= now_ms() + 6 * 3_600_000


def test_a_url_that_is_a_secret_is_not_shown_by_a_page_that_repeats_its_path(
    deliverer: Deliverer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_found(connection: socket.socket, request: bytes) -> None:
        page = b"<pre>Cannot POST %s</pre>" % request.split()[1].partition(b"?")[0]
        head = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(page)
        connection.sendall(head + page)

    with serving(not_found) as server:
        monkeypatch.setenv("HOOK", f"{server.url}services/T0123/abcdefghijklmnop?v=1")
        delivery = deliverer.start(
            Lane("hook", ""), entry_of({**HOOK, "url": "env:HOOK"}), EVENTS[:1]
        )
        assert delivery.wait(20)
    assert delivery.outcome.undelivered[0].answer == "<pre>Cannot POST [SECRET]</pre>"


def test_forty_lanes_that_hang_on_all_their_requests_hold_up_no_other() -> None:
    stopped = threading.Event()

    def hang(connection: socket.socket, _: bytes) -> None:
        stopped.wait(20)
        connection.sendall(ok())

    exchange = HttpExchange(AddressPolicy(allow_local=True), POOL_THREADS)
    pool = LanePool(POOL_THREADS)
    deliverer = deliverer_of(pool, exchange)
    with serving(hang) as bad, serving(says(ok())) as good:
        hanging = [
            deliverer.start(
                Lane(f"bad-{number}", ""),
                entry_of({**HOOK, "url": bad.url, "max_events": 1, "concurrency": 8}),
                EVENTS[:8],
            )
            for number in range(40)
        ]
        assert eventually(lambda: len(bad.requests) >= POOL_THREADS // 2)
        began = time.monotonic()
        delivery = deliverer.start(
            Lane("good", ""), entry_of({**HOOK, "url": good.url}), EVENTS[:10]
        )
        assert delivery.wait(20)
        assert time.monotonic() - began < 0.5
        assert fates(delivery.outcome) == (10, 0, 0)
        stopped.set()
        assert all(one.wait(20) for one in hanging)
    pool.close()
    exchange.close()


def test_a_hang_ends_at_the_deadline(start: Any, sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(hang=True))
    outcome = start(EVENTS[:10], timeout="700 ms").outcome
    assert fates(outcome) == (0, 10, 0)
    assert outcome.undelivered[0].reason == "timeout"


def test_a_secret_that_is_gone_keeps_the_events_and_names_the_reference(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKEN")
    outcome = start(EVENTS[:10]).outcome
    assert fates(outcome) == (0, 10, 0)
    assert outcome.undelivered[0].reason == "secret"
    assert "env:TOKEN" in outcome.undelivered[0].answer


def test_an_answer_that_repeats_the_key_is_kept_without_it(
    start: Any, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(status=503, body=b"the key right is not \x00 wanted"))
    outcome = start(EVENTS[:1]).outcome
    assert outcome.undelivered[0].answer == "the key [SECRET] is not wanted"


def test_an_answer_that_repeats_the_authorization_or_the_query_is_kept_without_them() -> None:
    request = HttpRequest(
        "POST", "https://a.example.com/p?key=abc", {"Authorization": "Basic YTpi"}, b""
    )
    answer = Answer(400, body=b"POST /p?key=abc with Basic YTpi (key=abc) is refused")
    said = sanitise(answer, spelled_out(request))
    assert said == "POST [SECRET] with Basic [SECRET] ([SECRET]) is refused"


@pytest.mark.parametrize(("entry", "reason"), [(None, "connector_removed"), ("paused", "paused")])
def test_events_of_a_removed_or_paused_connector_are_kept(
    entry: str | None, reason: str, deliverer: Deliverer
) -> None:
    raw = {"kind": "postback", "name": "hook", "url": "https://example.com", "paused": True}
    found = entry_of(raw) if entry else None
    outcome = deliverer.start(Lane("hook", ""), found, EVENTS[:3]).outcome
    assert fates(outcome) == (0, 3, 0)
    assert outcome.undelivered[0].reason == reason


def test_events_that_were_routed_for_another_kind_of_connector_are_kept(
    sandbox: PartnerSandbox, deliverer: Deliverer, tmp_path: Path
) -> None:
    hook = entry_of({"kind": "postback", "name": "a", "url": sandbox.url("hook")})
    lake = entry_of({"kind": "avro_files", "name": "a", "path": str(tmp_path / "lake")})
    before = sandbox.counts("hook").requests
    for entry, part in ((hook, "users.messages.email.Open/2026-01-31-23"), (lake, "")):
        outcome = deliverer.start(Lane("a", part), entry, EVENTS[:3]).outcome
        assert fates(outcome) == (0, 3, 0)
        assert outcome.undelivered[0].reason == "other_kind"
    assert sandbox.counts("hook").requests == before
    assert not (tmp_path / "lake").exists()


def test_what_comes_with_a_reason_to_be_held_is_not_sent(
    sandbox: PartnerSandbox, deliverer: Deliverer
) -> None:
    entry = entry_of({"kind": "postback", "name": "hook", "url": sandbox.url("hook")})
    before = sandbox.counts("hook").requests
    delivery = deliverer.start(Lane("hook", ""), entry, EVENTS[:3], hold_reason="rate_limit")
    assert delivery.done
    assert fates(delivery.outcome) == (0, 3, 0)
    (kept,) = delivery.outcome.undelivered
    assert (kept.reason, kept.blame, kept.attempts) == ("rate_limit", "none", 0)
    assert sandbox.counts("hook").requests == before


@pytest.mark.parametrize("place", ["pack", "judge"])
def test_a_mistake_in_a_sink_keeps_the_events(
    place: str, deliverer: Deliverer, sandbox: PartnerSandbox
) -> None:
    entry = entry_of({"kind": "postback", "name": "hook", "url": sandbox.url("hook")})

    def mistake(*_: Any) -> Packed:
        raise KeyError("a value of the event")

    broken = type(entry.sink)(entry.settings)
    setattr(broken, place, mistake)
    delivery = deliverer.start(
        Lane("hook", ""), ConnectorEntry(entry.settings, broken, ()), EVENTS[:3]
    )
    assert delivery.wait(20)
    outcome = delivery.outcome
    assert fates(outcome) == (0, 3, 0)
    assert outcome.undelivered[0].reason == "sink_error"
    assert "value of the event" not in outcome.undelivered[0].answer


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    count=st.integers(1, 250),
    poison=st.sets(st.sampled_from(IDS), max_size=6),
    fault=st.sampled_from(
        [None, Fault(status=503, times=2), Fault(status=413, times=3), Fault(reset=True, times=1)]
    ),
)
def test_every_event_has_exactly_one_fate(
    count: int, poison: set[str], fault: Fault | None, start: Any, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", fault or Fault(reject_ids=frozenset(poison)))
    outcome = start(EVENTS[:count]).outcome
    assert sum(fates(outcome)) == count
    kept = [event for part in outcome.undelivered for event in part.events]
    gone = [given_up.event for given_up in outcome.given_up]
    assert len({*kept, *gone}) == len(kept) + len(gone)


def test_a_lane_that_hangs_is_left_alone_and_its_next_batches_are_undelivered_at_once(
    start: Any, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(hang=True))
    start(EVENTS[:10], timeout="300 ms")
    before = len(sandbox.requests("hook"))
    outcome = start(EVENTS, timeout="300 ms").outcome
    assert fates(outcome) == (0, 250, 0)
    assert {part.reason for part in outcome.undelivered} == {"suspended"}
    assert len(sandbox.requests("hook")) == before


def test_a_request_that_waited_long_for_its_turn_still_has_its_quick_tries(
    start: Any, sandbox: PartnerSandbox
) -> None:
    """26 requests one after another take over 2 s; the one that then fails is tried again."""
    answered: list[int] = []

    def slow_then_failing() -> None:
        assert sandbox.wait_for("hook", lambda counts: counts.requests >= base + 24, 20)
        sandbox.set_fault("hook", Fault(status=503, times=1))
        answered.append(1)

    base = sandbox.counts("hook").requests
    sandbox.set_fault("hook", Fault(delay_seconds=0.1))
    failing = threading.Thread(target=slow_then_failing)
    failing.start()
    outcome = start(EVENTS[:26], concurrency=1, max_events=1).outcome
    failing.join()
    assert answered
    assert fates(outcome) == (26, 0, 0)
    assert outcome.tally.attempts == 27


def test_a_disabled_connector_is_sent_nothing(start: Any, sandbox: PartnerSandbox) -> None:
    before = len(sandbox.requests("hook"))
    outcome = start(EVENTS[:3], enabled=False).outcome
    assert [part.reason for part in outcome.undelivered] == ["disabled"]
    assert len(sandbox.requests("hook")) == before


def test_a_mistake_in_sending_ends_the_delivery_and_keeps_its_events(
    exchange: HttpExchange, sandbox: PartnerSandbox
) -> None:
    def fail(*_: object) -> None:
        raise LookupError("SECRET")

    pool = LanePool(2)
    deliverer = Deliverer(pool, SecretStore(), partial(sending.begin, exchange), fail)
    entry = entry_of({**HOOK, "url": sandbox.url("hook"), "concurrency": 1})
    for _ in range(4):  # more than there are threads
        delivery = deliverer.start(Lane("hook", ""), entry, EVENTS[:2])
        assert delivery.wait(20)
        (kept,) = delivery.outcome.undelivered
        assert (kept.reason, kept.events) == ("sink_error", EVENTS[:2])
        assert kept.answer.startswith("LookupError at fail:")
    pool.close()
