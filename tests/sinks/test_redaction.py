import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.connector import Redact, decode_hook
from sinks.fields import Unencodable
from sinks.postback import PostbackConnector, PostbackSink
from sinks.redaction import MAX_DEPTH, Redactor


def redact(event: Any, *, remove: list[str] | None = None, hash: list[str] | None = None) -> Any:  # noqa: A002
    text = event if isinstance(event, bytes) else msgspec.json.encode(event)
    return json.loads(Redactor(Redact(remove or [], hash or [])).redact(text))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_removed_value_becomes_a_text_that_says_so() -> None:
    event = {"id": "1", "properties": {"email_address": "a@example.com", "url": "u"}}
    found = redact(event, remove=["email_address"])
    assert found == {"id": "1", "properties": {"email_address": "[REDACTED]", "url": "u"}}


@pytest.mark.parametrize(
    ("value", "hashed"),
    [
        ('"a@example.com"', "a@example.com"),
        ('"\\u00e9"', "é"),
        ('""', ""),
        ("1.50", "1.50"),
        ("true", "true"),
        ('["a", 1]', '["a", 1]'),
    ],
)
def test_a_hash_is_of_a_text_or_of_the_json_as_it_is_spelled(value: str, hashed: str) -> None:
    found = redact(f'{{"properties":{{"x":{value}}}}}'.encode(), hash=["x"])
    assert found == {"properties": {"x": sha256(hashed)}}


def test_fields_are_found_wherever_they_stand() -> None:
    event = {
        "user": {"phone": "1"},
        "properties": {
            "phone": 2,
            "custom_properties": {"a": {"phone": [3]}, "list": [{"phone": "4"}, 5, [{"phone": 6}]]},
            "message_extras": '{"phone": "7", "kept": 1.50}',
            "conversion_behavior": ' [{"phone": "8"}]',
        },
    }
    found = redact(event, remove=["phone"])
    assert found["user"] == {"phone": "[REDACTED]"}
    properties = found["properties"]
    assert properties["phone"] == "[REDACTED]"
    assert properties["custom_properties"] == {
        "a": {"phone": "[REDACTED]"},
        "list": [{"phone": "[REDACTED]"}, 5, [{"phone": "[REDACTED]"}]],
    }
    assert properties["message_extras"] == '{"phone":"[REDACTED]","kept":1.50}'
    assert properties["conversion_behavior"] == '[{"phone":"[REDACTED]"}]'


@pytest.mark.parametrize(
    "event",
    [
        rb'{"properties":{"\u0065mail":"secret"}}',
        rb'{"properties":{"x":"{\u0022email\":\"secret\"}"}}',
        rb'{"properties":{"x":"\u007b\"email\":\"secret\"}"}}',
        b'{"properties":{"email":"first secret","email":"secret"}}',
        b'{"properties":{"email":{"email":"secret"}}}',
        b'{"properties":{"email":"secret","email":null}}',
        b'{"properties":{"email":"secret","email":"x"},"properties":{"email":"x"}}',
        b'{"properties":{"a":{"email":"secret"},"a":1,"email":"x"}}',
        b'{"properties":{"x":"{\\"email\\":\\"secret\\",\\"half\\":\\"\\\\ud83d\\"}"}}',
        b'{"properties":{"x":"{\\"email\\":\\"secret\\n\\"}"}}',
        b'{"properties":{"x":"{\\"email\\":\\"secret\\",}"}}',
        b'{"properties":{"x":"{\\"email\\":\\"secret\\",\\"n\\":NaN}"}}',
        b'{"properties":{"x":"\\ufeff{\\"email\\":\\"secret\\"}"}}',
        b'{"properties":{"x":"{} {\\"email\\":\\"secret\\"}"}}',
        b'{"properties":{"x":"\\"{\\\\\\"email\\\\\\":\\\\\\"secret\\\\\\"}\\""}}',
        b'{"properties":[{"email":"secret"}]}',
        b'{"properties":{"x":"{email: secret}"}}',
        rb'{"properties":{"x":"\"{email secret \\ud83d\""}}',
    ],
)
def test_no_spelling_hides_a_field(event: bytes) -> None:
    found = Redactor(Redact(remove=["email"])).redact(event)
    assert b"secret" not in found
    json.loads(found)


def test_a_null_stays_a_null() -> None:
    event = {"properties": {"a": None, "b": None}}
    assert redact(event, remove=["a"], hash=["b"]) == event


@pytest.mark.parametrize(
    "event",
    [
        b'{"properties": {"x": "email", "n": 1.50}}',
        b'{"properties": {"mail": "\\u0065"}}',
        b'{"properties": {"x": "{ no JSON"}}',
        b'{"properties": {"email": null}}',
    ],
)
def test_an_event_without_the_field_is_the_very_same_object(event: bytes) -> None:
    assert Redactor(Redact(remove=["email"])).redact(event) is event


def test_what_is_not_redacted_keeps_its_spelling() -> None:
    event = b'{"a": 1.50, "b": [ 1e2 ], "c": "\\u00e9", "email": "x", "d": 90071992547409931}'
    found = Redactor(Redact(remove=["email"])).redact(event)
    for spelled in (b'"a":1.50', b'"b":[ 1e2 ]', b'"c":"\\u00e9"', b'"d":90071992547409931'):
        assert spelled in found


def test_what_cannot_be_looked_through_is_unencodable() -> None:
    event = b'{"email":1,"x":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001
    redactor = Redactor(Redact(remove=["email"]))
    with pytest.raises(Unencodable):
        redactor.redact(event)
    assert redactor.redact_for_replay(event) == b'"[REDACTED]"'


def nested(levels: int, inside: bytes) -> bytes:
    return b'{"a":' * levels + inside + b"}" * levels


def test_a_field_is_looked_for_to_a_depth_that_no_event_has() -> None:
    """Each level costs the time and the memory of all in it, so the depth is not the event's to choose."""
    redactor = Redactor(Redact(remove=["email"]))
    found = redactor.redact(nested(MAX_DEPTH - 1, b'{"email":"secret"}'))
    assert found == nested(MAX_DEPTH - 1, b'{"email":"[REDACTED]"}')
    with pytest.raises(Unencodable, match="over 16 levels deep"):
        redactor.redact(nested(MAX_DEPTH, b'{"email":"secret"}'))
    assert redactor.redact_for_replay(nested(MAX_DEPTH, b'{"email":1}')) == b'"[REDACTED]"'


def test_what_names_no_field_may_be_nested_as_it_likes() -> None:
    event = b'{"email":"secret","x":' + nested(300, rb'"\n\""') + b"}"
    found = Redactor(Redact(remove=["email"])).redact(event)
    assert found == event.replace(b"secret", b"[REDACTED]")


@pytest.mark.parametrize("name", ["a/b", 'a"b', "a\\b", "\u00e9", "a\tb"])
def test_a_name_with_odd_characters_is_found_in_any_spelling(name: str) -> None:
    for spelled in (json.dumps(name), json.dumps(name, ensure_ascii=False).replace("/", r"\/")):
        event = f'{{"x":{{{spelled}:"secret"}}}}'.encode()
        assert b"secret" not in Redactor(Redact(remove=[name])).redact(event)


@pytest.mark.parametrize(
    "event",
    [
        rb'{"properties":{"\u0061":1,"note":"no email"}}',
        rb'{"properties":{"a\/b":{"c":1.50},"note":"no email"}}',
        b'{"properties":{"\\u0061":' + b"7" * 5_000 + b',"note":"no email"}}',
        b'{"properties" : {"note" : ["no email", 1.50]}}',
        rb'{"properties":{"note":"no email \u00e9","n":-0.0,"far":1e400}}',
        rb'{"properties":{"x":"{\u0041 is no JSON"}}',
    ],
)
def test_an_event_without_the_field_is_the_very_same_whatever_its_spelling(event: bytes) -> None:
    assert Redactor(Redact(remove=["email"])).redact(event) is event


def in_objects(value: bytes) -> bytes:
    return b'{"a":%b}' % value


def in_arrays(value: bytes) -> bytes:
    return b"[%b]" % value


@pytest.mark.parametrize("wrap", [in_objects, in_arrays])
@pytest.mark.parametrize("as_text", [False, True])
def test_a_field_is_found_down_to_a_depth_and_below_it_the_event_is_not_sent(
    wrap: Callable[[bytes], bytes], as_text: bool
) -> None:
    """A text with JSON in it is a level too."""

    def nested(levels: int) -> bytes:
        value = b'{"email":"secret"}'
        if as_text:
            value = json.dumps(value.decode()).encode()
        for _ in range(levels - 1 - as_text):
            value = wrap(value)
        return value

    redactor = Redactor(Redact(remove=["email"]))
    assert b"[REDACTED]" in redactor.redact(nested(MAX_DEPTH))
    with pytest.raises(Unencodable) as refused:
        redactor.redact(nested(MAX_DEPTH + 1))
    assert str(refused.value) == "event: cannot be redacted: over 16 levels deep"


def test_what_is_no_json_cannot_be_redacted_and_the_reason_is_told() -> None:
    with pytest.raises(Unencodable, match="event: cannot be redacted: JSON is malformed"):
        Redactor(Redact(remove=["email"])).redact(b'{"email":"a",}')


def test_an_event_that_cannot_be_redacted_is_given_up_as_it_came_and_the_others_go_out() -> None:
    deep = b'{"properties":' + b"[" * 20 + b'"email"' + b"]" * 20 + b"}"
    good = b'{"id":"1","properties":{"email":"a@example.com"}}'
    settings = {"name": "hook", "url": "https://hook.example.com/", "redact": {"hash": ["email"]}}
    sink = PostbackSink(msgspec.convert(settings, PostbackConnector, dec_hook=decode_hook))
    packed = sink.pack([good, deep, good], "", {})
    (unpackable,) = packed.unpackable
    assert unpackable.event is deep
    assert unpackable.reason == "unencodable"
    assert unpackable.detail == "event: cannot be redacted: over 16 levels deep"
    (request,) = packed.requests
    assert request.events == [good, good]
    assert request.body.count(sha256("a@example.com").encode()) == 2


def test_a_redacted_letter_is_redacted_to_what_its_original_would_be() -> None:
    redactor = Redactor(Redact(remove=["phone"], hash=["email", "app_id"]))
    event = b'{"properties":{"email":"a@example.com","phone":"1","app_id":"app-1"}}'
    letter = redactor.redact_for_replay(event)
    assert b"example.com" not in letter
    assert json.loads(letter)["properties"]["app_id"] == "app-1"  # routing reads it
    assert redactor.redact(letter) == redactor.redact(event)
    assert redactor.redact_for_replay(letter) == letter


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["email", "x", "é"]), inner, max_size=3)
        | inner.map(json.dumps)
    ),
    max_leaves=8,
)


def values_of(value: Any, name: str) -> list[Any]:
    """What a field's name leads to, anywhere in a value or in the JSON within its texts."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
        return values_of(value, name) if isinstance(value, (dict, list, str)) else []
    if isinstance(value, list):
        return [found for item in value for found in values_of(item, name)]
    if not isinstance(value, Mapping):
        return []
    here = [value[name]] if name in value else []
    return here + [x for key, item in value.items() if key != name for x in values_of(item, name)]


@given(st.dictionaries(st.sampled_from(["properties", "user", "email"]), JSON))
def test_every_value_of_the_field_is_replaced_and_nothing_else(event: dict[str, Any]) -> None:
    found = redact(event, remove=["email"])
    assert {*map(str, values_of(found, "email"))} <= {"[REDACTED]", "None"}
    assert len(values_of(found, "email")) == len(values_of(event, "email"))
    untouched = {name: value for name, value in event.items() if not values_of(value, "email")}
    untouched.pop("email", None)
    assert {name: found[name] for name in untouched} == untouched


@pytest.mark.parametrize("name", ["id", "time", "event_type", "user", "properties", ""])
def test_what_makes_an_event_cannot_be_redacted(name: str) -> None:
    with pytest.raises(ValueError, match=name or "empty"):
        Redact(remove=[name])


def test_a_field_is_removed_or_hashed() -> None:
    with pytest.raises(ValueError, match="email"):
        Redact(remove=["email"], hash=["email"])
