"""The contract of a sink, run on every sink that is found.

A partner's own test file, `test_<kind>.py`, gives the suite its `EXAMPLE` settings, in which every
kind of secret is set, and its `SECRETS`: their values by reference.
"""

import collections
import copy
import importlib.util
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.samples import sample_events
from schemas.catalogue import canonical_event_type, event_types
from schemas.connector import Connector, decode_hook, schema_hook, secret_references
from schemas.event import InvalidEvent, decode_event
from schemas.secret import is_reference
from sinks import sink_kinds
from sinks.sink import Answer, FileWrite, HttpRequest, Limits, Packed, Request, Sink, Verdict

KINDS = sorted(sink_kinds())
TESTED = [kind for kind in KINDS if importlib.util.find_spec(f"tests.sinks.test_{kind}")]
HOUR = "2026-01-31-23"
MAX_BYTES = 900_000


@dataclass(frozen=True)
class Partner:
    """A kind of sink with the settings and secrets that its test file gives for an example."""

    sink_type: type[Sink[Any]]
    example: Mapping[str, Any]
    secrets: Mapping[str, str]

    def settings(self, **changes: Any) -> Connector:
        return convert({**self.example, **changes}, self.sink_type.settings_type)

    def sink(self, **changes: Any) -> Sink[Any]:
        return self.sink_type(self.settings(**changes))


def convert(settings: Any, settings_type: type[Connector]) -> Connector:
    return msgspec.convert(settings, settings_type, dec_hook=decode_hook)


def partner_of(kind: str) -> Partner:
    return PARTNERS[kind]


def _load(kind: str) -> Partner:
    tests = importlib.import_module(f"tests.sinks.test_{kind}")
    return Partner(sink_kinds()[kind], tests.EXAMPLE, tests.SECRETS)


PARTNERS = {kind: _load(kind) for kind in TESTED}
few = settings(max_examples=min(25, settings().max_examples), deadline=None)
every_kind = pytest.mark.parametrize("kind", TESTED)


def lanes_of(sink: Sink[Any], messages: Sequence[bytes]) -> Mapping[str, list[bytes]]:
    """Events by their part of the lane; without those that are not for this partner."""
    lanes: dict[str, list[bytes]] = {}
    for message in messages:
        header, event = decode_event(message, MAX_BYTES)
        event_type = canonical_event_type(header.event_type)
        if sink.needs_external_user_id and not header.has_external_user_id:
            continue
        part = sink.place(header, event_type, HOUR) if sink.supports(event_type) else None
        if isinstance(part, str):
            lanes.setdefault(part, []).append(event)
    return lanes


def pack_lanes(
    sink: Sink[Any], messages: Sequence[bytes], secrets: Mapping[str, str]
) -> Sequence[tuple[list[bytes], Packed]]:
    """Every lane's events with what they were packed into."""
    lanes = lanes_of(sink, messages)
    return [(events, sink.pack(events, part, secrets)) for part, events in lanes.items()]


def requests_of(packed: Sequence[tuple[list[bytes], Packed]]) -> list[Request]:
    return [request for _, result in packed for request in result.requests]


SAMPLES = list(sample_events(400, seed=11))
SAMPLE_TYPES = sorted(event_types())

RAW = ["1e999", "-0", "1.50", "9" * 30, "1E400", "9007199254740993", "2147483648", "3.5e38"]
"""Numbers that a decoder may choke on, and json.dumps does not write."""

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from(["", "12", "true", "NaN", "\ud800", "\u2028", "é" * 200, "x" * 3_000])
    | st.sampled_from(RAW).map(lambda number: f"<<{number}>>"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = {field.name for known in event_types().values() for field in known.storage_fields}
NAMES = st.sampled_from(sorted(FIELDS | {"custom_properties", "purchase_properties", "event"}))
HEADER_STRINGS = {"app_group_id", "app_id", "platform", "external_user_id"}


def spell(event: Mapping[str, Any]) -> bytes:
    """The event as JSON, marked numbers in their own spelling."""
    text = json.dumps(event)
    for number in RAW:
        text = text.replace(f'"<<{number}>>"', number)
    return text.encode()


def strings_where_routing_reads(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if name not in HEADER_STRINGS or value is None else f"text of {value}"
        for name, value in fields.items()
    }


EVENTS = st.builds(
    lambda event_type, number, time, user, properties: {
        "event_type": event_type,
        "id": f"e-{number}",
        "time": time,
        "user": strings_where_routing_reads(user),
        "properties": strings_where_routing_reads(properties),
    },
    st.sampled_from(SAMPLE_TYPES) | st.text(min_size=1, max_size=20),
    st.integers(0, 10**6),
    st.integers(0, 2**31 - 1) | st.sampled_from([2**31, 253_402_300_799]),
    st.fixed_dictionaries(
        {},
        optional={
            "user_id": VALUES,
            "external_user_id": st.sampled_from(["x-1", "x-2", " ", "customer"]),
            "device_id": VALUES,
            "timezone": VALUES,
        },
    ),
    st.dictionaries(NAMES | st.text(max_size=8), VALUES, max_size=5),
).map(spell)

MIXES = st.lists(EVENTS | st.sampled_from(SAMPLES), max_size=25)
LIMITS = st.fixed_dictionaries(
    {},
    optional={"max_events": st.integers(1, 9), "max_request_bytes": st.integers(200, 20_000)},
)


def test_every_kind_has_a_test_file() -> None:
    assert TESTED == KINDS, "each sink in sinks/ needs a tests/sinks/test_<kind>.py"


@every_kind
def test_the_example_of_a_kind_gives_the_secrets_it_refers_to(kind: str) -> None:
    partner = partner_of(kind)
    assert partner.example["kind"] == kind
    assert set(partner.secrets) == set(secret_references(partner.settings()))
    assert partner.secrets


@every_kind
def test_the_sink_says_what_it_is(kind: str) -> None:
    sink_type = sink_kinds()[kind]
    assert sink_type.kind == kind
    assert sink_type.__doc__
    assert isinstance(sink_type.needs_external_user_id, bool)
    assert isinstance(sink_type.proves_delivery, bool)
    assert sink_type.needs_external_user_id == ("external_user_id" in sink_type.tells_users_by)
    limits = sink_type.limits
    assert limits.max_events >= 1
    assert 1 <= limits.max_request_bytes <= limits.most_request_bytes
    assert limits.batch_window_seconds > 0


LIMITS_OF = {
    "avro_files": Limits(15_000, 16_000_000, 16_000_000, 300),
    "mparticle": Limits(100, 256_000, 256_000, 10, 128_000, 270),
    "postback": Limits(100, 900_000, 900_000, 10),
    "rudderstack": Limits(100, 900_000, 900_000, 10),
    "segment": Limits(2_500, 500_000, 500_000, 10, 32_000, 1_000),
    "treasure_data": Limits(100, 900_000, 900_000, 10),
}
"""As partners publish them, and where they publish none as the platform has them."""


@pytest.mark.parametrize("kind", LIMITS_OF)
def test_the_limits_of_a_partner_are_those_that_are_published(kind: str) -> None:
    assert sink_kinds()[kind].limits == LIMITS_OF[kind]


@every_kind
def test_every_part_of_a_lane_that_a_sink_gives_is_known_to_be_its_own(kind: str) -> None:
    """What is held in another part is never sent."""
    sink = partner_of(kind).sink()
    parts = list(lanes_of(sink, SAMPLES))
    assert parts
    assert [part for part in parts if not sink.has_part(part)] == []


@every_kind
@few
@given(MIXES, LIMITS)
def test_packing_loses_and_invents_no_event(
    kind: str, messages: list[bytes], limits: dict[str, int]
) -> None:
    partner = partner_of(kind)
    for events, packed in pack_lanes(partner.sink(**limits), messages, partner.secrets):
        found = [event for request in packed.requests for event in request.events]
        found += [unpackable.event for unpackable in packed.unpackable]
        assert collections.Counter(found) == collections.Counter(events)


@every_kind
@few
@given(MIXES, LIMITS)
def test_no_request_exceeds_its_limits(
    kind: str, messages: list[bytes], limits: dict[str, int]
) -> None:
    partner = partner_of(kind)
    sink = partner.sink(**limits)
    for request in requests_of(pack_lanes(sink, messages, partner.secrets)):
        assert 1 <= len(request.events) <= sink.max_events
        assert weight_of(request) <= sink.max_request_bytes


@every_kind
def test_what_a_batch_costs_is_about_what_it_makes(kind: str) -> None:
    partner = partner_of(kind)
    sink = partner.sink(max_events=7)
    lanes = lanes_of(sink, SAMPLES)
    assert (sink.rate_unit is None) == (kind == "avro_files")
    for part, events in lanes.items():
        made = len(sink.pack(events, part, partner.secrets).requests)
        if sink.rate_unit == "requests":
            assert made / 2 <= sink.rate_units(events) <= 2 * made
    assert sink.rate_units([]) == 0


HIDDEN = {"remove": ["email_address", "price", "device_id"], "hash": ["external_user_id", "url"]}


@every_kind
def test_a_redacted_value_is_in_no_request_and_the_events_are_as_they_came(kind: str) -> None:
    partner = partner_of(kind)
    canaries = [canary_event(event_type) for event_type in SAMPLE_TYPES]
    packed = pack_lanes(partner.sink(redact=HIDDEN), canaries, partner.secrets)
    for events, found in packed:
        assert not found.unpackable
        sent = [event for request in found.requests for event in request.events]
        assert {id(event) for event in sent} == {id(event) for event in events}
        assert len(sent) == len(events)
        for request in found.requests:
            body = text_of(request)
            assert "canary" not in body
            assert "31415" not in body
    assert packed


def canary_event(event_type: str) -> bytes:
    event = sample_of(event_type)
    event["user"] |= {"external_user_id": "canary-x", "device_id": "canary-d"}
    event["properties"] |= {
        "email_address": "canary@example.com",
        "price": 31415.5,
        "url": "https://example.com/canary",
        "custom_properties": {"deep": [{"email_address": "canary"}]},
    }
    return spell(event)


def text_of(request: Request) -> str:
    if isinstance(request, FileWrite):
        return str(list(fastavro.reader(io.BytesIO(request.body)))) + request.path
    return request.body.decode()


@every_kind
@few
@given(MIXES, LIMITS)
def test_packing_what_is_redacted_loses_and_invents_no_event(
    kind: str, messages: list[bytes], limits: dict[str, int]
) -> None:
    partner = partner_of(kind)
    sink = partner.sink(redact={"remove": ["app_id", "platform", "time_ms"]}, **limits)
    for events, packed in pack_lanes(sink, messages, partner.secrets):
        found = [event for request in packed.requests for event in request.events]
        found += [unpackable.event for unpackable in packed.unpackable]
        assert collections.Counter(found) == collections.Counter(events)


def weight_of(request: Request) -> int:
    """What a limit of bytes counts: the body, but of a file the events, for it is compressed."""
    if isinstance(request, FileWrite):
        return sum(map(len, request.events))
    return len(request.body)


@every_kind
@pytest.mark.parametrize("count", [1, 2, 5])
def test_no_request_is_a_byte_longer_than_its_limit(kind: str, count: int) -> None:
    partner = partner_of(kind)
    messages = [spell({**ALIKE[0], "id": f"e-{number}"}) for number in range(count)]
    (whole,) = requests_of(pack_lanes(partner.sink(), messages, partner.secrets))
    for limit in (weight_of(whole) - 1, weight_of(whole), weight_of(whole) + 1):
        sink = partner.sink(max_request_bytes=limit)
        requests = requests_of(pack_lanes(sink, messages, partner.secrets))
        assert all(weight_of(request) <= limit for request in requests)


@every_kind
def test_what_is_too_large_tells_both_numbers(kind: str) -> None:
    """An event that takes a byte more than is allowed, in whatever its partner counts."""
    partner = partner_of(kind)
    ((part, (event,)),) = lanes_of(partner.sink(), [spell(ALIKE[0])]).items()
    (small,) = partner.sink(max_request_bytes=20).pack([event], part, partner.secrets).unpackable
    limit = 20 + small.found_bytes - small.most_bytes
    sink = partner.sink(max_request_bytes=limit - 1)
    (unpackable,) = sink.pack([event], part, partner.secrets).unpackable
    assert unpackable.reason == "too_large"
    assert unpackable.found_bytes == small.found_bytes == unpackable.most_bytes + 1
    for number in (unpackable.found_bytes, unpackable.most_bytes):
        assert re.search(rf"\b{number}\b", unpackable.detail)
    assert not partner.sink(max_request_bytes=limit).pack([event], part, partner.secrets).unpackable


ALIKE = [
    json.loads(event)
    for event_type in ("users.messages.email.Open", "users.behaviors.Purchase")
    for event in sample_events(2, 5, [event_type])
]


@every_kind
@few
@given(st.lists(st.integers(0, len(ALIKE) - 1), max_size=40), LIMITS)
def test_events_that_differ_in_nothing_but_their_id_keep_their_order(
    kind: str, picked: list[int], limits: dict[str, int]
) -> None:
    partner = partner_of(kind)
    messages = [spell({**ALIKE[pick], "id": f"{pick}-{n}"}) for n, pick in enumerate(picked)]
    for events, packed in pack_lanes(partner.sink(**limits), messages, partner.secrets):
        unpackable = {u.event for u in packed.unpackable}
        sent = [event for request in packed.requests for event in request.events]
        assert by_likeness(sent) == by_likeness([e for e in events if e not in unpackable])


def by_likeness(events: Sequence[bytes]) -> Mapping[str, list[bytes]]:
    """Events by the first half of their ids."""
    found: dict[str, list[bytes]] = {}
    for event in events:
        found.setdefault(json.loads(event)["id"].split("-")[0], []).append(event)
    return found


@every_kind
@few
@given(MIXES)
def test_bodies_are_strict_json(kind: str, messages: list[bytes]) -> None:
    partner = partner_of(kind)
    for request in requests_of(pack_lanes(partner.sink(), messages, partner.secrets)):
        if isinstance(request, HttpRequest):
            check_strict_json(request.body)


def check_strict_json(body: bytes) -> None:
    value = json.loads(body.decode("utf-8"), parse_constant=pytest.fail, parse_int=str)
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate cannot be encoded


@every_kind
def test_nesting_that_can_be_decoded_but_hardly_packed_is_no_crash(kind: str) -> None:
    partner = partner_of(kind)
    sink = partner.sink()
    nested = [deep_event(depth) for depth in range(600, 1_000, 5)]
    lanes = lanes_of(sink, [event for event in nested if decodes(event)])
    for part, events in lanes.items():
        packed = called_from(60, sink, events, part, partner.secrets)
        count = sum(len(request.events) for request in packed.requests)
        assert count + len(packed.unpackable) == len(events)


def deep_event(depth: int) -> bytes:
    event = sample_of("users.behaviors.CustomEvent")
    event["properties"]["custom_properties"] = "<<deep>>"
    return spell(event).replace(b'"<<deep>>"', b'{"a":' * depth + b"1" + b"}" * depth)


def sample_of(event_type: str) -> dict[str, Any]:
    return {
        "event_type": event_type,
        "id": "e-1",
        "time": 1_700_000_000,
        "user": {"user_id": "u-1", "external_user_id": "x-1"},
        "properties": {"app_id": "app-1", "platform": "ios", "name": "n"},
    }


def decodes(message: bytes) -> bool:
    try:
        decode_event(message, MAX_BYTES)
    except InvalidEvent:
        return False
    return True


def called_from(
    frames: int, sink: Sink[Any], events: list[bytes], part: str, secrets: Mapping[str, str]
) -> Packed:
    """Pack some frames deeper in the stack than the events were decoded."""
    if frames:
        return called_from(frames - 1, sink, events, part, secrets)
    return sink.pack(events, part, secrets)


@every_kind
def test_packing_the_same_twice_gives_the_same(kind: str) -> None:
    partner = partner_of(kind)
    first = pack_lanes(partner.sink(), SAMPLES, partner.secrets)
    assert first
    assert first == pack_lanes(partner.sink(), SAMPLES, partner.secrets)


@every_kind
def test_a_batch_that_is_sent_again_goes_out_with_todays_secrets(kind: str) -> None:
    partner = partner_of(kind)
    rotated = {reference: f"{value}-rotated" for reference, value in partner.secrets.items()}
    before = requests_of(pack_lanes(partner.sink(), SAMPLES, partner.secrets))
    after = requests_of(pack_lanes(partner.sink(), SAMPLES, rotated))
    assert before
    for old, new in zip(before, after, strict=True):
        assert new.body == old.body
        assert new != old


@every_kind
@few
@given(MIXES, LIMITS)
def test_what_prints_shows_no_secret_and_no_url(
    kind: str, messages: list[bytes], limits: dict[str, int]
) -> None:
    partner = partner_of(kind)
    packed = pack_lanes(partner.sink(**limits), messages, partner.secrets)
    printed = [repr(result.unpackable) for _, result in packed]
    printed += [u.detail for _, result in packed for u in result.unpackable]
    for request in requests_of(packed):
        printed.append(repr(request))
        assert isinstance(request, FileWrite) or "://" not in repr(request)
    check_hides_secrets(printed, partner)


def check_hides_secrets(printed: Sequence[str], partner: Partner) -> None:
    for text in printed:
        assert not [ref for ref, value in partner.secrets.items() if value in text]


@every_kind
def test_http_requests_are_posts_of_json(kind: str) -> None:
    partner = partner_of(kind)
    for request in requests_of(pack_lanes(partner.sink(), SAMPLES, partner.secrets)):
        if isinstance(request, HttpRequest):
            assert request.method == "POST"
            assert request.headers["Content-Type"].startswith("application/json")
            assert all(
                value.isascii() and value.isprintable() for value in request.headers.values()
            )


@every_kind
def test_every_lane_names_its_queue_in_the_hold(kind: str) -> None:
    sink = partner_of(kind).sink()
    parts = lanes_of(sink, SAMPLES)
    assert parts
    held = {sink.hold_part(part) for part in parts}
    assert held <= {sink.hold_part(part) for part in held} | held
    assert len(held) <= 10  # a queue a connector, or a feed, and not one an event type and hour


# Verdicts

VERDICTS = {
    Verdict.DELIVERED: [200, 201, 202, 204, 299],
    Verdict.RETRY: [
        100,
        199,
        300,
        301,
        302,
        304,
        307,
        308,
        408,
        425,
        429,
        500,
        502,
        503,
        504,
        599,
        999,
    ],
    Verdict.SUSPEND: [401, 403, 404, 407],
    Verdict.TOO_LARGE: [413],
    Verdict.REJECTED: [400, 402, 405, 406, 409, 410, 411, 414, 415, 418, 422, 451, 499],
}
ERRORS = {
    Verdict.RETRY: ["timeout", "network", "storage"],
    Verdict.SUSPEND: ["address", "permission", "missing"],
}
STATUSES = [(verdict, status) for verdict, statuses in VERDICTS.items() for status in statuses]


@every_kind
@pytest.mark.parametrize(("verdict", "status"), STATUSES)
def test_a_status_has_the_verdict_of_the_table(kind: str, verdict: Verdict, status: int) -> None:
    assert partner_of(kind).sink().judge(Answer(status)) is verdict


@every_kind
@pytest.mark.parametrize(
    ("verdict", "error"), [(verdict, error) for verdict, codes in ERRORS.items() for error in codes]
)
def test_an_error_has_the_verdict_of_the_table(kind: str, verdict: Verdict, error: str) -> None:
    assert partner_of(kind).sink().judge(Answer(error=error)) is verdict


@every_kind
@few
@given(st.integers(100, 599), st.binary(max_size=80) | VALUES.map(lambda v: spell({"v": v})))
def test_no_body_is_too_strange_to_be_judged(kind: str, status: int, body: bytes) -> None:
    assert partner_of(kind).sink().judge(Answer(status, {}, body)) in Verdict


# Probes


@every_kind
def test_a_probe_delivers_no_event_and_shows_no_secret(kind: str) -> None:
    partner = partner_of(kind)
    sink = partner.sink()
    for part in lanes_of(sink, SAMPLES):
        request = sink.probe(part, partner.secrets)
        if request is not None:
            assert not request.events
            check_hides_secrets([repr(request)], partner)
            if request.body:
                check_strict_json(request.body)


@every_kind
def test_a_probe_goes_where_the_events_go_as_whoever_sends_them(kind: str) -> None:
    partner = partner_of(kind)
    sink = partner.sink()
    for part, events in lanes_of(sink, SAMPLES).items():
        probe = sink.probe(part, partner.secrets)
        if isinstance(probe, HttpRequest):
            for request in sink.pack(events, part, partner.secrets).requests:
                assert isinstance(request, HttpRequest)
                assert (probe.method, probe.url) == (request.method, request.url)
                assert probe.headers == request.headers


@every_kind
def test_a_lane_refers_to_the_secrets_that_its_requests_need_and_to_no_others(kind: str) -> None:
    partner = partner_of(kind)
    sink = partner.sink()
    needed = set()
    for part, events in lanes_of(sink, SAMPLES).items():
        referred = {name: partner.secrets[name] for name in sink.references(part)}
        assert sink.pack(events, part, referred).requests
        needed |= set(referred)
    assert needed == set(partner.secrets)


PROVEN = {
    "avro_files": "the address answers and takes the credentials",
    "mparticle": "the address answers and takes the feed's credentials",
    "postback": "the address answers and takes the credentials",
    "rudderstack": "the address answers and takes the write key",
    "segment": "the address answers; the key is not checked",
    "treasure_data": "the address answers; the key is not checked",
}


@every_kind
@pytest.mark.parametrize(
    ("answer", "proof"),
    [
        (Answer(200), None),
        (Answer(401), "the credentials or the address are refused"),
        (Answer(503), "the partner answers, but proves nothing about the credentials"),
    ],
)
def test_what_a_probe_proves_is_said_in_these_words(
    kind: str, answer: Answer, proof: str | None
) -> None:
    expected = proof or PROVEN.get(kind)
    assert expected is None or partner_of(kind).sink().what_probe_proves(answer) == expected


@every_kind
def test_every_answer_to_a_probe_is_explained_in_a_sentence(kind: str) -> None:
    sink = partner_of(kind).sink()
    answers = [Answer(status) for _, status in STATUSES]
    answers += [Answer(error=code) for codes in ERRORS.values() for code in codes]
    for answer in answers:
        assert len(sink.what_probe_proves(answer).split()) >= 3


@every_kind
def test_a_refused_probe_never_claims_that_the_key_is_good(kind: str) -> None:
    sink = partner_of(kind).sink()
    for status in VERDICTS[Verdict.SUSPEND]:
        assert "takes" not in sink.what_probe_proves(Answer(status))


# Settings


@every_kind
def test_settings_survive_being_written_and_read(kind: str) -> None:
    settings = partner_of(kind).settings()
    written = msgspec.json.encode(settings, enc_hook=plain)
    assert convert(msgspec.json.decode(written), type(settings)) == settings


def plain(value: Any) -> str | float:
    """Our own kinds of text and number as the file has them."""
    return float(value) if isinstance(value, float) else str(value)


@every_kind
def test_an_unknown_setting_is_refused(kind: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        partner_of(kind).settings(no_such_setting=1)


@every_kind
def test_settings_have_a_json_schema(kind: str) -> None:
    settings_type = sink_kinds()[kind].settings_type
    schema = msgspec.json.schema(settings_type, schema_hook=schema_hook)
    described = schema["$defs"][settings_type.__name__]["properties"]
    assert set(partner_of(kind).example) <= set(described)


@every_kind
def test_the_kind_is_the_only_value_of_its_setting(kind: str) -> None:
    (field,) = [
        f for f in msgspec.structs.fields(sink_kinds()[kind].settings_type) if f.name == "kind"
    ]
    assert get_args(field.type) == (kind,)
    assert field.default == kind


@every_kind
def test_a_literal_secret_is_refused_and_not_repeated(kind: str) -> None:
    partner = partner_of(kind)
    for path in paths_of_references(partner.example):
        settings = copy.deepcopy(dict(partner.example))
        put(settings, path, "hunter2")
        with pytest.raises(msgspec.ValidationError) as refused:
            convert(settings, partner.sink_type.settings_type)
        assert "hunter2" not in str(refused.value)


def paths_of_references(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where references stand in example settings."""
    if isinstance(value, str):
        return [path] if is_reference(value) else []
    items = value.items() if isinstance(value, Mapping) else ()
    return [found for key, inner in items for found in paths_of_references(inner, (*path, key))]


def put(settings: Any, path: tuple[Any, ...], value: str) -> None:
    for key in path[:-1]:
        settings = settings[key]
    settings[path[-1]] = value


@every_kind
def test_events_of_one_type_app_and_platform_have_the_same_place(kind: str) -> None:
    sink = partner_of(kind).sink()
    assert not sink.places_by_time
    for event_type in event_types():
        for properties in ({}, {"app_id": "app-1"}, {"platform": "ios"}):  # type: dict[str, str]
            one = {**sample_of(event_type), "properties": properties}
            other = {**one, "id": "e-2", "time": 1, "user": {"user_id": "u-2"}}
            places = {
                sink.place(decode_event(spell(event), MAX_BYTES)[0], event_type, HOUR)
                for event in (one, other)
            }
            assert len(places) == 1
