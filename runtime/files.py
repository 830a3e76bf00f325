"""Reading files as pulls, from any storage: lines of JSON, plain or gzipped, and archived Avro."""

import contextlib
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import fsspec

from runtime.archive import DamagedArchive, NotArchived, check_archive, read_archive
from runtime.clock import now_ms
from runtime.object_stores import client_of
from runtime.storage import LIBRARY_ERRORS, is_local, is_missing_folder
from schemas.pull import Pull

BLOCK_BYTES = 1_000_000
RANGE_BYTES = 64_000_000

MAX_LINE_BYTES = 64_000_000
"""A longer line is damage: of a small gzipped file one can be as long as memory, and longer."""

CHECKED_FILES = 50
"""Of how many archived files of a pattern in an object store the beginning is looked at before anything
is sent, at least: each costs a tenth of a second. On a disk all are."""
CHECKED_BYTES = 64_000
"""What is fetched of such a file."""

FETCHED_BYTES = 4_000_000
"""What is fetched at once of a file that is read; s3fs would fetch 50 MB."""


class FileRange(NamedTuple):
    """The lines of a file that begin in [start, end); `end` is -1 where a file is read as a whole.

    So are gzipped files, and Avro.
    """

    path: str
    start: int
    end: int
    size: int
    """Its bytes in the file, packed ones as they are."""


class DamagedInput(Exception):
    """A file that ends in the middle, or is not what its name says; what came before was read."""


class _EndlessLine(ValueError):
    """A line that is longer than any message."""


class NoSuchInput(Exception):
    """A pattern that matches no file, or a file that is seen to be none that can be read."""


def expand_patterns(patterns: Sequence[str]) -> list[FileRange]:
    """The ranges of all files that the patterns match.

    Raises:
        NoSuchInput: a pattern matches nothing, or an Avro file that holds no events.
    """
    return list(dict.fromkeys(part for pattern in patterns for part in _expand(pattern)))


def read_range(part: FileRange, tell: Callable[[int], None] = lambda _: None) -> Iterator[Pull]:
    """Yield the messages of a range, some 1 MB at a time; blank lines are skipped.

    Args:
        part: what is read.
        tell: is given, after each pull, how many of the range's bytes have been read.

    Raises:
        DamagedInput: the rest of the file cannot be read.
    """
    try:
        yield from _read(part, tell)
    except _UNREADABLE as error:
        raise DamagedInput(f"{part.path}: {error or type(error).__name__}") from error


_DAMAGE: tuple[type[BaseException], ...] = (*LIBRARY_ERRORS, EOFError, zlib.error, DamagedArchive)
_UNREADABLE: tuple[type[BaseException], ...] = (*_DAMAGE, NotArchived, _EndlessLine)


def _read(part: FileRange, tell: Callable[[int], None]) -> Iterator[Pull]:
    with _opened(part.path, FETCHED_BYTES) as (file, raw):
        for pull in _pulls_of(part, file):
            yield pull
            tell(min(raw.tell() - part.start, part.size))
    tell(part.size)


def _pulls_of(part: FileRange, file: Any) -> Iterator[Pull]:
    if _is_avro(part.path):
        yield from _gather(read_archive(file, part.path))
    elif part.end < 0:
        yield from _pulls(file, 0, None)
    else:
        lines = io.BufferedReader(file, BLOCK_BYTES)  # fsspec's files read lines of any length
        try:
            if part.start:
                lines.seek(part.start - 1)
                _pass_line(lines, part.end)  # begins before this range
            yield from _pulls(lines, lines.tell(), part.end)
        finally:
            lines.detach()  # who opened the file closes it


# Which files there are


def _expand(pattern: str) -> Iterator[FileRange]:
    found = _matches(pattern)
    if not found:
        folder = f"; it is a folder: give {pattern.rstrip('/')}/*" if _is_folder(pattern) else ""
        raise NoSuchInput(f"--input {pattern} matches no file{folder}")
    archived = [uri for uri in found if _is_avro(uri)]
    step = 1 if is_local(pattern) else max(1, len(archived) // CHECKED_FILES)
    for uri in archived[::step]:
        _check(uri)
    for uri, size in found.items():
        if _is_avro(uri) or uri.endswith(".gz"):
            yield FileRange(uri, 0, -1, size)
            continue
        for start in range(0, size, RANGE_BYTES):
            end = min(size, start + RANGE_BYTES)
            yield FileRange(uri, start, end, end - start)


def _matches(pattern: str) -> dict[str, int]:
    """The size of each file that the pattern matches."""
    try:
        filesystem = _filesystem_of(pattern)
        entries = filesystem.glob(pattern, detail=True)
    except (OSError, ImportError, ValueError) as error:
        raise NoSuchInput(f"--input {pattern} cannot be listed: {error}") from error
    return {
        path if is_local(pattern) else filesystem.unstrip_protocol(path): int(entry["size"])
        for path, entry in sorted(entries.items())
        if _is_file(filesystem, path, entry["type"])
    }


def _is_file(filesystem: Any, path: str, kind: str) -> bool:
    """A listing tells, but for a link of the local disk; asking costs object stores a request."""
    return kind == "file" or (kind == "other" and bool(filesystem.isfile(path)))


def _check(uri: str) -> None:
    """Refuse an Avro file that can be seen to hold no events; what is damaged shows when it is read."""
    try:
        with _opened(uri, CHECKED_BYTES) as (file, _):
            check_archive(file, uri)
    except NotArchived as error:
        raise NoSuchInput(f"--input {uri}: {error}") from error
    except _DAMAGE:
        return


@contextlib.contextmanager
def _opened(uri: str, ahead: int) -> Iterator[tuple[Any, Any]]:
    """The content of a file, and the file itself; so many bytes are fetched ahead of what is read.

    Without a kind of cache gcsfs sends a request for each of fastavro's reads, of a byte or of 3 KB.
    """
    filesystem = _filesystem_of(uri)
    with filesystem.open(uri, "rb", block_size=ahead, cache_type="readahead") as raw:
        if uri.endswith(".gz"):
            with gzip.open(raw) as unpacked:
                yield unpacked, raw
        else:
            yield raw, raw


def _filesystem_of(uri: str) -> Any:
    return fsspec.filesystem("file") if is_local(uri) else client_of(uri)


def _is_folder(pattern: str) -> bool:
    return is_local(pattern) and not is_missing_folder(pattern)


def _is_avro(path: str) -> bool:
    return path.removesuffix(".gz").endswith(".avro")


# What is in them


def _gather(events: Iterator[bytes]) -> Iterator[Pull]:
    gathered: list[bytes] = []
    size = 0
    try:
        for event in events:
            gathered.append(event)
            size += len(event) + 1
            if size >= BLOCK_BYTES:
                yield _pull(gathered)
                gathered, size = [], 0
    except _DAMAGE:
        if gathered:
            yield _pull(gathered)
        raise
    if gathered:
        yield _pull(gathered)


def _pulls(file: Any, position: int, end: int | None) -> Iterator[Pull]:
    """The lines that begin before `end`, in blocks with the rest of the line that each ends in."""
    while end is None or position < end:
        block = file.read(BLOCK_BYTES if end is None else min(BLOCK_BYTES, end - position))
        if not block:
            return
        rest = b"" if block.endswith(b"\n") else file.readline(MAX_LINE_BYTES)
        is_endless = len(rest) >= MAX_LINE_BYTES
        position += len(block) + len(rest)
        lines = block.split(b"\n")
        last = lines.pop()
        if not is_endless:
            lines.append(last + rest.removesuffix(b"\n"))
        if b"\r" in block or b"\r" in rest:
            lines = [line.rstrip(b"\r") for line in lines]
        messages = list(filter(bytes.strip, lines))
        if messages:
            yield _pull(messages)
        if is_endless:
            raise _EndlessLine(f"a line of more than {MAX_LINE_BYTES} bytes")


def _pull(messages: list[bytes]) -> Pull:
    """Messages of a file are as good as published when they are read."""
    now = now_ms()
    return Pull(now, now, messages)


def _pass_line(file: IO[bytes], end: int) -> None:
    """Go to the end of the line, or past `end`, however long it is."""
    while file.tell() < end:
        if file.readline(BLOCK_BYTES).endswith(b"\n"):
            return
