"""The receiver takes what the partners take, and says of each how much it has got."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from benchmarks.bare_deliveries import CheckedPostbacks, ThreeKinds
from benchmarks.events import Due, Timed, benchmark_events, due_of, sum_of_ids, write_events
from benchmarks.partners import HEADERS, THREE_KINDS, url_of
from benchmarks.receiver import Receiver, receiving
from schemas.event import decode_header

EVENTS = list(benchmark_events(300))


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def post(receiver: Receiver, kind: str, name: str, body: bytes) -> int:
    url = url_of(receiver.url, kind, name)
    return requests.post(url, data=body, headers=dict(HEADERS[kind]), timeout=10).status_code


def envelope(events: list[bytes]) -> bytes:
    return b'{"events":[' + b",".join(events) + b"]}"


def test_the_bars_deliver_all_that_is_due_and_the_receiver_counts_it(tmp_path: Path) -> None:
    write_events(tmp_path / "events", len(EVENTS))
    due = due_of(tmp_path / "events")
    with receiving() as receiver:
        deliveries = ThreeKinds(receiver.url, THREE_KINDS)
        deliveries.add(EVENTS)
        deliveries.flush()
        deliveries.close()
        counts = receiver.counts()
    got = {THREE_KINDS[name]: Due(count.events, count.ids) for name, count in counts.items()}
    assert got == due
    assert sum(count.refused for count in counts.values()) == 0


def test_each_postback_gets_every_event(receiver: Receiver) -> None:
    deliveries = CheckedPostbacks(receiver.url, ["first", "second"])
    deliveries.add(EVENTS[:150])
    deliveries.add(EVENTS[150:])
    deliveries.flush()
    deliveries.close()
    ids = sum_of_ids(decode_header(event).id for event in EVENTS)
    for name in ("first", "second"):
        count = receiver.counts()[name]
        assert (count.requests, count.events, count.ids) == (3, 300, ids)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("postback", b'{"events":['),
        ("postback", b'{"events":[{"id":"1"}]}'),
        ("postback", b'{"events":[],"more":1}'),
        ("postback", envelope(EVENTS[:1])[:-3] + b'x"]}'),
        ("postback", envelope(EVENTS[:101])),
        ("postback", envelope([b" " * 900_000])),
        ("segment", b'{"batch":[{"type":"track"}]}'),
        ("segment", envelope(EVENTS[:1])),
        ("mparticle", envelope(EVENTS[:1])),
        ("mparticle", b'[{"environment":"production","events":[]}]'),
    ],
)
def test_what_a_partner_would_not_take_is_refused(
    receiver: Receiver, kind: str, body: bytes
) -> None:
    before = receiver.counts().get(f"strict-{kind}")
    assert post(receiver, kind, f"strict-{kind}", body) == 400
    after = receiver.counts()[f"strict-{kind}"]
    assert after.refused == (before.refused if before else 0) + 1
    assert after.events == 0


NOTHING = {"postback": b'{"events":[]}', "segment": b'{"batch":[]}', "mparticle": b"[]"}


@pytest.mark.parametrize("kind", list(HEADERS))
def test_a_request_without_its_headers_is_refused(receiver: Receiver, kind: str) -> None:
    url = url_of(receiver.url, kind, f"bare-{kind}")
    assert post(receiver, kind, f"bare-{kind}", NOTHING[kind]) in {200, 202}
    assert requests.post(url, data=NOTHING[kind], timeout=10).status_code == 400


def test_the_time_from_publishing_to_arrival_is_read_from_the_ids(receiver: Receiver) -> None:
    timed = [Timed(event, number) for number, event in enumerate(EVENTS[:50])]
    before = time.monotonic()
    body = envelope([EVENTS[60], *(event.published_now() for event in timed)])
    assert post(receiver, "postback", "timed", body) == 200
    took = time.monotonic() - before
    count = receiver.counts()["timed"]
    assert receiver.totals()["timed"].timed == count.timed
    assert (count.events, count.timed) == (51, 50)
    assert 0 < count.p50_seconds <= count.p99_seconds <= took
    arrivals = receiver.arrivals()["timed"]
    assert len(arrivals) == 50
    assert all(before <= arrival.published_at <= before + took for arrival in arrivals)
    assert max(arrival.latency for arrival in arrivals) <= took


def test_a_timed_event_differs_in_nothing_but_its_id() -> None:
    event = json.loads(EVENTS[0])
    timed = json.loads(Timed(EVENTS[0], 7).published_now())
    assert timed["id"].endswith("-000000000007")
    assert len(timed["id"]) == len(event["id"])
    assert {**timed, "id": event["id"]} == event
