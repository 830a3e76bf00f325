"""A connectors file that was written to do harm costs a line of error and no more."""

import json
import time
from collections.abc import Callable

import pytest

from runtime.address import PUBLIC_ONLY
from runtime.connectors import MAX_FILE_BYTES, ConfigError, parse_config
from tests.security.measuring import with_peak

HEAD = b"connectors:\n- name: good\n  kind: postback\n  url: https://good.example.com/\n"
BAD = HEAD + b"- name: bad\n  kind: postback\n  url: https://bad.example.com/\n  "
LONG = {
    "hexadecimal": b"0x" + b"f" * 6_000,
    "octal": b"0" + b"7" * 6_000,
    "binary": b"0b" + b"1" * 20_000,
    "decimal": b"1" * 6_000,
    "in base 60": b"1" + b":1" * 20_000,
    "in base 60, with a point": b"1" + b":1" * 20_000 + b".5",
    "with underscores": b"1" + b"_1" * 6_000,
}


def said_of(content: bytes) -> str:
    """The one line about a file that cannot be used."""
    with pytest.raises(ConfigError) as refused:
        parse_config(content, PUBLIC_ONLY)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("field", [b"max_events", b"contact", b"kind2", b"timeout", b"events"])
@pytest.mark.parametrize("spelling", sorted(LONG))
def test_a_number_of_any_length_spoils_its_own_connector_at_most(
    spelling: str, field: bytes
) -> None:
    """Python refuses to print one of over 4,300 digits, and to make one takes the square of them."""
    config, problems = parse_config(BAD + field + b": " + LONG[spelling], PUBLIC_ONLY)
    assert "good" in config.connectors
    assert all(len(str(problem)) < 1_000 for problem in problems)


@pytest.mark.parametrize("name", ["name", "kind"])
def test_what_is_repeated_of_a_file_fits_a_line(name: str) -> None:
    for value in (b"0x" + b"f" * 6_000, b"z" * 100_000):
        content = HEAD + b"- {name: bad, kind: postback, url: 'https://b.example.com/'}\n"
        content = content.replace(f"{name}: ".encode() + b"bad", f"{name}: ".encode() + value)
        content = content.replace(b"kind: postback, url", b"kind: " + value + b", url")
        _, problems = parse_config(content, PUBLIC_ONLY)
        assert problems
        assert all(len(str(problem)) < 400 for problem in problems)


TAGGED = [
    b"!!python/object/apply:os.system ['true']",
    b"!!python/name:os.system",
    b"!!binary aGk=",
    b"!!set {a, b}",
    b"!!str [a]",
    b"!hunter2",
    b"!<hunter2> x",
]


@pytest.mark.parametrize("value", TAGGED)
def test_a_tag_is_refused_and_not_repeated_for_it_may_be_a_secret(value: bytes) -> None:
    said = said_of(BAD + b"token: " + value)
    assert "tags (!name) are not allowed" in said
    assert "(line 8)" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("value", [b"*hunter2", b"&hunter2 [*hunter2]", b"%hunter2", b"!hunter2!x"])
def test_no_yaml_error_repeats_the_value(value: bytes) -> None:
    assert "hunter2" not in said_of(BAD + b"token: " + value)


@pytest.mark.parametrize("merge", [b"<<: {paused: true}", b"<<: [{paused: true}]", b"contact: <<"])
def test_merge_keys_are_refused(merge: bytes) -> None:
    assert "merge keys (<<) are not allowed" in said_of(BAD + merge)


def test_a_text_may_look_like_a_tag_or_a_merge_key_where_it_is_quoted() -> None:
    _, problems = parse_config(BAD + b"contact: '!a <<'\n  events: ['<<']", PUBLIC_ONLY)
    assert problems == []


LAUGHS = b"a: &a [x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c]\n" % (c, c, c - 1, c - 1) for c in range(ord("b"), ord("z"))
)


def test_a_bomb_of_aliases_is_refused_before_it_unfolds() -> None:
    said, peak = with_peak(lambda: said_of(LAUGHS))
    assert "aliases (*name) are not allowed" in said
    assert peak < 1_000_000


DEEP: dict[str, Callable[[int], bytes]] = {
    "flow lists": lambda n: b"[" * n,
    "flow mappings": lambda n: b"{a: " * n,
    "block lists": lambda n: b"- " * n,
    "keys": lambda n: b"? " * n,
    "JSON": lambda n: b'{"connectors":' + b"[" * n,
    "JSON objects": lambda n: b'{"a":' * n,
}


@pytest.mark.parametrize("depth", [500, 5_000, 500_000])
@pytest.mark.parametrize("kind", sorted(DEEP))
def test_nesting_of_any_depth_is_a_line_of_error(kind: str, depth: int) -> None:
    said_of(DEEP[kind](depth))


def test_a_file_of_any_size_is_refused_unread() -> None:
    content = HEAD + b"#" * MAX_FILE_BYTES
    before = time.process_time()
    said, peak = with_peak(lambda: said_of(content))
    assert f"at most {MAX_FILE_BYTES} are read" in said
    assert peak < 100_000
    assert time.process_time() - before < 5


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "\u202ea", "a\u2028b", "z" * 5_000])
def test_a_problem_is_one_line_that_no_terminal_obeys_whatever_a_setting_is_called(
    name: str,
) -> None:
    good = {"name": "a", "kind": "postback", "url": "https://a.example.com/"}
    for settings in ({**good, name: 1}, {**good, "redact": {name: 1}}, {**good, "kind": name}):
        content = json.dumps({"connectors": [settings]}).encode()
        (problem,) = parse_config(content, PUBLIC_ONLY)[1]
        assert str(problem).isprintable()
        assert len(str(problem)) < 1_000
    assert said_of(json.dumps({"connectors": [], name: 1}).encode()).isprintable()
