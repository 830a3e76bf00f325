"""What queues of the hold are called, and whose they are."""

import os

import pytest

from schemas.lane import connector_of, file_name_of, hold_lane, lane_of_file


@pytest.mark.parametrize(
    ("connector", "part", "held"),
    [("crm", "", "crm"), ("mobile", "ios", "mobile+ios"), ("lake", "a+b", "lake+a+b")],
)
def test_a_queue_is_named_after_its_connector_and_says_whose_it_is(
    connector: str, part: str, held: str
) -> None:
    assert hold_lane(connector, part) == held
    assert connector_of(held) == connector


def test_a_queue_is_found_on_disk_under_its_own_name() -> None:
    assert file_name_of("mobile+ios") == "mobile+ios"
    assert lane_of_file("mobile+ios") == "mobile+ios"


def test_a_name_that_is_no_utf_8_is_told_from_ours() -> None:
    """Whatever lies in the hold's folder, its queues can be listed."""
    foreign = os.fsdecode(b"caf\xe9")
    assert file_name_of(lane_of_file(foreign)) == "caf%E9"
