"""What is wrong with a connector's settings, in words."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from runtime.problems import Problem, allowed_values, describe
from schemas.connector import decode_hook
from schemas.secret import SecretRef


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    key: SecretRef


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    key: SecretRef | None = None
    level: Literal["low", "high"] | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=9)] | None = None
    word: Annotated[str, msgspec.Meta(pattern="^[a-z]+$")] = "a"
    inner: Inner | None = None
    parts: dict[Literal["left"], int] = {}


def said_of(raw: dict[Any, Any]) -> str:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(raw, Settings, dec_hook=decode_hook)
    return str(describe(caught.value, "a", raw, Settings)).removeprefix("connector 'a': ")


def test_a_problem_prints_as_one_line_that_begins_with_its_place() -> None:
    assert str(Problem("a", "url", "is missing")) == "connector 'a': url: is missing"
    assert str(Problem("a", "", "is no connector")) == "connector 'a': is no connector"
    assert str(Problem("", "", "is empty")) == "connectors file: is empty"


def test_a_name_with_a_line_break_still_prints_as_one_line() -> None:
    assert str(Problem("a\nb", "", "is no name")) == r"connector 'a\nb': is no name"


def test_allowed_values_are_sorted() -> None:
    assert allowed_values(["us", "eu"]) == "allowed: 'eu', 'us'"


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"level": "mid"}, "level: found 'mid'; allowed: 'high', 'low'"),
        ({"level": 1}, "level: expected `str | null`, got `int`; allowed: 'high', 'low'"),
        ({"count": 10}, "count: found 10; allowed: at least 1 and at most 9"),
        ({"word": "A"}, "word: found 'A'; allowed: what matches ^[a-z]+$"),
        ({"parts": {"left": "x"}}, "parts[...]: expected `int`, got `str`"),
        ({"parts": {"right": 1}}, "parts: invalid enum value 'right'"),
        ({"inner": {}}, "inner.key: is missing"),
        ({"inner": {"key": "env:K", "more": 1}}, "inner.more: is unknown"),
        ({1: 2}, "expected `str`"),
    ],
)
def test_the_field_comes_first_and_what_is_allowed_last(raw: dict[Any, Any], line: str) -> None:
    assert said_of(raw) == line


@pytest.mark.parametrize("raw", [{"key": "hunter2"}, {"inner": {"key": "hunter2"}}])
def test_what_should_be_a_secrets_reference_is_not_repeated(raw: dict[str, Any]) -> None:
    line = said_of(raw)
    assert "hunter2" not in line
    assert line.endswith("found a literal of 7 characters")


def test_a_long_value_is_cut() -> None:
    line = said_of({"word": "A" * 1_000})
    assert "A" * 50 in line
    assert len(line) < 120
