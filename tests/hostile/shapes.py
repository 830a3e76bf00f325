"""Messages that are hostile by their size: each is about as long as it is asked to be."""

import json
from collections.abc import Callable, Mapping

HEAD = (
    b'{"event_type":"users.behaviors.CustomEvent","id":"e","time":1700000000,'
    b'"user":{"user_id":"u","external_user_id":"x"},"properties":{"app_id":"a","p":'
)
TAIL = b"}}"


def _property(value: bytes) -> bytes:
    return HEAD + value + TAIL


def _members(members: list[bytes]) -> bytes:
    return _property(b"1," + b",".join(members))


def _text(unit: bytes, length: int) -> bytes:
    return _property(b'"' + unit * (length // len(unit)) + b'"')


def _nested(opening: bytes, inside: bytes, closing: bytes, depth: int) -> bytes:
    return _property(opening * depth + inside + closing * depth)


SHAPES: Mapping[str, Callable[[int], bytes]] = {
    "list of numbers": lambda n: _property(b"[" + b"1," * (n // 2) + b"1]"),
    "list of lists": lambda n: _property(b"[" + b"[]," * (n // 3) + b"[]]"),
    "list of fractions": lambda n: _property(b"[" + b"0.5," * (n // 4) + b"1]"),
    "list of texts of JSON": lambda n: _property(
        b"[" + b",".join([b'"{\\"p\\":1}"'] * (n // 13)) + b"]"
    ),
    "long whole number": lambda n: _property(b"1" * n),
    "long fraction": lambda n: _property(b"1." + b"1" * n),
    "long exponent": lambda n: _property(b"1e" + b"9" * n),
    "long time": lambda n: HEAD.replace(b"1700000000", b"1" * n) + b"1" + TAIL,
    "long fraction as time": lambda n: HEAD.replace(b"1700000000", b"1." + b"1" * n) + b"1" + TAIL,
    "long price": lambda n: _members([b'"price":"' + b"1" * n + b'"']),
    "long id": lambda n: HEAD.replace(b'"e"', b'"' + b"e" * n + b'"') + b"1" + TAIL,
    "long key": lambda n: _members([b'"' + b"k" * n + b'":1']),
    "many keys": lambda n: _members([b'"k%d":1' % at for at in range(n // 12)]),
    "one key many times": lambda n: _members([b'"k":1'] * (n // 6)),
    "many keys below": lambda n: _property(
        b"{" + b",".join(b'"k%d":1' % at for at in range(n // 12)) + b"}"
    ),
    "escaped zeros": lambda n: _text(b"\\u0000", n),
    "lone surrogates": lambda n: _text(b"\\ud800", n),
    "backslashes": lambda n: _text(b"\\\\", n),
    "quotes": lambda n: _text(b'\\"', n),
    "letters of three bytes": lambda n: _text("\u2028".encode(), n),
    "text of JSON": lambda n: _property(json.dumps("[" + "[]," * (n // 3) + "[]]").encode()),
    "text of half JSON": lambda n: _property(json.dumps("[" + "[]," * (n // 3)).encode()),
    "text of JSON in text of JSON": lambda n: _property(
        json.dumps(json.dumps(json.dumps({"a": "x" * (n // 2)}))).encode()
    ),
    "line breaks": lambda n: _property(b"[" + b"\n" * n + b"1]"),
    "nested objects": lambda n: _nested(b'{"a":', b'"' + b"x" * n + b'"', b"}", 100),
    "nested lists": lambda n: _nested(b"[", b'"' + b"x" * n + b'"', b"]", 100),
    "a field at the bottom": lambda n: _nested(
        b'{"a":', b'{"price":"' + b"x" * n + b'"}', b"}", 13
    ),
    "an escape at the bottom": lambda n: _nested(b"[", b'"\\u0041' + b"x" * n + b'"', b"]", 13),
    "unclosed lists": lambda n: HEAD + b"[" * n,
    "unclosed objects": lambda n: HEAD + b'{"a":' * (n // 5),
    "blanks": lambda n: b" " * n + HEAD + b"1" + TAIL + b"\t" * n,
    "bytes of no text": lambda n: b"\xff" * n,
    "zeros": bytes,
}
