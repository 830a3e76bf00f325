"""Writing dead letters: Avro files that any Avro tool reads."""

import hashlib
import io
import time
from collections.abc import Sequence

import fastavro
import msgspec

from runtime.storage import join, write_whole
from schemas.dead_letter import AVRO_SCHEMA, DeadLetter, to_avro

_SCHEMA = fastavro.parse_schema(AVRO_SCHEMA)


def write_letters(folder: str, letters: Sequence[DeadLetter]) -> str:
    """Write letters to one file under `folder` and return its URI.

    The name is a hash of the letters: the same ones, written again, are the same file.

    Raises:
        StorageError: the file could not be written.
    """
    name = hashlib.sha256(msgspec.msgpack.encode(letters)).hexdigest()[:32]
    day = time.strftime("%Y-%m-%d", time.gmtime(min(x.buried_ms for x in letters) / 1_000))
    content = io.BytesIO()
    fastavro.writer(content, _SCHEMA, map(to_avro, letters), codec="deflate")
    uri = join(folder, f"date={day}", f"{name}.avro")
    write_whole(uri, content.getvalue())
    return uri
