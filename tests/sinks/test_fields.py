"""Taking events apart: large ones give the same values, but for what is nested."""

from typing import Any

import msgspec
import pytest

from sinks.fields import (
    LARGE_BYTES,
    Unencodable,
    append_json,
    encode_json,
    is_nested,
    take_apart,
)

VALUES = (
    b'"t":"text","n":null,"yes":true,"int":12345678901234567890123,"ratio":1.50,"far":1e400,'
    b'"list":[1.0,[],"a"],"object":{"a":[1.10]},"none":[]'
)


def event_of(size: int) -> bytes:
    start = (
        b'{"event_type":"x","id":"e","time":7,"user":{"user_id":[1],"device_id":2.0},"properties":{'
    )
    filler = b',"filler":"' + b"f" * max(0, size - len(start) - len(VALUES) - 14) + b'"'
    return start + VALUES + filler + b"}}"


def parts_of(event: bytes) -> dict[str, Any]:
    fields = take_apart(event)
    assert fields.user is not None
    assert fields.properties is not None
    values = {**fields.properties, "user_id": fields.user.user_id, "at": fields.user.device_id}
    return {name: (is_nested(value), encode_json(value)) for name, value in values.items()}


def test_large_events_give_the_same_values_in_the_same_spelling() -> None:
    small, large = event_of(500), event_of(LARGE_BYTES + 1)
    assert len(small) < LARGE_BYTES < len(large)
    found = parts_of(large)
    found.pop("filler")
    told = parts_of(small)
    told.pop("filler")
    assert found == told
    assert found["list"] == (True, b'[1.0,[],"a"]')
    assert found["ratio"] == (False, b"1.50")


@pytest.mark.parametrize("size", [500, LARGE_BYTES + 100])
def test_an_event_may_lack_user_and_properties_however_large_it_is(size: int) -> None:
    event = event_of(size)
    without = take_apart(event.replace(b'"properties"', b'"others"', 1))
    assert without.properties is None
    assert without.user is not None
    alone = take_apart(event.replace(b'"user"', b'"nobody"', 1))
    assert alone.user is None
    assert alone.properties is not None


@pytest.mark.parametrize(
    "nested", [b"[" + b"[]," * LARGE_BYTES + b"[]]", b"[1" + b",1" * LARGE_BYTES + b"]", b'{"a":1}']
)
def test_lists_and_objects_of_large_events_are_not_looked_into(nested: bytes) -> None:
    event = event_of(LARGE_BYTES + 100).replace(b'"none":[]', b'"none":' + nested)
    values = take_apart(event).properties
    assert values is not None
    assert isinstance(values["none"], msgspec.Raw)
    assert bytes(values["none"]) == nested


def test_what_is_nested_too_deeply_is_unencodable() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(Unencodable):
        take_apart(event_of(500).replace(b"[]", deep, 1))


def test_what_is_nested_too_deeply_is_told_of_the_event() -> None:
    lists = b"[" * 5_000 + b"]" * 5_000
    event = b'{"event_type":"x","id":"e","time":7,"properties":{"a":' + lists + b"}}"
    with pytest.raises(Unencodable, match=r"^event: .*recursion"):
        take_apart(event)
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(Unencodable, match=r"^event: nested too deeply$"):
        encode_json(nested)
    with pytest.raises(Unencodable, match=r"^event: nested too deeply$"):
        append_json(nested, bytearray())
    while nested:  # else all of it would be freed in one go, call by call
        nested = nested[0]
