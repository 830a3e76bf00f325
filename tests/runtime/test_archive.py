"""Archived files become events again: what storage holds comes back, and nothing is made up."""

import datetime
import io
import json
import random
import struct
import subprocess
import sys
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime import avro_blocks
from runtime.archive import (
    DamagedArchive,
    NotArchived,
    check_archive,
    event_type_of,
    read_archive,
    shortest,
)
from runtime.dead_letters import write_letters
from runtime.storage import read_file
from sandbox.samples import sample_event, sample_events
from schemas.catalogue import EventType, StorageField, canonical_event_type, event_types
from schemas.dead_letter import DeadLetter
from schemas.event import InvalidEvent, decode_event
from sinks.avro_files import AvroFilesConnector, AvroFilesSink, path_name
from sinks.avro_record import lacking_fields, schema_of
from sinks.postback import PostbackConnector, PostbackSink
from sinks.sink import FileWrite, HttpRequest

TYPES = event_types()
OPEN = "users.messages.email.Open"
CUSTOM = "users.behaviors.CustomEvent"
PURCHASE = "users.behaviors.Purchase"
HOUR = "2026-01-31-23"
LARGEST_FLOAT = 3.4028234663852886e38
LAKE = AvroFilesSink(AvroFilesConnector(name="lake", path="/archive"))
PROPERTIES_OVER_HTTP = {CUSTOM: "custom_properties", PURCHASE: "purchase_properties"}


def stored(events: Sequence[bytes], event_type: str) -> FileWrite:
    """The one file that avro_files makes of events."""
    packed = LAKE.pack(events, f"{canonical_event_type(event_type)}/{HOUR}", {})
    assert not packed.unpackable
    (file,) = packed.requests
    assert isinstance(file, FileWrite)
    return file


def read(content: bytes, path: str = "a.avro") -> list[bytes]:
    return list(read_archive(io.BytesIO(content), path))


def read_back(*events: bytes, event_type: str) -> list[bytes]:
    file = stored(events, event_type)
    return read(file.body, file.path)


def record_name(event_type: str) -> str:
    return f"dataexport.S3.inner.{event_type}"


SYNC_MARKER = bytes(range(16))
"""Always the same: a random one may happen to end with the byte that a test damages it with."""


def avro_of(
    fields: Sequence[Any],
    *records: Mapping[str, Any],
    name: str = record_name(OPEN),
    codec: str = "deflate",
    sync_interval: int = 16_000,
) -> bytes:
    """A file as another program writes it; a field is a name and its Avro type, or all of it."""
    described = [f if isinstance(f, dict) else {"name": f[0], "type": f[1]} for f in fields]
    schema = {"type": "record", "name": name, "fields": described}
    file = io.BytesIO()
    fastavro.writer(
        file, schema, records, codec, sync_interval=sync_interval, sync_marker=SYNC_MARKER
    )
    return file.getvalue()


def event_in(content: bytes, path: str = "a.avro") -> dict[str, Any]:
    """The one event of a file."""
    (event,) = read(content, path)
    return dict(json.loads(event))


def value_of(avro_type: Any, value: Any) -> Any:
    """What becomes of one value; None where it is left out."""
    content = avro_of([("id", "string"), ("x", avro_type)], {"id": "e", "x": value})
    return event_in(content)["properties"].get("x")


# What storage holds comes back


def float32(number: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


def what_storage_holds(event: dict[str, Any]) -> dict[str, Any]:
    """An event less what is lost on the way through storage, which is all of this:

    the fields that the type has over HTTP only, nulls, the spelling of its type where it is a
    variant, and what of a number a 32-bit float cannot hold.
    """
    event_type = canonical_event_type(event["event_type"])
    fields = {field.name: field.type for field in TYPES[event_type].storage_fields}
    if event_type in PROPERTIES_OVER_HTTP:
        fields[PROPERTIES_OVER_HTTP[event_type]] = fields.pop("properties")
    if event_type.startswith("users.messages.banner."):  # another name for the same over HTTP
        variation = "canvas_step_message_variation_{}id"
        fields[variation.format("api_")] = fields.pop(variation.format(""))

    def kept(values: dict[str, Any]) -> dict[str, Any]:
        return {
            name: shortest(float32(value)) if fields[name] == "float" else value
            for name, value in values.items()
            if name in fields and value is not None
        }

    whole = {"event_type": event_type, "id": event["id"], "time": event["time"]}
    return {**whole, "user": kept(event["user"]), "properties": kept(event["properties"])}


def postback_body(events: Sequence[bytes]) -> Any:
    """What a partner gets of events."""
    settings = msgspec.convert(
        {"name": "hook", "kind": "postback", "url": "https://hooks.example.com"},
        PostbackConnector,
        dec_hook=lambda kind, value: kind(value),
    )
    (request,) = PostbackSink(settings).pack(events, "", {}).requests
    assert isinstance(request, HttpRequest)
    return json.loads(request.body)


@pytest.mark.parametrize("event_type", TYPES)
def test_a_partner_gets_of_an_archived_event_all_that_storage_holds_of_it(event_type: str) -> None:
    events = [sample_event(event_type, seed) for seed in range(4)]
    messages = [decode_event(json.dumps(event).encode(), 900_000)[1] for event in events]
    back = read_back(*messages, event_type=event_type)
    assert postback_body(back) == {"events": [what_storage_holds(event) for event in events]}


texts = st.text(max_size=8)
objects = st.dictionaries(texts, st.integers() | texts | st.none() | st.lists(texts), max_size=3)
json_texts = objects.map(json.dumps) | objects.map(lambda value: json.dumps(value, indent=1))
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "string": texts,
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "array<string>": st.lists(texts, max_size=3),
    "array<null|string>": st.lists(texts | st.none(), max_size=3),
}


def values_of(field: StorageField) -> st.SearchStrategy[Any]:
    """Any value of a field, and null: what storage requires may lack, but for the header."""
    if field.name == "id":
        return st.text(min_size=1, max_size=8)
    if field.name == "time":
        return st.integers(0, 2**31 - 1)
    if field.name == "properties":
        return st.none() | texts | json_texts | json_texts.map(lambda text: f"\n {text}\r\n")
    return st.none() | VALUES[field.type]


@st.composite
def archived_files(draw: st.DrawFn) -> tuple[EventType, list[dict[str, Any]]]:
    event_type = draw(st.sampled_from(list(TYPES.values())))
    record = st.fixed_dictionaries({f.name: values_of(f) for f in event_type.storage_fields})
    return event_type, draw(st.lists(record, min_size=1, max_size=2))


def as_mended(record: dict[str, Any]) -> dict[str, Any]:
    """A record with line breaks and outer spaces of JSON text as an event has them: spaces, none.

    Nothing else of a record differs after it was read as an event and stored again.
    """
    text = record.get("properties")
    if text is None or not text.strip().startswith("{"):
        return record
    mended = text.strip().replace("\n", " ").replace("\r", " ")
    return {**record, "properties": mended}


@settings(max_examples=150, deadline=None)
@given(archived_files())
def test_storage_to_event_to_storage_is_the_identity_for_every_field(
    archived: tuple[EventType, list[dict[str, Any]]],
) -> None:
    event_type, records = archived
    name = event_type.name
    file = io.BytesIO()
    fastavro.writer(file, schema_of(name, "S3", lacking_fields(name, records)), records)
    events = [decode_event(event, 900_000)[1] for event in read(file.getvalue())]
    again = list(fastavro.reader(io.BytesIO(stored(events, name).body)))
    mended = [as_mended(record) for record in records]
    assert again == mended
    assert [sorted(map(str, record.items())) for record in again] == [
        sorted(map(str, record.items())) for record in mended
    ]  # which tells -0.0 from 0.0


def test_an_event_of_an_unknown_type_comes_back_byte_for_byte() -> None:
    event = b'{ "event_type":"a.new/Type", "id":"e","time":1 , "user":null,"n":1.50,"x":"\\u00e9"}'
    assert read_back(event, event_type="a.new/Type") == [event]
    assert read_back(event, event_type="x" * 200) == [event]
    assert read(stored([event], "a.new/Type").body, "moved/elsewhere.avro") == [event]


def test_what_was_unknown_and_is_known_today_comes_back_byte_for_byte() -> None:
    file = stored([b'{"event_type":"a.b","id":"e","time":1,"extra":[1]}'], "a.b")
    path = file.path.replace("event_type=a.b", f"event_type={OPEN}")
    assert read(file.body, path) == [b'{"event_type":"a.b","id":"e","time":1,"extra":[1]}']


def test_a_record_of_an_unknown_type_without_its_json_is_what_its_fields_say() -> None:
    fields: list[Any] = [
        (name, "string") for name in ("id", "user_id", "external_user_id", "app_group_id")
    ]
    fields += [("app_id", "string"), ("time", "long")]
    record: dict[str, Any] = {name: "s" for name, _ in fields} | {"time": 5, "event": None}
    content = avro_of([*fields, ("event", ["null", "string"])], record, name=record_name("a.b"))
    assert event_in(content) == {
        "event_type": "a.b",
        "id": "s",
        "time": 5,
        "user": {"user_id": "s", "external_user_id": "s"},
        "properties": {"app_group_id": "s", "app_id": "s"},
    }


@pytest.mark.parametrize("more", [[], [("colour", "string")]])
def test_a_foreign_column_called_event_is_a_field_like_others(more: list[Any]) -> None:
    names = ("id", "user_id", "external_user_id", "app_group_id", "app_id", "event")
    fields = [*((name, "string") for name in names), ("time", "long"), *more]
    record = {name: "s" for name, _ in fields} | {"time": 5, "event": "purchase_completed"}
    found = event_in(avro_of(fields, record, name=record_name("a.b")))
    assert found["id"] == "s"
    assert found["properties"]["event"] == "purchase_completed"
    assert all(found["properties"][name] == "s" for name, _ in more)


# The shape of an event


def test_an_event_has_the_five_keys_that_it_has_over_http() -> None:
    content = avro_of([("id", "string"), ("time", "int")], {"id": "e", "time": 7})
    assert read(content) == [
        b'{"event_type":"users.messages.email.Open","id":"e","time":7,"user":{},"properties":{}}'
    ]


def test_user_fields_go_to_the_user_of_every_type() -> None:
    names = ["user_id", "external_user_id", "device_id", "timezone", "gender"]
    record = dict.fromkeys(names, "s")
    event = event_in(avro_of([(name, "string") for name in names], record, name="x.inner.a.B"))
    assert event["user"] == dict.fromkeys(names[:4], "s")
    assert event["properties"] == {"gender": "s"}


@pytest.mark.parametrize("event_type", [CUSTOM, PURCHASE])
@pytest.mark.parametrize("text", ['{ "b" :1.50,"a":"\\u00e9", "b":[ ]}', "{}", '{"a":1e999}'])
def test_the_json_text_of_an_object_is_spliced_as_it_is_spelt(event_type: str, text: str) -> None:
    content = avro_of([("properties", "string")], {"properties": text}, name=f".inner.{event_type}")
    name = PROPERTIES_OVER_HTTP[event_type]
    assert f'"properties":{{"{name}":{text}}}}}'.encode() in read(content)[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[1]",
        '"a"',
        "{",
        "{'a':1}",
        '{"a":NaN}',
        '{"a":1}{}',
        "[" * 9_999,
        '{"a":' * 9_999,
    ],
)
def test_what_is_no_json_object_stays_text(text: str) -> None:
    content = avro_of([("properties", "string")], {"properties": text}, name=record_name(CUSTOM))
    assert event_in(content)["properties"] == {"custom_properties": text}


def test_properties_of_other_types_stay_what_they_are() -> None:
    content = avro_of([("properties", "string")], {"properties": "{}"})
    assert event_in(content)["properties"] == {"properties": "{}"}


def test_an_event_without_id_or_time_is_for_the_decoding_to_bury() -> None:
    fields = [("id", ["null", "string"]), ("time", ["null", "int"])]
    records: list[dict[str, Any]] = [{"id": "e", "time": 1}]
    records += [{"id": None, "time": 1}, {"id": "e", "time": None}]
    whole, *others = read(avro_of(fields, *records))
    decode_event(whole, 900_000)
    assert len(others) == 2
    for message in others:
        with pytest.raises(InvalidEvent) as invalid:
            decode_event(message, 900_000)
        assert invalid.value.reason == "missing_field"


# The type


@pytest.mark.parametrize(
    ("path", "name", "event_type"),
    [
        (f"/lake/event_type={OPEN}/date=1/a.avro", "Whatever", OPEN),
        (f"gs://b/p/event_type={OPEN}/a.avro", record_name(CUSTOM), OPEN),
        (f"event_type=old/event_type={OPEN}/a.avro", "Whatever", OPEN),
        ("a/event_type=..%2F..%2F%C3%A9%20x/a.avro", "Whatever", "../../é x"),
        ("a/event_type=/a.avro", record_name("a.B"), "a.B"),
        ("a/not_event_type=a/a.avro", record_name("a.B"), "a.B"),
        ("a.avro", record_name(OPEN), OPEN),
        ("a.avro", f"dataexport.prod-02.GCS.inner.{CUSTOM}", CUSTOM),
        ("event_type=a.avro", record_name(OPEN), OPEN),
        (f"event_type={path_name('x' * 200)}/a.avro", record_name("x" * 200), "x" * 200),
        ("a.avro", OPEN, OPEN),
        ("a.avro", "users_campaigns_abort", "users.campaigns.Abort"),
        ("a.avro", "Purchase", PURCHASE),
        ("a.avro", "com.example.Purchase", PURCHASE),
    ],
)
def test_the_type_is_that_of_the_folder_or_else_of_the_record(
    path: str, name: str, event_type: str
) -> None:
    assert event_type_of(path, name) == event_type


@pytest.mark.parametrize(
    ("name", "said"), [("Send", r"\d+ known event types \(users"), ("Nothing", "of 0 known")]
)
def test_a_type_that_nothing_tells_is_an_error(name: str, said: str) -> None:
    content = avro_of([("id", "string")], {"id": "e"}, name=name)
    with pytest.raises(NotArchived, match=rf"record name {name} .* {said}"):
        check_archive(io.BytesIO(content), "a.avro")
    with pytest.raises(NotArchived, match=rf"record name {name} .* {said}"):
        read(content)


@given(st.text(min_size=1, max_size=256))
def test_the_folder_of_any_type_that_has_its_whole_name_tells_it(event_type: str) -> None:
    folder = path_name(event_type)
    told = event_type_of(f"event_type={folder}/a.avro", record_name("x.Y"))
    assert told == ("x.Y" if len(folder) == 120 and folder[-17] == "-" else event_type)


# Values


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (3.14, "3.14"),
        (0.1, "0.1"),
        (48.85661, "48.85661"),
        (-179.98765, "-179.98766"),
        (16777216.0, "16777216.0"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (2.0**-149, "1e-45"),
        (LARGEST_FLOAT, "3.4028235e38"),
    ],
)
def test_a_32_bit_float_is_the_shortest_decimal_that_gives_it(number: float, text: str) -> None:
    content = avro_of([("x", ["null", "float"])], {"x": number})
    assert read(content)[0].endswith(f'"properties":{{"x":{text}}}}}'.encode())


@example(3.4025001647762064e38)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_no_32_bit_float_has_a_shorter_decimal_and_none_is_changed(number: float) -> None:
    found = shortest(number)
    assert struct.pack("<f", found) == struct.pack("<f", number)
    digits = len(Decimal(repr(found)).normalize().as_tuple().digits)
    for fewer in range(1, digits):
        rounded = float(f"{number:.{fewer}g}")
        assert abs(rounded) > LARGEST_FLOAT or float32(rounded) != number


@pytest.mark.parametrize(
    ("avro_type", "value", "found"),
    [
        ("double", 3.140000104904175, 3.140000104904175),
        (["float", "double"], 3.140000104904175, 3.140000104904175),
        ({"type": "float", "connect.doc": "annotated"}, 3.14, 3.14),
        ({"type": "array", "items": "float"}, [3.14, 0.1], [3.14, 0.1]),
        (
            {"type": "map", "values": ["null", "float"]},
            {"a": 3.14, "b": None},
            {"a": 3.14, "b": None},
        ),
        ("long", -(2**63), -(2**63)),
        ("boolean", False, False),
        ("string", "", ""),
        ({"type": "array", "items": ["null", "string"]}, ["a", None], ["a", None]),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "B"),
        ("bytes", b"\xff\x00", "/wA="),
        ({"type": "fixed", "name": "F", "size": 2}, b"ab", "YWI="),
        ({"type": "string", "logicalType": "uuid"}, uuid.UUID(int=1), str(uuid.UUID(int=1))),
        ({"type": "int", "logicalType": "date"}, datetime.date(2026, 1, 2), "2026-01-02"),
        ({"type": "long", "logicalType": "timestamp-millis"}, 1_500, "1970-01-01T00:00:01.500000Z"),
        ({"type": "int", "logicalType": "time-millis"}, datetime.time(1, 2), "01:02:00"),
    ],
)
def test_a_value_of_any_type_is_the_json_that_is_nearest(
    avro_type: Any, value: Any, found: Any
) -> None:
    assert value_of(avro_type, value) == found


def test_a_decimal_keeps_its_digits() -> None:
    money = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}
    content = avro_of([("price", money)], {"price": Decimal("123456789012345678.90")})
    assert b'"price":123456789012345678.90}' in read(content)[0]


def test_nested_records_are_objects() -> None:
    leaf = {
        "type": "record",
        "name": "Leaf",
        "fields": [{"name": "weight", "type": "float", "default": 0.5}],
    }
    node = {
        "type": "record",
        "name": "Node",
        "fields": [{"name": "one", "type": leaf}, {"name": "other", "type": ["null", "Leaf"]}],
    }
    value = {"one": {"weight": 3.14}, "other": {"weight": 0.1}}
    assert value_of(node, value) == value


@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_left_out_and_null_in_a_list(kind: str, number: float) -> None:
    content = avro_of([("x", kind)], {"x": number})
    assert event_in(content)["properties"] == {}
    assert value_of({"type": "array", "items": kind}, [1, number]) == [1, None]


@pytest.mark.parametrize(
    ("logical", "seconds"),
    [("timestamp-millis", 1_764_064_800_900), ("local-timestamp-millis", 1_764_064_800_900)],
)
def test_a_time_with_a_unit_of_its_own_is_whole_seconds(logical: str, seconds: int) -> None:
    kind = {"type": "long", "logicalType": logical}
    moment = datetime.datetime.fromtimestamp(seconds / 1_000, datetime.timezone.utc)
    if logical.startswith("local"):
        moment = moment.replace(tzinfo=None)
    content = avro_of([("id", "string"), ("time", kind)], {"id": "e", "time": moment})
    assert event_in(content)["time"] == 1_764_064_800
    decode_event(read(content)[0], 900_000)


# Schemas of other days


def test_fields_may_be_added_removed_reordered_annotated_or_retyped() -> None:
    annotated = {"type": "string", "connect.doc": "an annotation"}
    fields = [
        ("a_new_field", ["null", "string"]),
        {"name": "time", "type": "long"},
        {"name": "machine_open", "type": ["null", "boolean"], "default": None},
        {"name": "user_id", "type": ["null", annotated], "default": None},
        {"name": "campaign_id", "type": ["string", "null"]},
        ("id", annotated),
    ]
    record = {
        "a_new_field": "n",
        "time": 2**33,
        "machine_open": True,
        "user_id": None,
        "campaign_id": "c",
        "id": "e",
    }
    assert event_in(avro_of(fields, record)) == {
        "event_type": OPEN,
        "id": "e",
        "time": 2**33,
        "user": {},
        "properties": {"a_new_field": "n", "machine_open": True, "campaign_id": "c"},
    }


def with_header(content: bytes, **metadata: str) -> bytes:
    """A file whose header says something else; `schema` and `codec` are keys of it."""
    reader = fastavro.block_reader(io.BytesIO(content))
    end = next(reader).offset
    header = fastavro._read_common.HEADER_SCHEMA
    values = fastavro.schemaless_reader(io.BytesIO(content), header, None)
    meta = values["meta"] | {f"avro.{name}": text.encode() for name, text in metadata.items()}
    file = io.BytesIO()
    fastavro.schemaless_writer(file, header, {**values, "meta": meta})
    return file.getvalue() + content[end:]


def test_a_default_that_does_not_fit_its_field_is_no_matter() -> None:
    content = avro_of([("id", "string"), ("n", "int")], {"id": "e", "n": 1})
    schema = json.loads(fastavro.block_reader(io.BytesIO(content)).metadata["avro.schema"])
    schema["fields"][1]["default"] = "none"
    assert event_in(with_header(content, schema=json.dumps(schema)))["properties"] == {"n": 1}


# Codecs


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz", "zstandard", "lz4"])
def test_a_file_is_read_whatever_its_codec_if_its_library_is_there(codec: str) -> None:
    records = [{"id": str(number)} for number in range(50)]
    try:
        content = avro_of([("id", "string")], *records, codec=codec, sync_interval=20)
    except ValueError as error:
        pytest.skip(str(error))
    assert [json.loads(event)["id"] for event in read(content)] == [r["id"] for r in records]
    for end in range(len(content) - 60, len(content)):
        with pytest.raises(DamagedArchive):
            read(content[:end] + b"?" * (len(content) - end))


def in_snappy(content: bytes) -> bytes:
    """A file of one block without a codec, as one of codec snappy whose block is one literal."""
    (block,) = fastavro.block_reader(io.BytesIO(content))
    plain = block.bytes_.getvalue()
    literal = bytes([len(plain), (len(plain) - 1) << 2]) + plain
    packed = io.BytesIO()
    fastavro.schemaless_writer(packed, "long", block.num_records)
    fastavro.schemaless_writer(packed, "bytes", literal + struct.pack(">I", zlib.crc32(plain)))
    headed = with_header(content, codec="snappy")
    return headed[: -block.size] + packed.getvalue() + content[-16:]


def test_snappy_is_read_if_its_library_is_there() -> None:
    pytest.importorskip("cramjam")
    content = in_snappy(avro_of([("id", "string")], {"id": "e-1"}, codec="null"))
    assert event_in(content)["id"] == "e-1"


WITHOUT_SNAPPY = """
import sys

class Missing:
    def find_spec(self, name, *_):
        if name in ("cramjam", "snappy"):
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
from runtime.files import NoSuchInput, expand_patterns
try:
    expand_patterns(sys.argv[1:])
except NoSuchInput as error:
    print(error)
"""


def test_without_a_codecs_library_the_error_names_the_file_and_the_library(tmp_path: Path) -> None:
    path = tmp_path / "a.avro"
    path.write_bytes(in_snappy(avro_of([("id", "string")], {"id": "e-1"}, codec="null")))
    command = [sys.executable, "-c", WITHOUT_SNAPPY, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.count("\n") == 1
    assert said.startswith(f"--input {path}: snappy codec")
    assert "need to install" in said
    assert "cramjam" in said


def test_a_codec_that_nobody_knows_is_an_error() -> None:
    content = with_header(avro_of([("id", "string")], {"id": "e"}), codec="brotli")
    with pytest.raises(NotArchived, match="brotli"):
        check_archive(io.BytesIO(content), "a.avro")


# What is no archive


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"Obj\x02", b'{"event_type":"a"}\n', b"\n"])
def test_what_is_no_avro_is_an_error(content: bytes) -> None:
    for look in (check_archive, lambda *args: list(read_archive(*args))):
        with pytest.raises(NotArchived, match="no Avro file"):
            look(io.BytesIO(content), "a.avro")


def test_dead_letters_are_for_replay(tmp_path: Path) -> None:
    letter = DeadLetter(
        event=b"{}", stage="decode", reason="missing_field", detail="", buried_ms=1_000
    )
    content = read_file(write_letters(str(tmp_path), [letter]))
    with pytest.raises(NotArchived, match="currents replay"):
        check_archive(io.BytesIO(content), f"event_type={OPEN}/a.avro")


def test_a_file_of_no_records_but_numbers_is_an_error() -> None:
    file = io.BytesIO()
    fastavro.writer(file, "long", [1, 2])
    with pytest.raises(NotArchived, match="holds no records"):
        check_archive(io.BytesIO(file.getvalue()), "a.avro")


def test_a_file_without_events_is_legal() -> None:
    assert read(avro_of([("id", "string")])) == []


# Damage


def archived(codec: str = "deflate", count: int = 60) -> tuple[bytes, list[tuple[int, int]]]:
    """A file of several blocks; where each ends, and how many events there are until then."""
    file = io.BytesIO()
    events = sample_events(count, event_types=[OPEN])
    records = fastavro.reader(io.BytesIO(stored(list(events), OPEN).body))
    schema = schema_of(OPEN, "S3", frozenset())
    fastavro.writer(file, schema, records, codec, sync_interval=4_000)
    blocks = list(fastavro.block_reader(io.BytesIO(file.getvalue())))
    ends = [(blocks[0].offset, 0)]
    for block in blocks:
        ends.append((block.offset + block.size, ends[-1][1] + block.num_records))
    assert len(ends) > 5
    return file.getvalue(), ends


def read_until_damage(content: bytes) -> tuple[list[bytes], bool]:
    """The events of a file, and whether it was read to its end."""
    events: list[bytes] = []
    reading: Iterator[bytes] = read_archive(io.BytesIO(content), "a.avro")
    try:
        events.extend(reading)
    except (DamagedArchive, NotArchived):
        return events, False
    return events, True


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_of_a_file_that_is_cut_off_the_whole_blocks_are_read(codec: str) -> None:
    content, ends = archived(codec)
    events = read(content)
    chance = random.Random(1)
    near = {end + step for end, _ in ends for step in range(-17, 4)}
    for cut in sorted({*chance.sample(range(len(content)), 60), *near, 0, 1, 2, 3, 4, 5}):
        whole = max((count for end, count in ends if end <= cut), default=0)
        ended = cut in {end for end, _ in ends} or cut >= len(content)
        assert read_until_damage(content[:cut]) == (events[:whole], ended), cut


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_of_a_file_that_is_damaged_anywhere_what_comes_before_is_read(codec: str) -> None:
    content, ends = archived(codec)
    events = read(content)
    chance = random.Random(2)
    for _ in range(300):
        at = chance.randrange(len(content))
        damaged = bytearray(content)
        damaged[at] ^= 1 << chance.randrange(8)
        found, _ = read_until_damage(bytes(damaged))
        before = max((count for end, count in ends if end <= at), default=0)
        if at >= ends[0][0]:
            assert found[:before] == events[:before]


def test_a_file_that_ends_within_the_number_that_begins_a_block_is_cut_off() -> None:
    records = [{"id": "e"}] * 500
    content = avro_of([("id", "string")], *records, codec="null", sync_interval=200)
    _, second, *_ = fastavro.block_reader(io.BytesIO(content))
    assert second.num_records > 63  # of which Avro makes two bytes
    events, ended = read_until_damage(content[: second.offset + 1])
    assert (len(events), ended) == (second.num_records, False)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [(b"\x04", b"\x02", "more in it than its records"), (b"\x02b", b"\x02\xff", "utf-8")],
)
def test_nothing_of_a_block_is_read_unless_all_of_it_can_be(
    old: bytes, new: bytes, said: str
) -> None:
    content = avro_of([("id", "string")], {"id": "a"}, {"id": "b"}, codec="null")
    (block,) = fastavro.block_reader(io.BytesIO(content))
    changed = content[block.offset :].replace(old, new, 1)
    reading = read_archive(io.BytesIO(content[: block.offset] + changed), "a.avro")
    with pytest.raises(DamagedArchive, match=said):
        next(reading)


class Watched(io.BytesIO):
    """A file that tells how much was asked for."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.asked: set[int | None] = set()

    def read(self, size: int | None = -1) -> bytes:
        self.asked.add(size)
        return super().read(size)


@pytest.mark.parametrize("claimed", [-4, -1, 3_001, 2**40])
def test_a_block_that_claims_to_be_huge_is_not_fetched(
    claimed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(avro_blocks, "MAX_BLOCK_BYTES", 3_000)
    content = avro_of([("id", "string")], {"id": "a"})
    (block,) = fastavro.block_reader(io.BytesIO(content))
    length = io.BytesIO()
    fastavro.schemaless_writer(length, "long", claimed)
    file = Watched(content[: block.offset] + b"\x02" + length.getvalue() + content[block.offset :])
    with pytest.raises(DamagedArchive, match=f"a block of {claimed} bytes, at most 3000 are read"):
        list(read_archive(file, "a.avro"))
    assert all(size is not None and 0 <= size <= 3_000 for size in file.asked)


def test_a_damaged_file_passes_the_first_look() -> None:
    content, _ = archived()
    for cut in (0, 2, 4, 100, len(content) - 1):
        check_archive(io.BytesIO(content[:cut]), "a.avro")
