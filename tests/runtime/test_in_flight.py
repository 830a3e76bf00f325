"""What an outcome leaves to do, and which deliveries are in the air."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from runtime.clock import now_ms
from runtime.connectors import Config
from runtime.deadline import Deadlines
from runtime.delivery import Deliverer, Delivery, GivenUp, Undelivered
from runtime.in_flight import Flight, InFlight, take_off
from runtime.keeping import VERSION, decode_holding, decode_letters
from runtime.pool import LanePool
from runtime.receipts import Receipts
from runtime.secrets import SecretStore
from schemas.batch import Batch, Token, make_batch
from schemas.lane import Lane
from sinks.sink import Answer, Request
from tests.runtime.configs import config_of, hook

EVENTS = [b'{"id":"1"}', b'{"id":"2"}', b'{"id":"3"}']
OLDEST, NEWEST = 1_900_000_000_000, 1_900_000_005_000
DAY = 86_400
DEADLINES = Deadlines(2 * DAY)
CONFIG = Config("v7", config_of(hook("crm"), hook("slow", max_event_age="9 d")).connectors)
HELD = Undelivered(EVENTS[:1], "status_503", 503, "busy", 3, "try", NEWEST + 60_000)
DEAD = GivenUp(EVENTS[1], "deliver", "rejected", "the partner answered 400", 400, "no", 2)


@pytest.fixture
def pool() -> Iterator[LanePool]:
    running = LanePool(2)
    yield running
    running.close()


@pytest.fixture
def deliverer(pool: LanePool) -> Deliverer:
    def begin(*_: object) -> bool:
        return False

    def start(_: Request, timeout: float, done: Callable[[Answer], None]) -> None:  # noqa: ARG001
        done(Answer(200))

    return Deliverer(pool, SecretStore(), begin, start)


@pytest.fixture
def receipts() -> Receipts:
    return Receipts()


def batch_of(events: Sequence[bytes] = EVENTS, *tokens: Token, **changes: Any) -> Batch:
    return make_batch(events, OLDEST, NEWEST, tokens, **changes)


def flight_of(
    deliverer: Deliverer, batch: Batch, *parts: Undelivered | GivenUp, lane: str = "crm"
) -> Flight:
    """A delivery of which this came back."""
    delivery = Delivery(deliverer, Lane(lane, ""), CONFIG.connectors[lane])
    for part in parts:
        if isinstance(part, Undelivered):
            delivery.outcome.undelivered.append(part)
        else:
            delivery.outcome.given_up.append(part)
    return Flight(Lane(lane, ""), batch, delivery, "v7")


# Landing


def test_what_is_undelivered_goes_to_the_hold_with_all_that_is_known_of_it(
    deliverer: Deliverer, receipts: Receipts
) -> None:
    tokens = [Token(1, 1, "0"), Token(2, 1, "0")]
    before = now_ms()
    landed = flight_of(deliverer, batch_of(EVENTS, *tokens, replays=2), HELD).land(receipts)
    assert landed.letters is None
    assert landed.holding is not None
    assert (landed.hold_lane, list(landed.tokens)) == ("crm", [])
    holding = decode_holding(landed.holding)
    assert (holding.version, holding.tokens) == (VERSION, tokens)
    (held,) = holding.batches
    assert (held.events, held.reason, held.status, held.answer) == (
        EVENTS[:1],
        "status_503",
        503,
        "busy",
    )
    assert (held.oldest_ms, held.newest_ms, held.replays) == (OLDEST, NEWEST, 2)
    assert (held.attempts, held.blame, held.retry_at_ms) == (3, "try", NEWEST + 60_000)
    assert before <= held.first_failed_ms <= now_ms()


def test_what_is_given_up_becomes_a_letter_with_its_life(
    deliverer: Deliverer, receipts: Receipts
) -> None:
    token = Token(1, 1, "0")
    landed = flight_of(deliverer, batch_of(EVENTS, token, replays=1), DEAD).land(receipts)
    assert landed.holding is None
    assert landed.letters is not None
    assert list(landed.tokens) == []
    letters = decode_letters(landed.letters)
    assert (letters.version, letters.tokens) == (VERSION, [token])
    (letter,) = letters.letters
    assert (letter.event, letter.stage, letter.reason) == (EVENTS[1], "deliver", "rejected")
    assert (letter.connector, letter.lane, letter.config_version) == ("crm", "crm/0/", "v7")
    assert (letter.status, letter.answer, letter.attempts) == (400, "no", 2)
    assert (letter.published_ms, letter.replays) == (NEWEST, 1)


def test_what_is_delivered_whole_settles_its_own_shares(
    deliverer: Deliverer, receipts: Receipts
) -> None:
    token = Token(1, 1, "0")
    flight = flight_of(deliverer, batch_of(EVENTS, token))
    flight.delivery.outcome.tally.delivered = 3
    landed = flight.land(receipts)
    assert (landed.holding, landed.letters, list(landed.tokens)) == (None, None, [token])
    assert landed.tally.delivered == 3


def share_of_a_pull(receipts: Receipts, acknowledge: Callable[[], None]) -> Token:
    """The only share of a pull that was read."""
    receipt = receipts.issue(3, 30, acknowledge)
    reading = receipts.begin(receipt)
    token = Token(receipt, reading, "0")
    receipts.open(token)
    receipts.decoded(receipt, reading)
    return token


@pytest.mark.parametrize(
    ("parts", "ways"),
    [([HELD], ["hold"]), ([DEAD], ["letters"]), ([HELD, DEAD], ["hold", "letters"])],
)
def test_a_pull_is_acknowledged_when_the_hold_and_the_letters_have_what_is_theirs(
    parts: list[Undelivered | GivenUp],
    ways: list[str],
    deliverer: Deliverer,
    receipts: Receipts,
) -> None:
    acknowledged: list[int] = []
    token = share_of_a_pull(receipts, lambda: acknowledged.append(1))
    landed = flight_of(deliverer, batch_of(EVENTS, token), *parts).land(receipts)
    tokens = {}
    if landed.holding:
        tokens["hold"] = decode_holding(landed.holding).tokens
    if landed.letters:
        tokens["letters"] = decode_letters(landed.letters).tokens
    assert list(tokens) == ways
    for way in ways:
        assert acknowledged == []
        receipts.settle(tokens[way])
    assert acknowledged == [1]


def test_what_an_earlier_try_has_forked_does_not_keep_a_pull_open(
    deliverer: Deliverer, receipts: Receipts
) -> None:
    """A bundle is tried again, and this time nothing is given up."""
    acknowledged: list[int] = []
    token = share_of_a_pull(receipts, lambda: acknowledged.append(1))
    flight_of(deliverer, batch_of(EVENTS, token), HELD, DEAD).land(receipts)
    again = flight_of(deliverer, batch_of(EVENTS, token), HELD).land(receipts)
    assert again.holding is not None
    receipts.settle(decode_holding(again.holding).tokens)
    assert acknowledged == [1]


# Taking off


@pytest.mark.parametrize(
    ("connector", "age_seconds", "reason"),
    [
        ("crm", 2 * DAY - 1, None),
        ("crm", 2 * DAY, "expired"),
        ("slow", 2 * DAY, None),
        ("slow", 9 * DAY, "expired"),
        ("gone", 2 * DAY, "connector_removed"),
    ],
)
def test_what_comes_after_its_connectors_deadline_is_buried_untried(
    connector: str, age_seconds: int, reason: str | None, deliverer: Deliverer
) -> None:
    now = NEWEST + age_seconds * 1_000
    flight = take_off(deliverer, DEADLINES, CONFIG, f"{connector}/3/", batch_of(), now)
    assert flight.delivery.wait(10)
    outcome = flight.delivery.outcome
    buried = [(one.event, one.stage, one.reason) for one in outcome.given_up]
    assert buried == ([(event, "deliver", reason) for event in EVENTS] if reason else [])
    assert outcome.tally.delivered == (0 if reason else 3)
    assert (flight.lane, flight.config_version) == (Lane(connector, "", 3), "v7")
    assert flight.batch == batch_of()


def test_what_is_bound_for_the_hold_is_not_tried(deliverer: Deliverer) -> None:
    batch = Batch(OLDEST, NEWEST, [], EVENTS, 32, hold_reason="rate_limit")
    flight = take_off(deliverer, DEADLINES, CONFIG, "crm/0/", batch, NEWEST)
    assert flight.delivery.wait(10)
    (undelivered,) = flight.delivery.outcome.undelivered
    assert (undelivered.events, undelivered.reason) == (EVENTS, "rate_limit")
    assert flight.delivery.outcome.tally.attempts == 0


def test_a_lane_of_a_connector_that_is_gone_is_held_as_such(deliverer: Deliverer) -> None:
    flight = take_off(deliverer, DEADLINES, CONFIG, "gone/0/ios", batch_of(), NEWEST)
    assert flight.delivery.wait(10)
    (undelivered,) = flight.delivery.outcome.undelivered
    assert (undelivered.reason, flight.delivery.hold_lane) == ("connector_removed", "gone")


# In the air


def test_a_batch_that_comes_again_is_known_in_its_lane_alone(deliverer: Deliverer) -> None:
    flying, batch = InFlight(), batch_of(EVENTS, Token(1, 1, "0"))
    assert not flying.has("crm/0/", batch)
    flying.add("crm/0/", flight_of(deliverer, batch))
    assert flying.has("crm/0/", batch_of(EVENTS, Token(1, 1, "0")))
    assert not flying.has("crm/1/", batch)
    for other in (batch_of(EVENTS, Token(1, 2, "0")), batch_of(EVENTS[:2], Token(1, 1, "0"))):
        assert not flying.has("crm/0/", other)


def test_the_flights_of_a_lane_are_in_order_and_their_bytes_are_counted_until_they_land(
    deliverer: Deliverer,
) -> None:
    flying = InFlight()
    batches = [batch_of(EVENTS[:count]) for count in (1, 2, 3)]
    flights = [flight_of(deliverer, batch) for batch in batches]
    for flight in flights:
        flying.add("crm/0/", flight)
    other = flight_of(deliverer, batches[0])
    flying.add("crm/1/", other)
    assert flying.of("crm/0/") == flights
    assert flying.of("crm/1/") == [other]
    assert flying.of("crm/2/") == []
    sizes = [batch.size for batch in batches]
    assert flying.size == sum(sizes) + sizes[0]
    flying.remove("crm/0/", flights[:2])
    assert flying.of("crm/0/") == flights[2:]
    assert flying.size == sizes[2] + sizes[0]
    assert (flying.has("crm/0/", batches[0]), flying.has("crm/1/", batches[0])) == (False, True)
    flying.remove("crm/0/", flights[2:])
    flying.remove("crm/0/", flights[2:])
    flying.remove("crm/2/", flights)
    assert flying.of("crm/0/") == []
    assert flying.size == sizes[0]


def test_a_full_air_is_waited_for_no_longer_than_asked(
    deliverer: Deliverer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.in_flight.MAX_BYTES_IN_FLIGHT", 1)
    flying = InFlight()
    flying.wait_for_room(20)
    first, second = (flight_of(deliverer, batch_of(EVENTS[:n])) for n in (1, 2))
    flying.add("crm/0/", first)
    began = time.monotonic()
    flying.wait_for_room(0.05)
    assert 0.05 <= time.monotonic() - began < 10
    flying.add("crm/0/", second)
    first.delivery.give_up([], "expired")
    threading.Timer(0.05, second.delivery.give_up, [[], "expired"]).start()
    flying.wait_for_room(20)
    assert second.delivery.done


def test_an_air_that_is_full_of_what_has_ended_is_not_waited_for(
    deliverer: Deliverer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outcomes were not acted on yet: that is what makes room."""
    monkeypatch.setattr("runtime.in_flight.MAX_BYTES_IN_FLIGHT", 1)
    flying, ended = InFlight(), flight_of(deliverer, batch_of())
    flying.add("crm/0/", ended)
    ended.delivery.give_up([], "expired")
    flying.wait_for_room(20)
    assert flying.of("crm/0/") == [ended]


def test_a_partner_that_hangs_is_not_the_one_that_is_waited_for(
    deliverer: Deliverer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.in_flight.MAX_BYTES_IN_FLIGHT", 1)
    flying = InFlight()
    monkeypatch.setattr("runtime.shares.SHARE_EVENTS", len(EVENTS))
    monkeypatch.setattr("runtime.shares.SILENT_SECONDS", 0)
    hanging = flight_of(deliverer, batch_of(), lane="slow")
    hanging.delivery.started -= 60
    well = flight_of(deliverer, batch_of(EVENTS[:1]), lane="crm")
    for flight in (hanging, well):
        flying.add(f"{flight.lane.connector}/0/", flight)
    threading.Timer(0.05, well.delivery.give_up, [[], "expired"]).start()
    flying.wait_for_room(20)
    assert well.delivery.done
    assert not hanging.delivery.done
    threading.Timer(0.05, hanging.delivery.give_up, [[], "expired"]).start()
    flying.wait_for_room(20)
    assert hanging.delivery.done


def test_what_a_partner_that_hangs_does_not_get_is_held(
    deliverer: Deliverer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.shares.SHARE_EVENTS", 2 * len(EVENTS))
    monkeypatch.setattr("runtime.shares.SILENT_SECONDS", 0)
    slow, flying = Lane("slow", ""), InFlight()
    for name in ("crm", "slow", "slow"):
        assert flying.obstacle(slow) == ""
        flying.add(f"{name}/0/", flight_of(deliverer, batch_of(), lane=name))
    assert flying.obstacle(slow) == "unanswered"
    assert flying.obstacle(Lane("crm", "")) == ""
    held = take_off(deliverer, DEADLINES, CONFIG, "slow/0/", batch_of(), NEWEST, "unanswered")
    assert held.delivery.wait(10)
    assert [part.reason for part in held.delivery.outcome.undelivered] == ["unanswered"]
