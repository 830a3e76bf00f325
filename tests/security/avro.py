"""Avro files that no honest program writes, byte for byte."""

import bz2
import io
import json
import lzma
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import fastavro

MARKER = bytes(16)
_HEADER = {
    "type": "record",
    "name": "header",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
    ],
}


def avro_file(schema: Any, blocks: Sequence[tuple[int, bytes]], codec: str = "null") -> bytes:
    """A file of blocks, each with the number of records that it claims and what it holds unpacked."""
    meta = {"avro.schema": json.dumps(schema).encode(), "avro.codec": codec.encode()}
    file = io.BytesIO()
    header = {"magic": b"Obj\x01", "meta": meta, "sync": MARKER}
    fastavro.schemaless_writer(file, fastavro.parse_schema(_HEADER), header)
    for count, content in blocks:
        file.write(number(count))
        file.write(text(PACKERS[codec](content)))
        file.write(MARKER)
    return file.getvalue()


def record(*fields: tuple[str, Any], name: str = "dataexport.S3.inner.a.B") -> dict[str, Any]:
    described = [{"name": name, "type": kind} for name, kind in fields]
    return {"type": "record", "name": name, "fields": described}


def number(value: int) -> bytes:
    return _written("long", value)


def text(value: bytes) -> bytes:
    return _written("bytes", value)


def _written(kind: str, value: Any) -> bytes:
    file = io.BytesIO()
    fastavro.schemaless_writer(file, kind, value)
    return file.getvalue()


def _deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def _zstandard(content: bytes) -> bytes:
    return _blocks_of("zstandard", content)


def _lz4(content: bytes) -> bytes:
    return _blocks_of("lz4", content)


def _blocks_of(codec: str, content: bytes) -> bytes:
    """What fastavro makes of one block."""
    file = io.BytesIO()
    fastavro.writer(file, "bytes", [content], codec, sync_marker=MARKER)
    file.seek(0)
    reader = fastavro.block_reader(file)
    start = file.tell()
    del reader
    rest = io.BytesIO(file.getvalue()[start:])
    fastavro.schemaless_reader(rest, "long", None)
    packed = fastavro.schemaless_reader(rest, "bytes", None)
    assert isinstance(packed, bytes)
    return packed


def _snappy(content: bytes) -> bytes:
    """The length that it unpacks to, and a literal of nothing: what follows is missing."""
    length, claimed = len(content), b""
    while length > 0x7F:
        claimed += bytes([length & 0x7F | 0x80])
        length >>= 7
    return claimed + bytes([length]) + b"\x00a" + b"\0\0\0\0"


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "null": lambda content: content,
    "deflate": _deflate,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstandard": _zstandard,
    "lz4": _lz4,
    "snappy": _snappy,
}
