"""What hostile bytes are given to, and what must hold of it whatever they are.

A target takes bytes and returns; anything that it raises is a defect. Each goes in by the door that
strangers have: a message, a partner's answer, a file that somebody else may have written.
"""

import collections
import functools
import gzip
import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import fastavro
import msgspec

from runtime.address import PUBLIC_ONLY, AddressPolicy
from runtime.answers import MOST_ASKED_SECONDS, retry_after_seconds, sanitise
from runtime.archive import DamagedArchive, NotArchived, read_archive
from runtime.connectors import Config, ConfigError, parse_config
from runtime.dead_letters import DamagedLetters, read_letters, write_letters
from runtime.decoding import Decoder
from runtime.files import DamagedInput, FileRange, read_range
from runtime.hold.held_object import HeldObject
from runtime.hold.lane_statuses import survey
from runtime.hold.objects import Depth, ForeignObject, HeldBatch, HeldFile, HeldName, digest_of
from runtime.hold.objects import encode as encode_held
from runtime.keeping import Letters
from runtime.receipts import Receipts
from runtime.replay import Rules, Takers, Wanted, pulls_of, select
from runtime.routing import Router
from runtime.worker import Worker, WorkerSettings
from sandbox.samples import sample_events
from schemas.catalogue import canonical_event_type
from schemas.dead_letter import AVRO_SCHEMA, DeadLetter, to_avro
from schemas.event import EventHeader, InvalidEvent, InvalidReason, decode_event
from schemas.lane import Lane, file_name_of, hold_lane, lane_of_file
from schemas.limits import MAX_DETAIL_CHARS, MAX_ID_CHARS, MAX_TIME_SECONDS
from schemas.pull import Pull
from sinks.sink import Answer, FileWrite, HttpRequest, Packed, Request, Sink, Verdict
from tests.hostile.shapes import SHAPES

MAX_EVENT_BYTES = 900_000
HOUR = "2026-01-31-23"
EVENTS = list(sample_events(60, seed=23))
NOW_SECONDS = 1_700_000_000.0
SECRET = "s3cr3t/+4711"


@dataclass(frozen=True)
class Target:
    """One door."""

    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    """Good inputs, of which hostile ones are made."""


# Messages


def strict_json(text: bytes) -> Any:
    """What a strict reader makes of it; raises ValueError where it is none."""
    value = json.loads(text.decode("utf-8"), parse_constant=_no_constant, parse_int=str)
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a character cannot be encoded
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _is_deep(event: bytes) -> bool:
    """Whether it is nested more deeply than the reader that checks it can follow."""
    return event.count(b"[") + event.count(b"{") > 250


def check_decoding(message: bytes) -> None:
    """An event is one line of strict JSON no longer than its message, and decoding it changes nothing."""
    decoded = _decoded(message)
    if decoded is None:
        return
    header, event = decoded
    assert len(event) <= len(message)
    assert b"\n" not in event
    assert b"\r" not in event
    assert decode_event(event, len(event)) == (header, event)
    assert 0 < len(header.id) <= MAX_ID_CHARS
    assert 0 <= header.time <= MAX_TIME_SECONDS
    if not _is_deep(event):
        value = strict_json(event)
        assert (value["id"], value["event_type"]) == (header.id, header.event_type)
        assert int(value["time"]) == header.time


def _decoded(message: bytes) -> tuple[EventHeader, bytes] | None:
    try:
        return decode_event(message, MAX_EVENT_BYTES)
    except InvalidEvent as error:
        refused = error
    assert refused.reason in get_args(InvalidReason)
    assert len(refused.detail) < 2_000
    return None


_FEED = {"key": "env:MP_KEY", "secret": "env:MP_SECRET"}
_FEEDS = dict.fromkeys(("ios", "android", "web", "unbound"), _FEED)
_HIDDEN = {"remove": ["email_address", "price", "name"], "hash": ["url", "device_id"]}
_HIDDEN_AND_KEY = {**_HIDDEN, "hash": ["url", "external_user_id"]}
_RS, _TD = "env:RS_URL", "env:TD_URL"
CONNECTORS: Sequence[Mapping[str, Any]] = [
    {"name": "hook", "kind": "postback", "url": "https://a.example.com/?q=1", "token": "env:TOKEN"},
    {"name": "hidden", "kind": "postback", "url": "https://b.example.com/", "redact": _HIDDEN},
    {"name": "tenant", "kind": "postback", "url": "https://c.example.com/", "app_group_ids": ["x"]},
    {
        "name": "small",
        "kind": "postback",
        "url": "https://d.example.com/",
        "max_request_bytes": 600,
    },
    {"name": "warehouse", "kind": "rudderstack", "url": _RS, "shards": 7},
    {"name": "cdp", "kind": "treasure_data", "url": _TD, "app_ids": ["a", "app-1"]},
    {"name": "analytics", "kind": "segment", "write_key": "env:SEGMENT_KEY"},
    {
        "name": "all-types",
        "kind": "segment",
        "write_key": "env:OTHER_KEY",
        "unnamed_events": "raw",
        "anonymous_users": True,
        "redact": _HIDDEN_AND_KEY,
        "max_request_bytes": 500,
    },
    {
        "name": "mobile",
        "kind": "mparticle",
        "feeds": _FEEDS,
        "unnamed_events": "raw",
        "app_feeds": {"a": "ios"},
        "max_events": 3,
        "historical": True,
    },
    {
        "name": "texts",
        "kind": "mparticle",
        "unnamed_events": "raw",
        "redact": _HIDDEN,
        "feeds": {"unbound": {"key": "env:MP_KEY_2", "secret": "env:MP_SECRET"}},
        "attribute_values": "text",
        "long_values": "drop",
        "max_request_bytes": 800,
    },
    {"name": "lake", "kind": "avro_files", "path": "/lake"},
    {"name": "pond", "kind": "avro_files", "path": "/pond", "redact": _HIDDEN, "codec": "none"},
]
FILE = json.dumps({"connectors": CONNECTORS}).encode()


@functools.cache
def config() -> Config:
    found, problems = parse_config(FILE, PUBLIC_ONLY)
    assert not problems, problems
    return found


@functools.cache
def router() -> Router:
    return Router(config())


@functools.cache
def secrets() -> Mapping[str, str]:
    values = {one: SECRET for entry in config().connectors.values() for one in entry.references}
    return values | {_RS: "https://rs.example.com/?writeKey=k", _TD: "https://td.example.com/k/t"}


def check_routing(content: bytes) -> None:
    """Of every message it is known where it went: the books balance, for each connector."""
    messages = content.split(b"\n", 3)
    decoder = Decoder(router(), Receipts(), MAX_EVENT_BYTES)
    pull = Pull(1_700_000_000_000, 1_700_000_000_500, messages)
    found = [*decoder.decode(pull), *decoder.flush()]
    invalid = [x for one in found if isinstance(one, Letters) for x in one.letters]
    good = [decoded[1] for message in messages if (decoded := _decoded(message)) is not None]
    assert [letter.event for letter in invalid] == [m for m in messages if _decoded(m) is None]
    tally = decoder.take_tally()
    assert tally.received == len(messages)
    assert tally.invalid.total() == len(invalid)
    placed: collections.Counter[str] = collections.Counter()
    for one in found:
        if not isinstance(one, Letters):
            lane, batch = one
            assert batch.count == len(batch.events)
            assert not set(batch.events) - set(good)
            placed[_check_lane(lane)] += batch.count
    for name, entry in config().connectors.items():
        counts = tally.of(name)
        if entry.settings.app_group_ids is None:
            assert counts.offered == len(good)
        assert counts.offered == counts.filtered.total() + placed[name]


def _check_lane(key: str) -> str:
    """The connector of a lane whose names lead out of no folder."""
    lane = Lane.of(key)
    assert lane.key == key
    sink = config().connectors[lane.connector].sink
    assert sink.has_part(lane.part)
    held = hold_lane(lane.connector, sink.hold_part(lane.part))
    name = file_name_of(held)
    assert lane_of_file(name) == held
    assert "/" not in name
    assert name not in (".", "..")
    assert len(name) < 250
    return lane.connector


def check_packing(message: bytes) -> None:
    """Each event is in one request within the limits, as strict JSON and by its id, or unpackable."""
    decoded = _decoded(message)
    if decoded is None:
        return
    header, event = decoded
    event_type = canonical_event_type(header.event_type)
    twin = bytes(bytearray(event))
    other = EVENTS[len(event) % len(EVENTS)]
    for entry in config().connectors.values():
        sink = entry.sink
        if not sink.supports(event_type):
            continue
        if sink.leaves_out_anonymous and not header.has_external_user_id:
            continue
        part = sink.place(header, event_type, HOUR)
        if isinstance(part, str):
            events = [event, other, twin] if not part else [event, twin]
            _check_packed(sink, events, sink.pack(events, part, secrets()))


def _check_packed(sink: Sink[Any], events: Sequence[bytes], packed: Packed) -> None:
    sent = [event for request in packed.requests for event in request.events]
    refused = [unpackable.event for unpackable in packed.unpackable]
    assert sorted(map(id, [*sent, *refused])) == sorted(map(id, events))
    for unpackable in packed.unpackable:
        assert unpackable.reason in ("too_large", "unencodable")
    for request in packed.requests:
        assert 0 < len(request.events) <= sink.max_events
        ids = _ids_in(request)
        for event in request.events:
            event_id = decode_event(event, len(event))[0].id
            assert ids is None or {event_id, hashlib.sha256(event_id.encode()).hexdigest()} & ids
        if isinstance(request, HttpRequest):
            assert len(request.body) <= sink.max_request_bytes
            assert "\n" not in request.url
            assert all(value.isprintable() for value in request.headers.values())
        else:
            assert sum(map(len, request.events)) <= sink.max_request_bytes
            assert ".." not in request.path.split("/")


def _ids_in(request: Request) -> set[str] | None:
    """All texts of a request's body, ids among them; None where it is nested too deeply to be read."""
    if isinstance(request, FileWrite):
        return {record["id"] for record in fastavro.reader(io.BytesIO(request.body))}
    if _is_deep(request.body):
        return None
    return set(_texts_in(strict_json(request.body)))


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inside in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(inside)


# What is done with a large message, step by step


def _route(message: bytes) -> None:
    now = 1_700_000_000_000
    list(Decoder(router(), Receipts(), len(message)).decode(Pull(now, now, [message])))


def _pack(connector: str, message: bytes) -> None:
    """Pack at one connector; what is no event, or not for it, is left out."""
    decoded = _decoded(message)
    if decoded is None:
        return
    sink = config().connectors[connector].sink
    part = sink.place(decoded[0], canonical_event_type(decoded[0].event_type), HOUR)
    if isinstance(part, str):
        sink.pack([decoded[1]], part, secrets())


def large_steps() -> Mapping[str, Callable[[bytes], None]]:
    """Decoding with routing, and packing at each connector."""
    packing = {name: functools.partial(_pack, name) for name in config().connectors}
    return {"route": _route, **packing}


# A partner's answers


def check_judging(content: bytes) -> None:
    """Every answer has a verdict, and a sentence that says what it proves."""
    status = int.from_bytes(content[:2], "big") % 1_000 if content[:1] != b"\xff" else None
    error = None if status is not None else content[1:9].decode("latin-1")
    headers = {content[2:6].decode("latin-1"): content[6:30].decode("latin-1")}
    answer = Answer(status, headers, content[2:], error)
    for entry in config().connectors.values():
        assert entry.sink.judge(answer) in Verdict
        assert entry.sink.judge_probe(answer) in Verdict
        assert entry.sink.what_probe_proves(answer)


def check_answer(content: bytes) -> None:
    """How long to wait is a time within reason; what is shown is short, printable and no secret."""
    header = content[:200].decode("latin-1")
    for name in ("Retry-After", "retry-after"):
        asked = retry_after_seconds(Answer(429, {name: header}), NOW_SECONDS)
        assert asked is None or 0 <= asked <= MOST_ASKED_SECONDS
    for body in (content, content + SECRET.encode() + content):
        said = sanitise(Answer(400, body=body), [SECRET])
        assert len(said) <= MAX_DETAIL_CHARS
        assert said.isprintable() or not said.strip()
        assert SECRET not in said


# Files that somebody else may have written


def check_connectors_file(content: bytes) -> None:
    """A file is taken or refused, connector by connector, with problems of a line each."""
    try:
        found, problems = parse_config(content, PUBLIC_ONLY)
    except ConfigError as error:
        problems, found = list(error.problems), Config("", {})
    for problem in problems:
        assert "\n" not in str(problem)
    for name, entry in found.connectors.items():
        assert file_name_of(name) == name
        entry.sink.references("")
    Router(found).plan("x", "users.behaviors.CustomEvent")


@functools.cache
def _folder() -> Path:
    """A folder of this process, removed at its end."""
    _folders.append(tempfile.TemporaryDirectory())
    return Path(_folders[-1].name)


_folders: list["tempfile.TemporaryDirectory[str]"] = []


@functools.cache
def _worker() -> Worker:
    root = _folder()
    (root / "connectors.json").write_bytes(FILE)
    (root / "held" / "queue" / "hook").mkdir(parents=True)
    (root / "held" / "status").mkdir()
    return Worker(
        WorkerSettings(
            str(root / "connectors.json"),
            str(root / "held"),
            str(root / "dead"),
            job="fuzz",
            address_policy=AddressPolicy(),
        )
    )


_LETTER = fastavro.parse_schema(AVRO_SCHEMA)


def check_held_object(content: bytes) -> None:
    """An object is one of ours, and all of it can be sent and buried, or it is foreign."""
    worker = _worker()
    name = str(HeldName(1_000, 2_000, content.count(b'"event_type"'), digest_of(content)))
    path = _folder() / "held" / "queue" / "hook" / name
    path.write_bytes(content)
    try:
        held = HeldObject(worker, "hook", name)
    except ForeignObject:
        return
    finally:
        path.unlink()
    held.bury_expired(2**52)
    for letter in held.letters:
        fastavro.schemaless_writer(io.BytesIO(), _LETTER, to_avro(letter))
        strict_json(letter.event) if not _is_deep(letter.event) else None


def check_hold_folder(content: bytes) -> None:
    """A survey of a hold takes any name and any status, and says what it cannot read."""
    name = content.partition(b"\n")[0][:200].decode("utf-8", "replace").replace("/", "")
    if HeldName.parse(name):
        Depth.of([HeldFile(name, 1)])
    root = _worker().settings.hold
    place = _folder() / "held" / "queue" / "hook" / (name.replace("\0", "").strip(".") or "x")
    (_folder() / "held" / "status" / "hook.json").write_bytes(content.partition(b"\n")[2])
    try:
        place.touch()
    except OSError:  # a name that no file can have
        return
    try:
        msgspec.json.encode(survey(root, 48 * 3_600.0).lanes)
    finally:
        place.unlink()


def check_dead_letters(content: bytes) -> None:
    """A file of letters is read as far as it goes, and what is read can be chosen and replayed."""
    folder = _folder() / "letters" / "date=2026-01-31"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "letters.avro"
    path.write_bytes(content)
    try:
        for letter in read_letters(str(path)):
            assert isinstance(letter.event, bytes)
            assert isinstance(letter.connector, str)
    except DamagedLetters:
        return
    wanted = Wanted(event_types=["users.*"], since_ms=0)
    chosen = select(str(folder.parent), wanted, Rules(takers=Takers(config(), NOW_SECONDS)))
    for part in chosen.parts:
        for pull in pulls_of(part, pace=None):
            assert pull.messages


def check_archive(content: bytes) -> None:
    """An archived file is read as far as it goes; what it gives are events, or is buried as none."""
    try:
        for event in read_archive(io.BytesIO(content), "lake/event_type=a.B/f.avro"):
            _decoded(event)
    except (NotArchived, DamagedArchive):
        return


def check_gzip(content: bytes) -> None:
    """A gzipped file of lines is read as far as it goes."""
    path = _folder() / "events.ndjson.gz"
    path.write_bytes(content)
    try:
        for pull in read_range(FileRange(str(path), 0, -1, len(content))):
            assert all(message.strip() for message in pull.messages)
    except DamagedInput:
        return


# Good inputs


def _messages() -> list[bytes]:
    return [*EVENTS, *(make(400) for make in SHAPES.values())]


def _held() -> list[bytes]:
    about = {"part": "", "oldest_ms": 1_000, "newest_ms": 2_000, "first_failed_ms": 1_500}
    batches = [
        HeldBatch(events=EVENTS[first : first + 3], reason="status_503", **about)  # type: ignore[arg-type]
        for first in range(0, 9, 3)
    ]
    return [encode_held(batches[:count]) for count in (1, 2, 3)]


def _avro(codec: str, events: Sequence[bytes]) -> bytes:
    letters = [
        DeadLetter(event=event, stage="deliver", reason="rejected", connector="hook", buried_ms=9)
        for event in events
    ]
    file = io.BytesIO()
    fastavro.writer(
        file, _LETTER, map(to_avro, letters), codec, sync_marker=bytes(16), sync_interval=600
    )
    return file.getvalue()


def _archived() -> list[bytes]:
    sink = config().connectors["lake"].sink
    files: list[bytes] = []
    for event in EVENTS[:12]:
        header, _ = decode_event(event, MAX_EVENT_BYTES)
        part = sink.place(header, canonical_event_type(header.event_type), HOUR)
        assert isinstance(part, str)
        (request,) = sink.pack([event], part, {}).requests
        files.append(request.body)
    return files


YAML = b"""connectors:
- name: crm-hook
  kind: postback
  app_group_ids: [brand-a]
  url: https://hooks.example.com/currents?app_group=Brand%20A
  token: env:CRM_TOKEN
  batch_window: 10 s
  redact: {remove: [email_address], hash: [external_user_id]}
- name: mobile
  kind: mparticle
  app_feeds: {app-ios-1: ios}
  feeds:
    ios: {key: "env:A", secret: 'file:/run/b'}
"""
STATUS = (
    b'{"lane":"hook","connector":"hook","state":"suspended","reason":"status_401","status":401,'
    b'"answer":"no","since":"2026-01-31T23:00:00Z","events":3,"objects":1,"bytes":10,'
    b'"oldest":"2026-01-31T22:00:00Z","probes_failed":2,"next_probe":"2026-01-31T23:10:00Z",'
    b'"dead_letters_from":"2026-02-02T22:00:00Z","set_aside":0,"attended_by":"j",'
    b'"attended_since":"2026-01-31T22:00:00Z","attended_at":"2026-01-31T23:00:00Z"}'
)
CODECS = ("null", "deflate", "bzip2", "xz", "snappy", "zstandard", "lz4")


@functools.cache
def targets() -> Mapping[str, Target]:
    """All of them by name; their good inputs are made when they are first asked for."""
    answers = [
        b"120",
        b"Tue, 14 Nov 2023 22:14:20 GMT",
        b'\x01\x90{"error":"bad key"}',
        b"\x00\xc8",
    ]
    write_letters(str(_folder() / "seed"), [DeadLetter(event=b"{}", stage="decode", reason="x")])
    return {
        "decode": Target(check_decoding, _messages()),
        "route": Target(check_routing, _messages()),
        "pack": Target(check_packing, _messages()),
        "judge": Target(check_judging, answers),
        "answer": Target(check_answer, answers),
        "connectors-file": Target(check_connectors_file, [YAML, FILE]),
        "held-object": Target(check_held_object, _held()),
        "hold-folder": Target(
            check_hold_folder,
            [str(HeldName(1_000, 2_000, 3, "a" * 32)).encode() + b"\n" + STATUS, b"x\n" + STATUS],
        ),
        "dead-letters": Target(check_dead_letters, [_avro(codec, EVENTS[:6]) for codec in CODECS]),
        "archive": Target(check_archive, [*_archived(), *(_avro(c, EVENTS[:2]) for c in CODECS)]),
        "gzip": Target(check_gzip, [gzip.compress(b"\n".join(EVENTS[:9]), mtime=0)]),
    }
