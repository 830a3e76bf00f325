"""Input files that unpack to more than they are: memory and time follow what is there."""

import functools
import gzip
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.archive import (
    MAX_EVENTS_BYTES,
    DamagedArchive,
    NotArchived,
    check_archive,
    read_archive,
)
from runtime.avro_blocks import MAX_BLOCK_BYTES, MAX_NESTED_BYTES
from runtime.dead_letters import DamagedLetters, read_letters
from runtime.files import MAX_LINE_BYTES, DamagedInput, FileRange, expand_patterns, read_range
from tests.security.avro import avro_file, number, record, text
from tests.security.measuring import with_peak

MOST_PEAK_BYTES = 8 * MAX_BLOCK_BYTES
"""The decompressor of xz takes six times what it gives; the others twice."""
ONE_TEXT = record(("id", "string"))
CODECS = ["deflate", "bzip2", "xz", "zstandard", "lz4", "snappy"]


def read_all(content: bytes) -> list[bytes]:
    return list(read_archive(io.BytesIO(content), "a.avro"))


def read_letters_in(folder: Path, content: bytes) -> None:
    path = folder / "letters.avro"
    path.write_bytes(content)
    list(read_letters(str(path)))


def is_refused(read: Callable[[], object]) -> str:
    with pytest.raises((DamagedArchive, NotArchived, DamagedLetters)) as refused:
        read()
    return str(refused.value)


@pytest.mark.parametrize("codec", CODECS)
def test_a_block_that_unpacks_to_more_than_a_block_may_have_is_damage(
    codec: str, tmp_path: Path
) -> None:
    unpacked = text(b"a" * (MAX_BLOCK_BYTES + 1))
    bomb = avro_file(ONE_TEXT, [(1, unpacked)], codec)
    del unpacked
    for read in (read_all, functools.partial(read_letters_in, tmp_path)):
        said, peak = with_peak(functools.partial(is_refused, functools.partial(read, bomb)))
        assert f"unpacks to more than {MAX_BLOCK_BYTES} bytes" in said
        assert peak < MOST_PEAK_BYTES


def test_what_a_block_may_have_is_read(tmp_path: Path) -> None:
    longest = "a" * (MAX_BLOCK_BYTES - 5)
    whole = avro_file(ONE_TEXT, [(1, text(longest.encode()))], "deflate")
    (event,) = read_all(whole)
    assert longest.encode() in event
    assert "cannot be read to its end" in is_refused(lambda: read_letters_in(tmp_path, whole))


HOLDS_ITSELF = record(("id", "string"), ("next", ["null", "dataexport.S3.inner.a.B"]))
TAKES_NO_BYTE = {
    "null": "null",
    "nulls": {"type": "array", "items": "null"},
    "nothings": {"type": "array", "items": record(name="nothing")},
    "fixed": {"type": "map", "values": {"type": "fixed", "name": "none", "size": 0}},
}


def test_a_record_that_holds_itself_is_refused_before_its_depth_is_the_files_to_choose(
    tmp_path: Path,
) -> None:
    """fastavro reads it by recursion in C, which a million levels end with a crash of the process."""
    deep = avro_file(HOLDS_ITSELF, [(1, b"\x02a\x02" * 1_000_000)])
    with pytest.raises(NotArchived, match="holds itself"):
        check_archive(io.BytesIO(deep), "a.avro")
    assert "holds itself" in is_refused(lambda: read_all(deep))
    assert "holds itself" in is_refused(lambda: read_letters_in(tmp_path, deep))


@pytest.mark.parametrize("kind", sorted(TAKES_NO_BYTE))
def test_a_value_of_no_bytes_is_refused_for_there_may_be_any_number_of_it(kind: str) -> None:
    endless = avro_file(
        record(("id", "string"), ("x", TAKES_NO_BYTE[kind])),
        [(1, text(b"e") + number(2**60) + number(0))],
    )
    said = is_refused(lambda: read_all(endless))
    assert "takes no byte" in said or "has no fields" in said


@pytest.mark.parametrize("name", [{}, [], None, 7])
def test_a_field_whose_name_is_no_text_is_refused(name: Any) -> None:
    file = avro_file(record(("id", "string"), ("odd", "string")), [(1, text(b"e") + text(b"x"))])
    odd = json.dumps(name).encode().ljust(5)
    assert is_refused(lambda: read_all(file.replace(b'"odd"', odd)))


@pytest.mark.parametrize("count", [3, 2**40, 2**62])
def test_a_block_has_no_more_records_than_bytes(count: int) -> None:
    endless = avro_file(ONE_TEXT, [(count, text(b"e"))])
    assert f"says it has {count} records" in is_refused(lambda: read_all(endless))


def event_of(schema: Any, content: bytes) -> bytes:
    (event,) = read_all(avro_file(schema, [(1, content)]))
    return event


def test_records_that_are_short_in_avro_and_long_as_json_are_not_all_kept() -> None:
    wide = record(*((f"{'long_name_of_a_field_' * 20}{n}", "boolean") for n in range(200)))
    content = b"\x01" * 200
    count = 4_000
    bomb = avro_file(wide, [(count, content * count)], "deflate")
    assert count * len(event_of(wide, content)) > 2 * MAX_EVENTS_BYTES
    said, peak = with_peak(lambda: is_refused(lambda: read_all(bomb)))
    assert "bytes of JSON" in said
    assert peak < 2 * MAX_EVENTS_BYTES


FLAG = record(("x", "boolean"), name="flag")
FLAGS = {"type": "array", "items": FLAG}
NESTED = {
    "list of records": (FLAGS, b"\x01"),
    "list of lists": ({"type": "array", "items": {"type": "array", "items": "long"}}, b"\x00"),
    "list of lists of records": ({"type": "array", "items": ["null", FLAGS]}, b"\x02\x00"),
    "map": ({"type": "map", "values": "boolean"}, b"\x02a\x01"),
    "record with a list of records": (record(("y", FLAGS), name="flags"), b"\x01"),
}


@pytest.mark.parametrize("kind", sorted(NESTED))
def test_many_small_values_in_a_list_do_not_take_more_than_half_a_gigabyte(kind: str) -> None:
    """Two hundred bytes of memory each; a file of 1,300 bytes can have a million of them."""
    nested, unit = NESTED[kind]
    schema = record(("id", "string"), ("x", nested))
    for size, is_read in ((MAX_NESTED_BYTES // 20, True), (MAX_BLOCK_BYTES // 2, False)):
        count = size // len(unit)
        content = text(b"e") + number(count) + unit * count + number(0)
        bomb = avro_file(schema, [(1, content)], "deflate")
        if is_read:
            (_event,), peak = with_peak(functools.partial(read_all, bomb))
            assert peak * 20 < 500_000_000
        else:
            said, peak = with_peak(functools.partial(is_refused, functools.partial(read_all, bomb)))
            assert "with lists or maps in it" in said
            assert peak < MOST_PEAK_BYTES


def test_a_schema_that_refers_to_itself_in_a_ladder_costs_what_its_bytes_cost() -> None:
    """Of n records, each with two of the one before, one value is 2^n values long."""
    ladder: Any = record(("x", "boolean"), name="r0")
    for step in range(1, 40):
        rung = record(("a", ladder), ("b", f"r{step - 1}"), name=f"r{step}")
        ladder = rung
    bomb = avro_file(record(("id", "string"), ("x", ladder)), [(1, text(b"e") + b"\x01" * 5_000)])
    before = time.process_time()
    assert is_refused(lambda: read_all(bomb))
    assert time.process_time() - before < 10


@pytest.mark.parametrize("name", ["events.ndjson.gz", "events.ndjson"])
def test_a_line_that_never_ends_is_damage_and_what_came_before_is_read(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    with gzip.open(path, "wb", 1) if name.endswith(".gz") else path.open("wb") as file:
        file.write(b'{"event_type":"a"}\n' * 100_000)
        for _ in range(3 * MAX_LINE_BYTES // 1_000_000):
            file.write(b"0" * 1_000_000)
        file.write(b"\n{}\n")
    (first, *others) = expand_patterns([str(path)])
    lines: list[bytes] = []
    said, peak = with_peak(lambda: read_until_damage(first, lines))
    assert said.endswith(f"a line of more than {MAX_LINE_BYTES} bytes")
    assert len(lines) == 100_000
    assert peak < 4 * MAX_LINE_BYTES
    after: list[bytes] = []
    _, peak = with_peak(lambda: [read_until_damage(other, after) for other in others])
    assert after == ([] if name.endswith(".gz") else [b"{}"])
    assert peak < 10_000_000


def read_until_damage(part: FileRange, lines: list[bytes]) -> str:
    """Read a range as far as it goes; says what is wrong with the rest."""
    try:
        for pull in read_range(part):
            lines += pull.messages
    except DamagedInput as damage:
        return str(damage)
    return ""


def test_a_gzipped_avro_bomb_is_bounded_twice(tmp_path: Path) -> None:
    path = tmp_path / "bomb.avro.gz"
    content = avro_file(ONE_TEXT, [(1, text(b"a" * (MAX_BLOCK_BYTES + 1)))], "deflate")
    path.write_bytes(gzip.compress(content))
    (part,) = expand_patterns([str(path)])
    said, peak = with_peak(lambda: read_until_damage(part, []))
    assert "unpacks to more than" in said
    assert peak < MOST_PEAK_BYTES
