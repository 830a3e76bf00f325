"""Writing dead letters: Avro files that any Avro tool reads."""

import hashlib
import io
import time
from collections.abc import Sequence

import fastavro

from runtime.storage import join, write_whole
from schemas.dead_letter import AVRO_SCHEMA, DeadLetter, to_avro

MAX_FILE_BYTES = 8_000_000

_SCHEMA = fastavro.parse_schema(AVRO_SCHEMA)


def write_letters(folder: str, letters: Sequence[DeadLetter]) -> str:
    """Write letters to one file under `folder` and return its URI.

    The name comes from the letters' ids: the same letters, written again, are the same file.

    Raises:
        StorageError: the file could not be written.
    """
    ids = "".join(sorted(letter.letter_id for letter in letters))
    name = hashlib.sha256(ids.encode()).hexdigest()[:32]
    day = time.strftime("%Y-%m-%d", time.gmtime(min(x.buried_ms for x in letters) / 1_000))
    content = io.BytesIO()
    fastavro.writer(content, _SCHEMA, map(to_avro, letters), codec="deflate")
    uri = join(folder, f"date={day}", f"{name}.avro")
    write_whole(uri, content.getvalue())
    return uri
