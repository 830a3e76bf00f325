"""Whether a message is about a person: of an erasure, neither too little nor too much."""

import hashlib
import json
from typing import Any

import pytest

from runtime.persons import Persons


def message(**user: Any) -> bytes:
    return json.dumps({"event_type": "x", "id": "1", "time": 1, "user": user}).encode()


@pytest.mark.parametrize("field", ["external_user_id", "user_id"])
@pytest.mark.parametrize(
    ("person", "value", "concerned"),
    [
        ("x-1", "x-1", True),
        ("x-1", "x-2", False),
        ("x-1", "x-1 ", False),
        ("X-1", "x-1", False),
        ("7", 7, True),
        ("true", True, True),
        ("é", "é", True),
        ("x-1", f"sha256:{hashlib.sha256(b'x-1').hexdigest()}", True),
        ("x-1", f"sha256:{hashlib.sha256(b'x-2').hexdigest()}", False),
    ],
)
def test_a_person_is_known_by_either_id_and_by_its_hash(
    field: str, person: str, value: Any, concerned: bool
) -> None:
    assert Persons([person]).concern(message(**{field: value})) is concerned


@pytest.mark.parametrize("user", [{}, {"external_user_id": None}, {"user_id": None}])
@pytest.mark.parametrize("person", ["null", "None", ""])
def test_an_event_without_an_id_is_about_nobody(user: dict[str, Any], person: str) -> None:
    """Some apps call their users `null`: such a person is not everybody who has no id."""
    assert not Persons([person, "x-1"]).concern(message(**user))
    assert not Persons([person]).concern(b'{"event_type":"x","id":"1","time":1}')


def test_a_person_who_is_called_null_is_known() -> None:
    assert Persons(["null"]).concern(message(external_user_id="null"))


def test_other_fields_name_nobody() -> None:
    assert not Persons(["x-1"]).concern(message(device_id="x-1"))
    event = {"external_user_id": "x-1", "properties": {"external_user_id": "x-1"}}
    assert not Persons(["x-1"]).concern(json.dumps(event).encode())


@pytest.mark.parametrize(
    ("damaged", "concerned"),
    [
        (b'{"user":{"external_user_id":"x-1"', True),
        (b'{"user":{"user_id" : \n"x-1"', True),
        (rb'{"user":{"user_id":"\u00e9"', True),
        ('{"user":{"user_id":"é"'.encode(), True),
        (b'{"user":{"user_id":"x-12"', False),
        (b'{"user":{"device_id":"x-1"', False),
        (b"x-1", False),
    ],
)
def test_of_a_message_that_is_no_json_the_text_tells(damaged: bytes, concerned: bool) -> None:
    assert Persons(["x-1", "é", "a.*b"]).concern(damaged) is concerned
