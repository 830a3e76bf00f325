"""Deliveries to real servers: every event of a batch ends delivered, undelivered or given up."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.address import AddressPolicy
from runtime.answers import sanitise, spelled_out
from runtime.connectors import ConnectorEntry
from runtime.delivery import Deliverer, Delivery, Outcome
from runtime.exchange import HttpExchange
from runtime.pool import LanePool
from runtime.secrets import SecretStore
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.samples import sample_events
from schemas.connector import decode_hook, secret_references
from schemas.lane import Lane
from sinks import sink_kinds
from sinks.sink import Answer, HttpRequest, Packed, Request

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
    def send(request: Request, timeout_seconds: float) -> Answer:
        return exchange.send(request, timeout_seconds)  # type: ignore[arg-type]

    pool = LanePool(16)
    yield Deliverer(pool, SecretStore(), send)
    pool.close()


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


def test_413_splits_and_a_single_event_that_is_too_large_is_given_up(
    start: Any, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(status=413, times=2))
    assert fates(start(EVENTS[:8]).outcome) == (8, 0, 0)
    sandbox.set_fault("hook", Fault(status=413))
    outcome = start(EVENTS[:1]).outcome
    assert fates(outcome) == (0, 0, 1)
    assert outcome.given_up[0].reason == "too_large"


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
