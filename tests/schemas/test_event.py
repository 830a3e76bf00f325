import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.event import EventHeader, InvalidEvent, app_group_of, decode_event
from schemas.limits import MAX_EVENT_TYPE_CHARS, MAX_ID_CHARS, MAX_TIME_SECONDS

EVENT: dict[str, Any] = {
    "event_type": "users.messages.email.Open",
    "id": "e-1",
    "time": 1_700_000_000,
    "user": {"user_id": "u-1", "external_user_id": "x-1"},
    "properties": {"app_group_id": "brand-a", "app_id": "app-1", "platform": "ios"},
}
HEAD = b'{"event_type":"a","id":"b","time":1,"properties":{"p":'
TAIL = b"}}"


def decode(message: bytes, max_bytes: int = 900_000) -> tuple[EventHeader, bytes]:
    return decode_event(message, max_bytes)


def changed(**fields: Any) -> bytes:
    """The event with top-level fields replaced; those that are `...` left out."""
    event = {**EVENT, **fields}
    return json.dumps({name: v for name, v in event.items() if v is not ...}).encode()


def reason_of(message: bytes, max_bytes: int = 900_000) -> str:
    with pytest.raises(InvalidEvent) as caught:
        decode(message, max_bytes)
    return caught.value.reason


def no_constants(name: str) -> Any:
    raise ValueError(name)


def strictly(line: bytes) -> Any:
    """What json.loads makes of it without its leniencies; whole numbers stay texts of any length."""
    value = json.loads(line.decode("utf-8"), parse_constant=no_constants, parse_int=str)
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate cannot be encoded
    return value


def test_the_header_holds_what_routing_reads() -> None:
    header, line = decode(changed())
    assert line == changed()
    assert (header.event_type, header.id, header.time) == (
        "users.messages.email.Open",
        "e-1",
        1_700_000_000,
    )
    assert (header.app_group_id, header.app_id, header.platform) == ("brand-a", "app-1", "ios")
    assert header.has_external_user_id
    assert app_group_of(line) == "brand-a"


def test_bytes_pass_through_untouched() -> None:
    message = b'{ "time":1,\t"new":{"a":[1.50,1E5,1e999,"\\u00e9\\/"]},"id":"b","event_type":"x.Y"}'
    assert decode(message)[1] == message


@pytest.mark.parametrize("field", ["event_type", "id", "time"])
def test_an_event_without_a_required_field_is_refused(field: str) -> None:
    assert reason_of(changed(**{field: ...})) == "missing_field"


@pytest.mark.parametrize(
    "fields",
    [
        {"event_type": None},
        {"event_type": 7},
        {"event_type": ""},
        {"event_type": "x" * (MAX_EVENT_TYPE_CHARS + 1)},
        {"id": None},
        {"id": 7},
        {"id": ""},
        {"id": "x" * (MAX_ID_CHARS + 1)},
        {"time": None},
        {"time": "1700000000"},
        {"time": 1.5},
        {"time": True},
        {"time": -1},
        {"time": MAX_TIME_SECONDS + 1},
        {"time": 10**40},
        {"user": "u-1"},
        {"user": []},
        {"user": {"external_user_id": 7}},
        {"properties": []},
        {"properties": {"app_group_id": 7}},
        {"properties": {"app_id": {}}},
        {"properties": {"platform": True}},
    ],
)
def test_a_field_of_the_wrong_type_is_refused(fields: dict[str, Any]) -> None:
    assert reason_of(changed(**fields)) == "wrong_type"


@pytest.mark.parametrize(
    "fields",
    [
        {"event_type": "x" * MAX_EVENT_TYPE_CHARS},
        {"id": "x" * MAX_ID_CHARS},
        {"time": 0},
        {"time": MAX_TIME_SECONDS},
        {"user": None},
        {"user": ...},
        {"user": {}},
        {"properties": None},
        {"properties": ...},
        {"properties": {"app_id": None}},
        {"a_new_field": {"of": ["any", 1, None]}},
    ],
)
def test_the_last_value_that_is_allowed_passes(fields: dict[str, Any]) -> None:
    message = changed(**fields)
    assert decode(message)[1] == message


@pytest.mark.parametrize("message", [b"[]", b'"text"', b"7", b"null", b"[{}]"])
def test_json_that_is_no_object_has_the_wrong_type(message: bytes) -> None:
    assert reason_of(message) == "wrong_type"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b" \r\n\t",
        b"{",
        b"nonsense",
        changed() + changed(),
        changed()[:-1] + b",}",
        b"\xef\xbb\xbf" + changed(),
        b"\x00" + changed(),
        b"\x0c" + changed(),
        changed() + b"\x0b",
        changed().replace(b"e-1", b"e-\xff"),
        changed().replace(b"e-1", b"e-\xed\xa0\x80"),
        changed().replace(b"e-1", b"e-\x01"),
        changed().replace(b"e-1", b"e-\n"),
        changed().replace(b"e-1", b"e-\\q"),
        changed().replace(b"e-1", b"e-\\u12"),
        changed().decode().encode("utf-16"),
        *(
            HEAD + value + TAIL
            for value in [
                b"NaN",
                b"Infinity",
                b"-Infinity",
                b"01",
                b"+1",
                b"1.",
                b".5",
                b"'a'",
                b"",
            ]
        ),
    ],
)
def test_what_is_not_strict_json_is_refused(message: bytes) -> None:
    assert reason_of(message) == "invalid_json"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b" \n", "invalid_json: the message is empty"),
        (b'{"id":"\xff"}', "invalid_json: no valid UTF-8 at byte 7"),
        (b"{", "invalid_json: Input data was truncated"),
        (HEAD + b"[" * 100_000, "invalid_json: nested too deeply"),
        (changed(id=...), "missing_field: Object missing required field `id`"),
        (changed(id=7), "wrong_type: Expected `str`, got `int` - at `$.id`"),
    ],
    ids=["empty", "utf_8", "cut", "nesting", "missing", "type"],
)
def test_a_refusal_tells_what_is_wrong_and_where(message: bytes, said: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        decode(message)
    assert str(refused.value) == said
    assert f"{refused.value.reason}: {refused.value.detail}" == said


def test_a_message_is_measured_as_it_came() -> None:
    message = changed() + b" " * 10
    decode(message, len(message))
    decode(message, len(message) + 1)
    assert reason_of(message, len(message) - 1) == "too_large"


def test_nesting_that_no_decoder_bears_is_refused() -> None:
    assert reason_of(HEAD + b"[" * 100_000 + b"]" * 100_000 + TAIL) == "invalid_json"


def test_nesting_of_a_hundred_levels_passes() -> None:
    message = HEAD + b"[" * 100 + b"]" * 100 + TAIL
    assert decode(message)[1] == message


@pytest.mark.parametrize("line_break", [b"\n", b"\r", b"\r\n"])
def test_line_breaks_between_tokens_become_spaces(line_break: bytes) -> None:
    _, line = decode(b'\n{\n"event_type":\n"a","id":"b\\n","time":1}\n'.replace(b"\n", line_break))
    space = b" " * len(line_break)
    assert line == b'{ "event_type": "a","id":"b\\n","time":1}'.replace(b" ", space)


@pytest.mark.parametrize(
    ("came", "leaves"),
    [
        (rb"\ud800", rb"\ufffd"),
        (rb"\uDFFF", rb"\ufffd"),
        (rb"\ud83d\ude00", rb"\ud83d\ude00"),
        (rb"\ud83d\ud83d\ude00", rb"\ufffd\ud83d\ude00"),
        (rb"\ude00\ud83d", rb"\ufffd\ufffd"),
        (rb"\ud83d \ude00", rb"\ufffd \ufffd"),
        (rb"\ud800 \n", rb"\ufffd \n"),
        (rb"\\ud800", rb"\\ud800"),
        (rb"\\\ud800", rb"\\\ufffd"),
    ],
)
def test_a_lone_surrogate_becomes_the_replacement_character(came: bytes, leaves: bytes) -> None:
    assert decode(HEAD + b'"' + came + b'"' + TAIL)[1] == HEAD + b'"' + leaves + b'"' + TAIL


def test_of_a_key_that_stands_twice_the_last_counts() -> None:
    twice = b'{"event_type":"a","event_type":"c","id":"b","time":1,"user":{},"user":{"external_user_id":"x"}}'
    header, line = decode(twice)
    assert header.event_type == json.loads(line)["event_type"] == "c"
    assert header.has_external_user_id


@pytest.mark.parametrize("unset", [..., None, "", " ", "\t\n"])
def test_an_external_user_id_that_is_blank_is_not_set(unset: Any) -> None:
    user = {} if unset is ... else {"external_user_id": unset}
    assert not decode(changed(user=user))[0].has_external_user_id


TOKENS = st.sampled_from(
    [bytes([byte]) for byte in b"\"\\{}[],:\n\r \t10-.a'/\xff\x00\x0b\x7f"]
) | (
    st.sampled_from([b"\\u", b"\\ud8", b"d8", b"00", b"e9", b"NaN", b"true", b"null"])
    | st.sampled_from(["\u00e9".encode(), "\u2028".encode(), "\ufeff".encode()])
)
SCRAPS = st.lists(TOKENS, max_size=12).map(b"".join)


def agrees_with_json_loads(message: bytes) -> None:
    try:
        _, line = decode(message)
    except InvalidEvent as invalid:
        if invalid.reason == "invalid_json":
            with pytest.raises((ValueError, RecursionError)):
                strictly(message.strip(b" \t\r\n"))
        return
    assert strictly(line)["event_type"]
    assert b"\n" not in line
    assert b"\r" not in line


@given(
    SCRAPS, st.sampled_from([lambda s: HEAD + s + TAIL, lambda s: HEAD + b'"' + s + b'"' + TAIL])
)
@example(rb"\ud800\ud800\udc00", lambda scrap: HEAD + b'"' + scrap + b'"' + TAIL)
def test_what_is_accepted_is_one_line_of_strict_json_and_nothing_else_is(
    scrap: bytes, place: Callable[[bytes], bytes]
) -> None:
    agrees_with_json_loads(place(scrap))


@given(st.binary(max_size=6), st.integers(0, 200), st.integers(0, 6))
def test_damaged_bytes_are_never_accepted_as_something_else(
    scrap: bytes, at: int, cut: int
) -> None:
    whole = changed()
    agrees_with_json_loads(whole[:at] + scrap + whole[at + cut :])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    ),
    st.sampled_from([None, 2]),
    st.booleans(),
)
def test_every_json_value_passes_as_a_property(
    value: Any, indent: int | None, escape: bool
) -> None:
    value = json.loads(json.dumps(value).replace("Infinity", "1"))
    event = {**EVENT, "properties": {"p": value}}
    text = json.dumps(event, indent=indent, ensure_ascii=escape)
    _, line = decode(text.encode("utf-8", "surrogatepass"))
    assert json.loads(line)["properties"]["p"] == value
