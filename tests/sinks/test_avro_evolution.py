"""Files of ours are read by readers whose schema is older or newer, in either direction."""

import io
from collections.abc import Mapping
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalogue import EventType, event_types
from sinks.sink import FileWrite
from tests.sinks.test_avro_files import full_event_of, one_file, read, schema_in

TYPES = sorted(event_types().values(), key=lambda found: found.name)
ANY_TYPE = st.sampled_from(TYPES)


def written(event_type: EventType) -> tuple[FileWrite, Mapping[str, Any]]:
    """A file with one event in which every field has a value, and its record."""
    event, _ = full_event_of(event_type)
    file = one_file([event], event_type.name)
    (record,) = read(file)
    return file, record


def read_as(file: FileWrite, schema: Any) -> dict[str, Any]:
    (record,) = fastavro.reader(io.BytesIO(file.body), reader_schema=schema)
    return dict(record)


def with_fields(schema: Mapping[str, Any], fields: list[Any]) -> dict[str, Any]:
    return {"type": "record", "name": schema["name"], "fields": fields}


@given(ANY_TYPE, st.data())
def test_an_older_reader_misses_fields_and_has_others_in_another_order(
    event_type: EventType, data: st.DataObject
) -> None:
    file, record = written(event_type)
    schema = schema_in(file)
    kept = data.draw(st.lists(st.sampled_from(schema["fields"]), unique_by=lambda f: f["name"]))
    found = read_as(file, with_fields(schema, kept))
    assert found == {field["name"]: record[field["name"]] for field in kept}


@given(ANY_TYPE)
def test_a_newer_reader_has_optional_fields_that_the_file_lacks(event_type: EventType) -> None:
    file, record = written(event_type)
    schema = schema_in(file)
    new = {"name": "is_new", "type": ["null", "string"], "default": None}
    found = read_as(file, with_fields(schema, [new, *schema["fields"]]))
    assert found == {"is_new": None, **record}


@pytest.mark.parametrize("event_type", TYPES, ids=lambda found: found.name)
def test_a_reader_from_before_a_field_was_nullable_reads_what_has_a_value(
    event_type: EventType,
) -> None:
    file, record = written(event_type)
    schema = schema_in(file)
    required = [
        {"name": field["name"], "type": field["type"][1]}
        if isinstance(field["type"], list)
        else field
        for field in schema["fields"]
    ]
    assert read_as(file, with_fields(schema, required)) == record


@pytest.mark.parametrize("event_type", TYPES, ids=lambda found: found.name)
def test_a_reader_for_whom_every_field_is_nullable_reads_every_file(event_type: EventType) -> None:
    file, record = written(event_type)
    bare = one_file(
        [b'{"event_type":"%s","id":"e-1","time":1}' % event_type.name.encode()], event_type.name
    )
    schema = schema_in(file)
    nullable = [
        {**field, "type": ["null", field["type"]], "default": None}
        if not isinstance(field["type"], list)
        else field
        for field in schema["fields"]
    ]
    reader = with_fields(schema, nullable)
    assert read_as(file, reader) == record
    found = read_as(bare, reader)
    assert {name for name, value in found.items() if value is not None} == {"id", "time"}


def test_a_required_field_stays_required_where_every_event_has_it() -> None:
    """So that a reader with the platform's own schema is broken by the one file that lacks it only."""
    for event_type in TYPES:
        fields = {
            field["name"]: field["type"] for field in schema_in(written(event_type)[0])["fields"]
        }
        for field in event_type.storage_fields:
            assert isinstance(fields[field.name], list) is field.nullable
