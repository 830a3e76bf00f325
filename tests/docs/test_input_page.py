import json
import re
from pathlib import Path
from typing import get_args

import pytest

from schemas.event import (
    EventHeader,
    InvalidEvent,
    InvalidReason,
    PropertiesHeader,
    UserHeader,
    decode_event,
)
from schemas.limits import MAX_EVENT_BYTES, MAX_EVENT_TYPE_CHARS, MAX_ID_CHARS, MAX_TIME_SECONDS

PAGE = (Path(__file__).parents[2] / "docs" / "input.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)

INVALID_TIMES = re.findall(r"`([^`]+)`", PAGE.split(" are no valid `time`")[0].splitlines()[-1])


def decode_example() -> EventHeader:
    return decode_event(EXAMPLE.encode(), MAX_EVENT_BYTES)[0]


def test_the_example_is_an_event_with_every_field_that_is_read() -> None:
    header = decode_example()
    assert header.has_external_user_id
    assert header.app_group_id
    assert header.app_id
    assert header.platform


def test_the_page_names_what_is_no_valid_time() -> None:
    assert len(INVALID_TIMES) == 3


def test_the_table_names_every_field_that_is_read_and_no_other() -> None:
    section = PAGE.split("## Fields that are read")[1].split("##")[0]
    read = {"event_type", "id", "time"}
    read |= {f"user.{name}" for name in UserHeader.__struct_fields__}
    read |= {f"properties.{name}" for name in PropertiesHeader.__struct_fields__}
    assert set(re.findall(r"^\| `([a-z_.]+)` \|", section, re.MULTILINE)) == read


def test_the_table_of_reasons_is_complete() -> None:
    section = PAGE.split("## What becomes a dead letter")[1]
    reasons = re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)
    assert sorted(reasons) == sorted(get_args(InvalidReason))


@pytest.mark.parametrize(
    "limit",
    [
        f"{MAX_EVENT_BYTES:,} bytes",
        f"{MAX_EVENT_TYPE_CHARS} characters",
        f"{MAX_ID_CHARS:,} characters",
        f"to {MAX_TIME_SECONDS}:",
    ],
)
def test_the_page_states_the_limits_of_the_code(limit: str) -> None:
    assert limit in PAGE


@pytest.mark.parametrize("time", INVALID_TIMES)
def test_what_the_page_calls_no_valid_time_is_none(time: str) -> None:
    valid = str(json.loads(EXAMPLE)["time"])
    message = EXAMPLE.replace(f'"time": {valid}', f'"time": {time}')
    assert message != EXAMPLE
    with pytest.raises(InvalidEvent) as invalid:
        decode_event(message.encode(), MAX_EVENT_BYTES)
    assert invalid.value.reason == "wrong_type"


def test_what_is_mended_becomes_what_the_page_says() -> None:
    before, after = re.findall(r'`("\\u[0-9a-f]{4}")`', PAGE)
    message = EXAMPLE.strip().replace('"c-7"', before)
    line = decode_event(message.encode(), MAX_EVENT_BYTES)[1].decode()
    assert line == EXAMPLE.strip().replace('"c-7"', after).replace("\n", " ")
