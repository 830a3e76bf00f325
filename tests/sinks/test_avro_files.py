import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.storage import write_whole
from schemas.catalogue import EventType, StorageField, event_types
from schemas.connector import decode_hook
from schemas.event import EventHeader, decode_event
from sinks.avro_files import MAX_NAME_CHARS, AvroFilesConnector, AvroFilesSink, path_name
from sinks.avro_record import Unwritable, to_record
from sinks.sink import FileWrite, Packed, Sink

EXAMPLE: dict[str, Any] = {
    "name": "lake",
    "kind": "avro_files",
    "path": "gs://bucket/currents",
    "credentials": "file:/secrets/sa.json",
    "cluster": "prod-01",
    "environment": "us-01",
}
SECRETS = {"file:/secrets/sa.json": '{"type":"service_account","private_key":"k3y"}'}

HOUR = "2026-01-31-23"
TYPES = event_types()
OPEN = "users.messages.email.Open"
PURCHASE = "users.behaviors.Purchase"
LOCATION = "users.behaviors.Location"
INBOUND = "users.messages.sms.InboundReceive"
TOKEN_CHANGE = "users.behaviors.pushnotification.TokenStateChange"
USER_FIELDS = ("user_id", "external_user_id", "device_id", "timezone")
VALUES: Mapping[str, Any] = {
    "string": "text",
    "int": 7,
    "long": 2**40,
    "float": 1.5,
    "boolean": True,
    "array<string>": ["a", "b"],
    "array<null|string>": ["a", None],
}


def sink_of(**changes: Any) -> AvroFilesSink:
    settings = {**EXAMPLE, **changes}
    if not settings["path"].startswith("gs://"):
        del settings["credentials"]
    return AvroFilesSink(msgspec.convert(settings, AvroFilesConnector, dec_hook=decode_hook))


def event_of(event_type: str, user: Any = None, **properties: Any) -> bytes:
    event = {
        "event_type": event_type,
        "id": "e-1",
        "time": 1_700_000_000,
        "user": {"user_id": "u-1", **(user or {})},
        "properties": properties,
    }
    return json.dumps(event).encode()


def full_event_of(event_type: EventType) -> tuple[bytes, dict[str, Any]]:
    """An event with a value for every field of storage, and the record that it has to become."""
    record = {field.name: VALUES[field.type] for field in event_type.storage_fields}
    record |= {"id": "e-1", "time": 1_700_000_000}
    user = {name: record[name] for name in USER_FIELDS if name in record}
    properties = {n: v for n, v in record.items() if n not in {"id", "time", *USER_FIELDS}}
    for name in {"custom_properties", "purchase_properties"} & event_type.http_properties.keys():
        properties[name] = {"a": properties.pop("properties")}
        record["properties"] = '{"a": "text"}'
    return event_of(event_type.name, user, **properties), record


def pack(events: Sequence[bytes], event_type: str, **changes: Any) -> Packed:
    return sink_of(**changes).pack(events, f"{event_type}/{HOUR}", SECRETS)


def files_of(packed: Packed) -> list[FileWrite]:
    return [request for request in packed.requests if isinstance(request, FileWrite)]


def one_file(events: Sequence[bytes], event_type: str, **changes: Any) -> FileWrite:
    packed = pack(events, event_type, **changes)
    assert not packed.unpackable
    (file,) = files_of(packed)
    return file


def read(file: FileWrite) -> list[dict[str, Any]]:
    return [dict(record) for record in fastavro.reader(io.BytesIO(file.body))]


def schema_in(file: FileWrite) -> Any:
    return fastavro.reader(io.BytesIO(file.body)).writer_schema


def written(event_type: str, **properties: Any) -> dict[str, Any]:
    """The one record that an event with such properties becomes."""
    (record,) = read(one_file([event_of(event_type, **properties)], event_type))
    return record


def written_raw(event_type: str, name: str, value: str) -> dict[str, Any]:
    """The record of an event with a property that is spelt as given."""
    event = event_of(event_type, **{name: "<here>"}).replace(b'"<here>"', value.encode())
    (record,) = read(one_file([event], event_type))
    return record


def refusal_of(event_type: str, name: str, value: str) -> str:
    """The detail with which an event is refused for a property that is spelt as given."""
    event = event_of(event_type, **{name: "<here>"}).replace(b'"<here>"', value.encode())
    packed = pack([event], event_type)
    assert not packed.requests
    (unpackable,) = packed.unpackable
    assert (unpackable.event, unpackable.reason) == (event, "unencodable")
    return unpackable.detail


# Paths


def test_a_file_lies_where_the_platform_lays_it() -> None:
    path = one_file([event_of(OPEN)], OPEN).path
    source = "dataexport.prod-01.GCS.integration.lake"
    assert re.fullmatch(
        rf"gs://bucket/currents/{source}/event_type={OPEN}/date={HOUR}/version=10/us-01"
        rf"/{source}\+0\+[0-9a-f]{{16}}\.avro",
        path,
    )


@pytest.mark.parametrize(
    ("path", "storage"),
    [
        ("gs://bucket/a", "GCS"),
        ("s3://bucket/a", "S3"),
        ("az://container/a", "AzureBlob"),
        ("/data/out", "LOCAL"),
        ("out", "LOCAL"),
        ("gs://bucket/", "GCS"),
    ],
)
def test_the_kind_of_storage_stands_in_the_path_and_in_the_record_name(
    path: str, storage: str
) -> None:
    file = one_file([event_of(OPEN)], OPEN, path=path)
    assert file.path.startswith(
        f"{path.rstrip('/')}/dataexport.prod-01.{storage}.integration.lake/"
    )
    assert schema_in(file)["name"] == f"dataexport.{storage}.inner.{OPEN}"


@pytest.mark.parametrize(
    "path", ["", "ftp://host/a", "https://bucket", "gs://", "gs:///a", "s3a://b"]
)
def test_a_path_that_is_no_storage_is_refused(path: str) -> None:
    with pytest.raises(
        msgspec.ValidationError, match=r"^a path is a local folder, or gs://bucket/"
    ):
        sink_of(path=path)


@pytest.mark.parametrize("setting", ["cluster", "environment"])
@pytest.mark.parametrize("word", ["..", "a/b", "", "a b", "a.b", "a\n"])
def test_a_word_of_the_path_is_no_path_itself(setting: str, word: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        sink_of(**{setting: word})


@pytest.mark.parametrize(
    ("event_type", "name"),
    [
        (OPEN, OPEN),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
        ("a\\b", "a%5Cb"),
        ("a\0b\n", "a%00b%0A"),
        ("a=b*?[~", "a%3Db%2A%3F%5B%7E"),
        ("é", "%C3%A9"),
    ],
)
def test_an_event_type_is_one_harmless_name_of_the_path(event_type: str, name: str) -> None:
    assert path_name(event_type) == name


@given(st.text(min_size=1, max_size=256))
def test_no_event_type_leaves_its_folder(event_type: str) -> None:
    file = one_file([event_of(event_type)], event_type, path="/data")
    parts = PurePosixPath(file.path).parts
    assert len(parts) == len(
        PurePosixPath(one_file([event_of(OPEN)], OPEN, path="/data").path).parts
    )
    assert not {".", ".."} & set(parts)
    assert all(len(part) <= 255 for part in parts)
    assert re.fullmatch(r"[A-Za-z0-9._%/=+-]+", file.path)


@pytest.mark.parametrize("event_type", [OPEN, "../../up", "/etc/x", "..", "a\0b", "é" * 256])
def test_a_file_that_is_written_is_found_below_its_path(event_type: str, tmp_path: Path) -> None:
    file = one_file([event_of(event_type)], event_type, path=f"{tmp_path}/deep/out")
    write_whole(file.path, file.body)
    (found,) = (tmp_path / "deep" / "out").rglob("*.avro")
    with found.open("rb") as opened:
        assert [record["id"] for record in fastavro.reader(opened)] == ["e-1"]
    assert [path.name for path in tmp_path.rglob("*.avro")] == [found.name]


@given(st.text(min_size=1, max_size=256), st.text(min_size=1, max_size=256))
def test_two_event_types_never_share_a_folder(first: str, second: str) -> None:
    assert (path_name(first) == path_name(second)) is (first == second)


def test_a_long_event_type_is_cut_and_told_apart_by_a_hash() -> None:
    names = {path_name("x" * 200 + end) for end in ("a", "b")}
    assert len(names) == 2
    assert {len(name) for name in names} == {MAX_NAME_CHARS}
    digest = hashlib.sha256(b"x" * 200 + b"a").hexdigest()[:16]
    assert path_name("x" * 200 + "a") == "x" * (MAX_NAME_CHARS - 17) + "-" + digest


def test_an_event_whose_properties_cannot_be_read_is_told_of() -> None:
    lists = b"[" * 5_000 + b"]" * 5_000
    with pytest.raises(Unwritable, match=r"^the field properties is no object that Avro can hold$"):
        to_record(b'{"id":"e","time":1,"properties":{"a":' + lists + b"}}", OPEN)


# Lanes and files


def test_a_lane_is_an_event_type_and_an_hour() -> None:
    header = EventHeader(event_type=OPEN, id="e", time=1)
    assert sink_of().place(header, OPEN, HOUR) == f"{OPEN}/{HOUR}"


def test_what_is_held_is_one_queue() -> None:
    assert sink_of().hold_part(f"{OPEN}/{HOUR}") == ""


@pytest.mark.parametrize(
    ("part", "known"),
    [
        (f"{OPEN}/{HOUR}", True),
        (f"a/b/{HOUR}", True),
        ("", False),
        (HOUR, False),
        (f"/{HOUR}", False),
        (f"{OPEN}/", False),
        (f"{OPEN}/{HOUR}\n", False),
        ("ios/historical", False),
    ],
)
def test_a_part_without_a_type_or_an_hour_is_of_another_kind_of_connector(
    part: str, known: bool
) -> None:
    assert sink_of().has_part(part) is known


def test_an_event_type_with_slashes_keeps_its_hour() -> None:
    assert f"/event_type=a%2Fb/date={HOUR}/" in one_file([event_of("a/b")], "a/b").path


def test_the_same_events_give_the_same_file() -> None:
    events = [event_of(OPEN, n=n) for n in range(50)]
    assert one_file(events, OPEN) == one_file(list(events), OPEN)


def test_other_events_give_another_file() -> None:
    first, second = (one_file([event_of(OPEN, n=n)], OPEN) for n in (1, 2))
    assert first.path != second.path


def test_a_file_takes_15_000_events() -> None:
    events = [b'{"event_type":"a","id":"%d","time":1}' % number for number in range(15_001)]
    files = files_of(pack(events, "a"))
    assert [len(read(file)) for file in files] == [15_000, 1]
    assert [record["id"] for file in files for record in read(file)] == [
        str(number) for number in range(15_001)
    ]


def test_a_file_takes_as_many_bytes_of_events_as_it_may_and_not_one_more() -> None:
    event = event_of(OPEN)
    for limit, files in [(2 * len(event) - 1, 2), (2 * len(event), 1), (2 * len(event) + 1, 1)]:
        assert len(pack([event, event], OPEN, max_request_bytes=limit).requests) == files


def test_an_event_that_fits_no_file_is_too_large() -> None:
    event = event_of(OPEN)
    assert not pack([event], OPEN, max_request_bytes=len(event)).unpackable
    packed = pack([event], OPEN, max_request_bytes=len(event) - 1)
    assert not packed.requests
    assert [unpackable.reason for unpackable in packed.unpackable] == ["too_large"]


def test_nothing_becomes_no_file() -> None:
    assert pack([], OPEN) == Packed([], [])


def test_a_file_carries_the_credentials_and_what_was_in_it() -> None:
    events = [event_of(OPEN), event_of(OPEN)]
    file = one_file(events, OPEN)
    assert file.credentials == SECRETS["file:/secrets/sa.json"]
    assert list(file.events) == events
    assert one_file(events, OPEN, credentials=None).credentials is None


def test_files_are_deflated() -> None:
    reader = fastavro.reader(io.BytesIO(one_file([event_of(OPEN)], OPEN).body))
    assert reader.metadata["avro.codec"] == "deflate"


def test_there_is_no_probe_for_every_file_stays() -> None:
    sink: Sink[AvroFilesConnector] = sink_of()
    assert sink.probe(f"{OPEN}/{HOUR}", SECRETS) is None


# Records


def as_avro(field: StorageField) -> dict[str, Any]:
    items = {"array<string>": "string", "array<null|string>": ["null", "string"]}
    plain = {"type": "array", "items": items[field.type]} if field.type in items else field.type
    if field.nullable:
        return {"name": field.name, "type": ["null", plain], "default": None}
    return {"name": field.name, "type": plain}


@pytest.mark.parametrize("event_type", TYPES.values(), ids=list(TYPES))
def test_every_type_is_written_with_its_schema_and_read_back_whole(event_type: EventType) -> None:
    event, record = full_event_of(event_type)
    decode_event(event, 900_000)
    file = one_file([event], event_type.name)
    assert read(file) == [record]
    assert schema_in(file)["fields"] == [as_avro(field) for field in event_type.storage_fields]


@pytest.mark.parametrize("event_type", TYPES.values(), ids=list(TYPES))
def test_every_type_is_written_from_its_header_alone(event_type: EventType) -> None:
    header = {"event_type": event_type.name, "id": "e-1", "time": 1_700_000_000}
    (record,) = read(one_file([json.dumps(header).encode()], event_type.name))
    assert {name: value for name, value in record.items() if value is not None} == {
        "id": "e-1",
        "time": 1_700_000_000,
    }


def test_there_are_a_hundred_types() -> None:
    assert len(TYPES) == 100


def test_a_required_field_is_nullable_in_a_file_with_an_event_that_lacks_it() -> None:
    file = one_file([event_of(PURCHASE, price=1), event_of(PURCHASE)], PURCHASE)
    (price,) = [field for field in schema_in(file)["fields"] if field["name"] == "price"]
    assert price == {"name": "price", "type": ["null", "float"], "default": None}
    assert [record["price"] for record in read(file)] == [1.0, None]


def test_fields_that_storage_lacks_are_dropped() -> None:
    assert "a_new_field" not in written(OPEN, a_new_field=1)


def test_the_properties_of_a_purchase_are_json_text_in_its_own_spelling() -> None:
    text = '{ "size":"\\u00e9", "price":1.50, "n": 1e999, "list":[ ] }'
    assert written_raw(PURCHASE, "purchase_properties", text)["properties"] == text


def test_a_user_field_is_read_from_the_user() -> None:
    event = event_of(OPEN, {"external_user_id": "x-1", "timezone": "Europe/Paris"})
    (record,) = read(one_file([event], OPEN))
    assert (record["user_id"], record["external_user_id"]) == ("u-1", "x-1")
    assert record["timezone"] == "Europe/Paris"


def test_no_property_takes_the_place_of_the_id_or_the_time() -> None:
    record = written(OPEN, id="other", time=1)
    assert (record["id"], record["time"]) == ("e-1", 1_700_000_000)


@pytest.mark.parametrize("value", [[], [None], ["", None, "a"]])
def test_a_list_keeps_its_items_even_when_it_has_none(value: list[str | None]) -> None:
    assert written(INBOUND, media_urls=value)["media_urls"] == value


def test_null_is_no_text() -> None:
    name = "suspected_bot_click_reason"
    assert name in refusal_of("users.messages.email.Click", name, '["a", null]')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"a"', "a"),
        ('"NaN"', "NaN"),
        ('"\\u00e9\\n"', "é\n"),
        ("1.50", "1.50"),
        ("1e999", "1e999"),
        ("9" * 400, "9" * 400),
        ("true", "true"),
        ('[1, {"a":2}]', '[1, {"a":2}]'),
        ("{ }", "{ }"),
    ],
)
def test_what_is_no_text_becomes_its_own_json_text(value: str, text: str) -> None:
    assert written_raw(OPEN, "campaign_name", value)["campaign_name"] == text


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("12.0", 12),
        ("1E3", 1000),
        ('"12"', 12),
        ("-0", 0),
        ("9007199254740993.0", 2**53 + 1),
    ],
)
def test_a_whole_number_is_a_long_however_it_is_spelt(value: str, number: int) -> None:
    assert written_raw(TOKEN_CHANGE, "time_ms", value)["time_ms"] == number


@pytest.mark.parametrize("value", ["12.5", "1e999", "1e-999", "true", "[]", "{}", "1" * 5_000])
@pytest.mark.parametrize("quoted", [False, True])
def test_what_is_no_whole_number_is_refused_and_the_field_named(value: str, quoted: bool) -> None:
    spelt = f'"{value}"' if quoted else value
    assert "time_ms" in refusal_of(TOKEN_CHANGE, "time_ms", spelt)


@pytest.mark.parametrize(
    "value",
    [str(2**63), str(-(2**63) - 1), '""', '"NaN"', '"Infinity"', '"1_000"', '"\\"NaN\\""'],
)
def test_what_is_no_long_is_refused_and_the_field_named(value: str) -> None:
    assert "time_ms" in refusal_of(TOKEN_CHANGE, "time_ms", value)


def test_an_int_has_32_bits() -> None:
    events = [event_of(OPEN).replace(b"1700000000", str(2**31 + n).encode()) for n in (-1, 0)]
    packed = pack(events, OPEN)
    assert [read(file)[0]["time"] for file in files_of(packed)] == [2**31 - 1]
    assert [(u.event, "time" in u.detail) for u in packed.unpackable] == [(events[1], True)]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("3.14", 3.140000104904175),
        ("3", 3.0),
        ('"2.5"', 2.5),
        ("1e-999", 0.0),
        ("3.4028234663852886e38", 3.4028234663852886e38),
    ],
)
def test_a_float_is_the_nearest_of_32_bits(value: str, number: float) -> None:
    assert written_raw(LOCATION, "altitude", value)["altitude"] == number


@pytest.mark.parametrize("value", ["3.5e38", "1e999", '"NaN"', '"Infinity"', '"x"', "false", "[1]"])
def test_what_is_no_float_is_refused_and_the_field_named(value: str) -> None:
    assert "altitude" in refusal_of(LOCATION, "altitude", value)


@pytest.mark.parametrize(("value", "truth"), [("true", True), ("false", False), ('"true"', True)])
def test_a_boolean_may_be_spelt_as_text(value: str, truth: bool) -> None:
    record = written_raw("users.behaviors.CustomEvent", "ad_tracking_enabled", value)
    assert record["ad_tracking_enabled"] is truth


@pytest.mark.parametrize("value", ["1", "0", '"yes"', '"True"', "[]"])
def test_what_is_no_boolean_is_refused_and_the_field_named(value: str) -> None:
    detail = refusal_of("users.behaviors.CustomEvent", "ad_tracking_enabled", value)
    assert "ad_tracking_enabled" in detail


def test_a_refused_event_does_not_take_its_neighbours_along() -> None:
    good, bad = event_of(LOCATION, altitude=1), event_of(LOCATION, altitude="high")
    packed = pack([good, bad, good], LOCATION)
    assert [list(file.events) for file in packed.requests] == [[good, good]]
    assert [unpackable.event for unpackable in packed.unpackable] == [bad]


# Unknown types


def test_an_unknown_type_is_its_common_fields_and_all_of_it_as_text() -> None:
    event = event_of("users.new.Thing", app_id="app-1", app_group_id="brand-a", event="e", n=[1.50])
    file = one_file([event], "users.new.Thing")
    assert read(file) == [
        {
            "id": "e-1",
            "user_id": "u-1",
            "external_user_id": None,
            "time": 1_700_000_000,
            "app_group_id": "brand-a",
            "app_id": "app-1",
            "event": event.decode(),
        }
    ]
    assert [field["name"] for field in schema_in(file)["fields"]] == list(read(file)[0])


@pytest.mark.parametrize(
    ("event_type", "name"),
    [
        ("users.new.Thing", "users.new.Thing"),
        ("a-b c", "a_b_c"),
        ("1.2", "_1._2"),
        ("..", "_._._"),
        ("é/x", "__x"),
    ],
)
def test_the_record_of_an_unknown_type_has_a_legal_name(event_type: str, name: str) -> None:
    file = one_file([event_of(event_type)], event_type)
    assert schema_in(file)["name"] == f"dataexport.GCS.inner.{name}"


def test_google_credentials_for_another_storage_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="for gs:// paths"):
        msgspec.convert(EXAMPLE | {"path": "s3://b/x"}, AvroFilesConnector, dec_hook=decode_hook)


def test_a_redacted_field_that_cannot_hold_a_text_is_null() -> None:
    event = event_of("users.behaviors.Purchase", price=3.5, product_id="p", currency="EUR")
    redact = {"remove": ["price"], "hash": ["product_id"]}
    file = one_file([event], "users.behaviors.Purchase", redact=redact)
    (record,) = read(file)
    assert record["price"] is None
    assert record["product_id"] == hashlib.sha256(b"p").hexdigest()
    assert record["currency"] == "EUR"


@pytest.mark.parametrize(("codec", "written"), [("deflate", "deflate"), ("none", "null")])
def test_files_are_compressed_as_is_set(codec: str, written: str) -> None:
    event = event_of("users.behaviors.Purchase", price=3.5, product_id="p", currency="EUR")
    file = one_file([event], "users.behaviors.Purchase", codec=codec)
    assert fastavro.reader(io.BytesIO(file.body)).metadata["avro.codec"] == written
    assert len(read(file)) == 1


def test_the_variation_of_a_banner_has_another_name_over_http() -> None:
    banner = "users.messages.banner.Impression"
    over_http = written(banner, canvas_step_message_variation_api_id="v-1")
    assert over_http["canvas_step_message_variation_id"] == "v-1"
    assert (
        written(banner, canvas_step_message_variation_id="v-2")["canvas_step_message_variation_id"]
        == "v-2"
    )
