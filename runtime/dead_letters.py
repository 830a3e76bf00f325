"""Dead letters in files: Avro that any Avro tool reads, below a folder for each day."""

import datetime
import hashlib
import io
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import fastavro
import msgspec

from runtime.avro_blocks import DAMAGE, UnfitSchema, open_blocks, records_of
from runtime.connectors import ConnectorEntry
from runtime.storage import join, list_names, read_file, write_whole
from schemas.dead_letter import AVRO_SCHEMA, DeadLetter, to_avro

_SCHEMA = fastavro.parse_schema(AVRO_SCHEMA)
LETTER_DAMAGE: tuple[type[BaseException], ...] = (*DAMAGE, UnfitSchema)
"""What is raised for a file that is cut off, or not what its name says."""


class DamagedLetters(Exception):
    """A file of dead letters that cannot be read to its end; what came before was read."""


class Letter(NamedTuple):
    """What a replay needs to know of a dead letter."""

    letter_id: str
    event: bytes
    connector: str
    reason: str
    replays: int
    buried_ms: int


def write_letters(folder: str, letters: Sequence[DeadLetter]) -> str:
    """Write letters to one file under `folder` and return its URI.

    The name is a hash of the letters: the same ones, written again, are the same file, byte for byte
    (else Avro's sync marker is drawn by chance).

    Raises:
        StorageError: the file could not be written.
    """
    name = hashlib.sha256(msgspec.msgpack.encode(letters)).hexdigest()[:32]
    day = time.strftime("%Y-%m-%d", time.gmtime(min(x.buried_ms for x in letters) / 1_000))
    content = io.BytesIO()
    marker = bytes.fromhex(name)
    fastavro.writer(content, _SCHEMA, map(to_avro, letters), codec="deflate", sync_marker=marker)
    uri = join(folder, f"date={day}", f"{name}.avro")
    write_whole(uri, content.getvalue())
    return uri


def redacted(letter: DeadLetter, entry: ConnectorEntry | None) -> DeadLetter:
    """The letter without what its connector's partner must not see, fit to be replayed.

    What no connector explains is left as it came: a message that is no event, or an event whose
    connector is no more.
    """
    if entry is None:
        return letter
    return msgspec.structs.replace(letter, event=entry.sink.redact_for_replay(letter.event))


def letter_files(root: str) -> Iterator[str]:
    """The Avro files of dead letters, by day; what else lies below `root` is not looked at."""
    for day in list_names(root):
        if day.startswith("date="):
            folder = join(root, day)
            names = [name for name in list_names(folder) if name.endswith(".avro")]
            yield from (join(folder, name) for name in names)


def read_letters(uri: str) -> Iterator[Letter]:
    """Yield the letters of a file.

    Raises:
        DamagedLetters: the rest of it cannot be read.
        StorageError: none of it can.
    """
    content = io.BytesIO(read_file(uri))
    try:
        blocks = open_blocks(content)
        for block in blocks:
            yield from map(_letter_of, records_of(block, blocks.writer_schema, _SCHEMA))
    except LETTER_DAMAGE as error:
        said = str(error) or type(error).__name__
        raise DamagedLetters(f"{uri} cannot be read to its end: {said}") from error


def _letter_of(record: Any) -> Letter:
    return Letter(
        letter_id=record["letter_id"],
        event=record["event"],
        connector=record["connector"],
        reason=record["reason"],
        replays=record["replays"],
        buried_ms=_milliseconds(record["buried_at"]),
    )


def _milliseconds(moment: datetime.datetime | int | None) -> int:
    """A time as Avro libraries give it: a datetime, or a number where the logical type is lost."""
    if isinstance(moment, datetime.datetime):
        return round(moment.timestamp() * 1_000)
    return moment or 0
