"""The blocks of an Avro file that may come from anybody: whatever it claims, reading it is bounded.

fastavro trusts a file: a few bytes of one can ask for gigabytes, for years, or for more of C's stack
than there is. What is read here takes no more memory than its blocks, unpacked, and no more time than
its bytes.
"""

import bz2
import io
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import fastavro
from fastavro.read import BLOCK_READERS, SchemaResolutionError
from fastavro.schema import SchemaParseException

from runtime.optional import optional, optional_error

MAX_BLOCK_BYTES = 16_000_000
"""Of one block, packed or unpacked. Writers end a block after some 16 to 64 KB, or after one record; a
larger number is damage, and memory must not follow it."""

MAX_NESTED_BYTES = 2_000_000
"""The same, unpacked, where lists of lists, of maps or of records, or maps, are in it: each of those takes
some 200 bytes of memory, and may take one of the block."""

DAMAGE: tuple[type[BaseException], ...] = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(MemoryError, RecursionError),
    *(zlib.error, lzma.LZMAError, struct.error, SchemaParseException, SchemaResolutionError),
    *optional_error("cramjam", "DecompressionError"),
    *optional_error("lz4.block", "LZ4BlockError"),
    *optional_error("backports.zstd", "ZstdError"),
    *optional_error("compression.zstd", "ZstdError"),
)
"""What fastavro and its codecs raise for a file that is cut off, or not what it says."""


class UnfitSchema(Exception):
    """A schema by which a few bytes make a record without end, or that is none."""


def open_blocks(file: IO[bytes]) -> Any:
    """The blocks of a file, after its header.

    Raises:
        UnfitSchema: it was written with a schema that `check_schema` refuses.
        DAMAGE: it is damaged.
    """
    # Some reader's schema makes it forgive a default that does not fit its field.
    blocks = fastavro.block_reader(_Bounded(file), reader_schema="null")
    check_schema(blocks.writer_schema)
    return blocks


def records_of(block: Any, schema: Any, reader_schema: Any = None) -> Iterator[Any]:
    """The records of a block, which have to fill it; raises `DAMAGE`.

    Args:
        block: one of `open_blocks`.
        schema: what they were written with.
        reader_schema: what they are to be read as.
    """
    content = block.bytes_
    size = len(content.getbuffer())
    if block.num_records > size:
        raise ValueError(f"a block of {size} bytes that says it has {block.num_records} records")
    if size > MAX_NESTED_BYTES and _is_nested(schema):
        raise ValueError(f"a block of {size} bytes with lists or maps in it, at most 2 MB are read")
    for _ in range(block.num_records):
        yield fastavro.schemaless_reader(content, schema, reader_schema)
    if content.read(1):
        raise ValueError("a block has more in it than its records")


class _Bounded:
    """A file of which no more is read at once than a block may have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_BLOCK_BYTES:
            raise ValueError(f"a block of {size} bytes, at most {MAX_BLOCK_BYTES} are read")
        return self._file.read(size)


# Schemas


def check_schema(schema: Any) -> None:
    """Look at the (parsed) schema that a file was written with.

    Raises:
        UnfitSchema: a type holds itself, so that how deep its values are is for the file to say
            (fastavro reads them by recursion, in C), or takes no byte, so that there may be any
            number of it in none; or a field's name is no text.
    """
    _check(schema, frozenset())


def _check(schema: Any, within: frozenset[str]) -> None:
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, list):
        for branch in schema:
            if branch != "null":  # its number in the union takes a byte
                _check(branch, within)
    elif isinstance(kind, (dict, list)):
        _check(kind, within)
    elif kind in within:
        raise UnfitSchema(f"its type {kind} holds itself")
    elif kind == "null" or (kind == "fixed" and schema["size"] < 1):
        raise UnfitSchema(f"a value of its type {kind} takes no byte")
    elif isinstance(schema, dict):
        _check_inside(schema, within)


def _check_inside(schema: dict[str, Any], within: frozenset[str]) -> None:
    if schema["type"] in ("record", "error"):
        if not schema["fields"]:
            raise UnfitSchema(f"its record {schema['name']} has no fields")
        for field in schema["fields"]:
            if not isinstance(field["name"], str):
                raise UnfitSchema("the name of a field is no text")
            _check(field["type"], within | {schema["name"]})
    for inside in ("items", "values"):
        if inside in schema:
            _check(schema[inside], within)


def _is_nested(schema: Any) -> bool:
    """Whether there are lists of anything but scalars in it, or maps."""
    if isinstance(schema, list):
        return any(map(_is_nested, schema))
    if not isinstance(schema, dict):
        return False
    if isinstance(schema["type"], (dict, list)):
        return _is_nested(schema["type"])
    if schema["type"] == "array":
        branches = schema["items"] if isinstance(schema["items"], list) else [schema["items"]]
        kinds = [one["type"] if isinstance(one, dict) else one for one in branches]
        return not all(isinstance(kind, str) and kind in _SCALARS for kind in kinds)
    if schema["type"] == "map":
        return True
    return any(_is_nested(field["type"]) for field in schema.get("fields", ()))


_SCALARS = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


# Codecs


def _unpacked(unpacker: Any, packed: bytes) -> bytes:
    """What a decompressor of the standard library makes of a block."""
    return _checked(unpacker.decompress(packed, MAX_BLOCK_BYTES + 1))


def _checked(content: bytes) -> bytes:
    if len(content) > MAX_BLOCK_BYTES:
        raise ValueError(f"a block that unpacks to more than {MAX_BLOCK_BYTES} bytes")
    return content


def _read_with(unpack: Callable[[bytes], bytes]) -> Callable[[Any], io.BytesIO]:
    return lambda file: io.BytesIO(unpack(_block_of(file)))


def _block_of(file: Any) -> bytes:
    """A block as it is stored: its length, and so many bytes."""
    packed = fastavro.schemaless_reader(file, "bytes", None)
    return packed if isinstance(packed, bytes) else b""


def _read_if(
    claimed: Callable[[bytes], int], read: Callable[[Any], io.BytesIO]
) -> Callable[[Any], io.BytesIO]:
    """A codec whose blocks say how long they are when unpacked, and which unpacks no more than that."""

    def read_block(file: Any) -> io.BytesIO:
        packed = _block_of(file)
        if claimed(packed) > MAX_BLOCK_BYTES:
            raise ValueError(f"a block that unpacks to more than {MAX_BLOCK_BYTES} bytes")
        again = io.BytesIO()
        fastavro.schemaless_writer(again, "bytes", packed)
        again.seek(0)
        return read(again)

    return read_block


def _claimed_by_snappy(packed: bytes) -> int:
    """The length that it begins with: seven bits a byte, the lowest first."""
    length = 0
    for place, byte in enumerate(packed[:5]):
        length |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            break
    return length


def _claimed_by_lz4(packed: bytes) -> int:
    return int.from_bytes(packed[:4], "little")


_XZ_BYTES = 100_000_000
"""What its dictionary may take, which the strongest of the usual settings makes 64 MB."""

BLOCK_READERS["deflate"] = _read_with(lambda packed: _unpacked(zlib.decompressobj(-15), packed))
BLOCK_READERS["bzip2"] = _read_with(lambda packed: _unpacked(bz2.BZ2Decompressor(), packed))
BLOCK_READERS["xz"] = _read_with(
    lambda packed: _unpacked(lzma.LZMADecompressor(memlimit=_XZ_BYTES), packed)
)
_zstd = optional("compression.zstd") or optional("backports.zstd")
if _zstd is not None:
    _new_zstd = _zstd.ZstdDecompressor
    BLOCK_READERS["zstandard"] = _read_with(lambda packed: _unpacked(_new_zstd(), packed))
BLOCK_READERS["snappy"] = _read_if(_claimed_by_snappy, BLOCK_READERS["snappy"])
BLOCK_READERS["lz4"] = _read_if(_claimed_by_lz4, BLOCK_READERS["lz4"])
