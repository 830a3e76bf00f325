"""The bars send what the sinks send: else a comparison with them says nothing."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from benchmarks.events import benchmark_events
from benchmarks.shapes import feed_of, plan_of, track_of, user_batch_of
from schemas.event import decode_header
from schemas.secret import SecretRef
from sinks.mparticle import Feed, MParticleConnector, MParticleSink
from sinks.segment import SegmentConnector, SegmentSink
from sinks.sink import Filtered, HttpRequest, Packed

KEY = SecretRef.parse("env:KEY")
SECRETS = {"env:KEY": "key"}
FEEDS = ("ios", "android", "web", "unbound")
SEGMENT = SegmentSink(SegmentConnector(name="analytics", write_key=KEY))
MPARTICLE = MParticleSink(
    MParticleConnector(name="mobile", feeds=dict.fromkeys(FEEDS, Feed(KEY, KEY)))
)


def events() -> Sequence[Mapping[str, Any]]:
    return [json.loads(event) for event in benchmark_events(5_000)]


def fields_of(event: Mapping[str, Any]) -> tuple[str, int, Any, Any]:
    return event["id"], event["time"], event["user"], event["properties"]


def only_body(packed: Packed) -> Any:
    (request,) = packed.requests
    assert isinstance(request, HttpRequest)
    return json.loads(request.body)


def encoded(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_track_call_of_the_bars_is_that_of_the_sink() -> None:
    sent = 0
    for event in events():
        plan = plan_of(event["event_type"])
        header = decode_header(encoded(event))
        is_due = header.has_external_user_id and SEGMENT.supports(event["event_type"])
        assert (plan.track_name is not None) == is_due, event["event_type"]
        if is_due:
            track = json.loads(orjson.dumps(track_of(plan, *fields_of(event))))
            assert only_body(SEGMENT.pack([encoded(event)], "", SECRETS)) == {"batch": [track]}
            sent += 1
    assert sent > 4_000


def test_a_user_batch_of_the_bars_is_that_of_the_sink() -> None:
    sent = 0
    for event in events():
        plan = plan_of(event["event_type"])
        header = decode_header(encoded(event))
        is_due = header.has_external_user_id and MPARTICLE.supports(event["event_type"])
        assert (plan.event_name is not None) == is_due, event["event_type"]
        if is_due:
            place = MPARTICLE.place(header, event["event_type"], "")
            assert not isinstance(place, Filtered)
            assert feed_of(plan, event["properties"]) == place
            batch = json.loads(orjson.dumps(user_batch_of(plan, *fields_of(event))))
            assert only_body(MPARTICLE.pack([encoded(event)], place, SECRETS)) == [batch]
            sent += 1
    assert sent > 4_000


def test_the_events_of_benchmarks_are_of_935_bytes() -> None:
    sizes = [len(event) + 1 for event in benchmark_events(20_000)]
    assert 930 <= sum(sizes) / len(sizes) <= 940
