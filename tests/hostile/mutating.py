"""Hostile bytes, made of good ones by chance: the same seed gives the same bytes on any machine."""

import random
import re
from collections.abc import Callable, Iterator, Sequence

TOKENS: Sequence[bytes] = [
    *(b"null", b"true", b"[]", b"{}", b'""', b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\"),
    *(b"0", b"-0", b"-1", b"1e400", b"-1e400", b"1E-400", b"1.5", b"01", b"+1", b".5", b"0x1"),
    *(b"253402300799", b"253402300800", b"9223372036854775808", b"1" * 40, b"9" * 5_000),
    *(b"-62135596801", b"1e18", b"2147483648", b"340282350000000000000000000000000000001"),
    *(b"NaN", b"Infinity", b"-Infinity", b"1." + b"0" * 300 + b"1"),
    *(b"\\ud800", b"\\udfff", b"\\ud83d\\ude00", b"\\uD800\\u0041", b"\\u0000", b"\\u2028"),
    *(b"\xef\xbb\xbf", b"\x00", b"\n", b"\r\n", b"\x7f", b"\x1b[31m", b"\xff", b"\xc0\x80"),
    *("\u2028".encode(), "\u202e".encode(), "\ufeff".encode(), "\U0010ffff".encode()),
    *(b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"[" * 40, b'{"a":' * 40, b"]" * 40, b"}" * 40),
    *(b"[" * 1_200, b'{"a":' * 1_200, b'"\\"[\\"' * 20, b"x" * 300, b"k" * 1_100, b"{}" * 200),
    *(b'"id"', b'"event_type"', b'"time"', b'"user"', b'"properties"', b'"app_group_id":"x",'),
    *(b'"external_user_id":" "', b'"id":1,', b'"id":"twice",', b'"time":1,', b'"type":"track",'),
    *(b'"email_address":"a@b"', b'"price":"x"', b'"time":-1,', b'"time":1e18,', b'"a":1,' * 200),
    *(b"../", b"/etc/passwd", b"%2e%2e%2f", b"env:HOME", b"file:/etc/passwd", b"!!python/name:os"),
    *(b"&a [*a]", b"<<: *a", b"- ", b"? ", b"|\n", b"%YAML 9", b"\t", b": ", b"#", b"---\n"),
    *(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\xff" * 9 + b"\x01", b"\x02" * 30),
    *(b"Wed, 99 Foo 99999 99:99:99 +9999", b"9" * 400, b"+0000", b"GMT", b"Mon"),
]
_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|\{\}|\[\]')

Change = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def mutations(seeds: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Without end: good bytes with one to a few changes, every so often others on top of those."""
    chance = random.Random(seed)
    pick = chance.random
    latest = seeds[0]
    while True:
        content = latest if pick() < 0.2 else seeds[int(pick() * len(seeds))]
        for _ in range(1 + int(pick() ** 3 * 6)):
            content = CHANGES[int(pick() * len(CHANGES))](chance, content, seeds)
        latest = content if len(content) < 20_000 else seeds[0]
        yield content


def _places(chance: random.Random, content: bytes) -> tuple[int, int]:
    start = int(chance.random() * (len(content) + 1))
    return start, min(len(content), start + int(chance.random() ** 3 * 40))


def _flip(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    at = int(chance.random() * len(content))
    return content[:at] + bytes([int(chance.random() * 256)]) + content[at + 1 :]


def _cut(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _places(chance, content)
    return content[:start] + content[end:]


def _cut_off(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    return content[: int(chance.random() * (len(content) + 1))]


def _repeat(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _places(chance, content)
    return content[:end] + content[start:end] * (1 + int(chance.random() ** 4 * 30)) + content[end:]


def _insert(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    at, _end = _places(chance, content)
    return content[:at] + _token(chance) + content[at:]


def _overwrite(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _places(chance, content)
    return content[:start] + _token(chance) + content[end:]


def _replace_value(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Another JSON value, or what is none, in place of one that begins after some place."""
    found = _VALUE.search(content, int(chance.random() * len(content)))
    if found is None:
        return content
    return content[: found.start()] + _token(chance) + content[found.end() :]


def _replace_inside(chance: random.Random, content: bytes, _: Sequence[bytes]) -> bytes:
    """Something within a JSON text."""
    found = _VALUE.search(content, int(chance.random() * len(content)))
    if found is None or content[found.start()] != ord('"'):
        return content
    return content[: found.start() + 1] + _token(chance) + content[found.end() - 1 :]


def _splice(chance: random.Random, content: bytes, seeds: Sequence[bytes]) -> bytes:
    other = seeds[int(chance.random() * len(seeds))]
    return (
        content[: int(chance.random() * (len(content) + 1))]
        + other[int(chance.random() * (len(other) + 1)) :]
    )


def _token(chance: random.Random) -> bytes:
    return TOKENS[int(chance.random() * len(TOKENS))]


CHANGES: Sequence[Change] = [
    *(_flip, _cut, _cut_off, _repeat, _insert, _overwrite, _splice),
    *(_replace_value, _replace_value, _replace_value, _replace_inside, _replace_inside),
]
