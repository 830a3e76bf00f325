"""Reading NDJSON files as pulls: blocks of lines, plain or gzipped, from any storage."""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import fsspec

from runtime.clock import now_ms
from runtime.storage import is_local
from schemas.pull import Pull

BLOCK_BYTES = 1_000_000
RANGE_BYTES = 64_000_000


class FileRange(NamedTuple):
    """The lines of a file that begin in [start, end); a gzipped file is one range, `end` is -1."""

    path: str
    start: int
    end: int


class DamagedInput(Exception):
    """A file that ends in the middle, or is not what its name says; what came before was read."""


class NoSuchInput(Exception):
    """A pattern that matches no file, or a file of a kind that is not read."""


def expand_patterns(patterns: Sequence[str]) -> list[FileRange]:
    """The ranges of all files that the patterns match.

    Raises:
        NoSuchInput: a pattern matches nothing.
    """
    return list(dict.fromkeys(part for pattern in patterns for part in _expand(pattern)))


def read_range(part: FileRange) -> Iterator[Pull]:
    """Yield the lines of a range, a block at a time; blank lines are skipped.

    Raises:
        DamagedInput: the rest of the file cannot be read.
    """
    try:
        yield from _read(part)
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedInput(f"{part.path}: {error or type(error).__name__}") from error


def _read(part: FileRange) -> Iterator[Pull]:
    with fsspec.open(part.path, "rb") as raw:
        if part.end < 0:
            with gzip.open(raw) as unpacked:
                yield from _pulls(unpacked, 0, None)
            return
        if part.start:
            raw.seek(part.start - 1)
            raw.readline()  # begins before this range
        yield from _pulls(raw, raw.tell(), part.end)


def _expand(pattern: str) -> Iterator[FileRange]:
    filesystem, root = fsspec.core.url_to_fs(pattern)
    found = sorted(path for path in filesystem.glob(root) if filesystem.isfile(path))
    if not found:
        raise NoSuchInput(f"--input {pattern} matches no file")
    for path in found:
        uri = path if is_local(pattern) else filesystem.unstrip_protocol(path)
        if path.endswith(".avro"):
            raise NoSuchInput(
                f"--input {uri}: lines of JSON (.gz too) are read, Avro files are not"
            )
        if path.endswith(".gz"):
            yield FileRange(uri, 0, -1)
            continue
        size = int(filesystem.size(path))
        for start in range(0, size, RANGE_BYTES):
            yield FileRange(uri, start, min(size, start + RANGE_BYTES))


def _pulls(file: Any, position: int, end: int | None) -> Iterator[Pull]:
    while end is None or position < end:
        block = _block(file, BLOCK_BYTES if end is None else min(BLOCK_BYTES, end - position))
        if not block:
            return
        position += len(block)
        lines = (line.rstrip(b"\r") for line in block.split(b"\n"))
        messages = [line for line in lines if line.strip()]
        now = now_ms()
        if messages:
            yield Pull(now, now, messages)


def _block(file: Any, size: int) -> bytes:
    """The next `size` bytes, and the rest of the line that they end in."""
    block: bytes = file.read(size)
    return block if block.endswith(b"\n") else block + file.readline()
