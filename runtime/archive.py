"""Archived storage files as events: Avro that `avro_files` or the platform's own connectors wrote.

An event takes the shape that it has over HTTP: `event_type`, `id`, `time`, `user`, `properties`. What
is null is left out, and so is a float that is no number, which JSON cannot express.
"""

import calendar
import contextlib
import datetime
import functools
import io
import itertools
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any
from urllib.parse import unquote

import fastavro
import msgspec
from fastavro.read import LOGICAL_READERS

from runtime.avro_blocks import (
    DAMAGE,
    MAX_BLOCK_BYTES,
    UnfitSchema,
    open_blocks,
    records_of,
)
from schemas.catalogue import (
    VARIATION,
    VARIATION_OF_BANNERS,
    canonical_event_type,
    event_types,
)
from schemas.dead_letter import AVRO_SCHEMA as DEAD_LETTER
from sinks.avro_files import MAX_NAME_CHARS
from sinks.avro_record import fields_of

MAX_EVENTS_BYTES = 8 * MAX_BLOCK_BYTES
"""Of the events of one block as JSON, which names each field."""

_MAGIC = b"Obj\x01"
_FOLDER = re.compile(r"(?:^|/)event_type=([^/]+)(?=/)")
_SHORTENED = re.compile(r".*-[0-9a-f]{16}")
_ANY_TYPE = frozenset(field.name for field in fields_of(""))
"""The fields of a record of a type that the catalogue lacked; `event` is the original JSON."""


class NotArchived(Exception):
    """A file that holds no archived events, or whose events cannot be told or unpacked."""


class DamagedArchive(Exception):
    """A file that is cut off or damaged; the events of all whole blocks before were read."""


def check_archive(file: IO[bytes], path: str) -> None:
    """Look at the beginning of a file; one that is damaged is for `read_archive` to tell.

    Raises:
        NotArchived: its events cannot be read.
    """
    try:
        _to_event_of(_open(file).writer_schema, path)
    except DamagedArchive:
        return


def read_archive(file: IO[bytes], path: str) -> Iterator[bytes]:
    """Yield the events of a file as JSON; nothing of a block before all of it was read.

    Args:
        file: the content.
        path: where it lies; a folder `event_type=…` of it tells the type of the events.

    Raises:
        NotArchived: its events cannot be read.
        DamagedArchive: the rest of it cannot be read.
    """
    blocks = _open(file)
    to_event = _to_event_of(blocks.writer_schema, path)
    with _damage():
        schema = fastavro.parse_schema(_readable(blocks.writer_schema))
    while True:
        with _damage():
            block = next(blocks, None)
            if block is None:
                return
            events = list(_events(block, schema, to_event))
        yield from events


# The container


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Turn what is raised for a damaged file into a DamagedArchive."""
    try:
        yield
    except DAMAGE as error:
        raise DamagedArchive(str(error) or type(error).__name__) from error


def _open(file: IO[bytes]) -> Any:
    """The blocks of a file, after its header."""
    start = file.read(len(_MAGIC))
    if not _MAGIC.startswith(start):  # fastavro does not look
        raise NotArchived("it is no Avro file")
    file.seek(0)
    with _damage():
        try:
            blocks = open_blocks(file)
        except UnfitSchema as error:
            raise NotArchived(str(error)) from error
    _check_codec(blocks.codec)
    return blocks


@functools.cache
def _check_codec(codec: str) -> None:
    """Raise NotArchived where fastavro lacks a codec, or its library: it tells so to writers too."""
    try:
        fastavro.writer(io.BytesIO(), {"type": "record", "name": "r", "fields": []}, [{}], codec)
    except ValueError as error:
        raise NotArchived(str(error)) from error


def _events(block: Any, schema: Any, to_event: "_ToEvent") -> Iterator[bytes]:
    """The events of a block, as long as they are not too much to be kept together."""
    size = 0
    for record in records_of(block, schema):
        event = to_event(record)
        size += len(event)
        if size > MAX_EVENTS_BYTES:
            raise ValueError(f"a block whose events are more than {MAX_EVENTS_BYTES} bytes of JSON")
        yield event


# Types and fields

_FLOAT = {"type": "float", "logicalType": "currents-shortest"}
"""A logical type of our own, by which fastavro tells a 32-bit float from a double."""


def _readable(schema: Any) -> Any:
    """The writer's schema with marked floats, and without the defaults, which only readers need."""
    if isinstance(schema, list):
        return [_readable(branch) for branch in schema]
    if schema == "float":
        return _FLOAT
    if not isinstance(schema, dict):
        return schema
    if schema["type"] == "float":
        return _FLOAT
    inside = {name: _readable(schema[name]) for name in ("items", "values") if name in schema}
    if "fields" in schema:
        inside["fields"] = [
            {"name": field["name"], "type": _readable(field["type"])} for field in schema["fields"]
        ]
    return {**schema, **inside}


def shortest(number: float, *_: Any) -> float:
    """The double with the fewest digits that is the same 32-bit float: 3.14, not 3.140000104904175."""
    if not math.isfinite(number):
        return number
    packed = struct.pack("<f", number)
    least = 6 if abs(number) >= 2.0**-126 else 1  # six digits are exact but for the tiniest
    texts = (f"{number:.{digits}g}" for digits in range(least, 10))
    return float(next(text for text in texts if struct.pack("<f", float(text)) == packed))


LOGICAL_READERS["float-currents-shortest"] = shortest


def event_type_of(path: str, record_name: str) -> str:
    """The type of the events of a file, by its folder `event_type=…`, else by its record's name.

    The name is `dataexport.<storage>.inner.<event type>` (Braze's published samples); until 2021 it
    could be the last word of the type alone.

    Raises:
        NotArchived: neither says.
    """
    folders = [name for name in _FOLDER.findall(path) if not _is_shortened(name)]
    if folders:
        return unquote(folders[-1])
    _, inner, full_name = record_name.partition(".inner.")
    if inner:
        return full_name
    if canonical_event_type(record_name) in event_types():
        return canonical_event_type(record_name)
    word = _last_word(record_name)
    known = [name for name in event_types() if _last_word(name) == word]
    if len(known) != 1:
        some = f" ({', '.join(known[:3])}, …)" if known else ""
        raise NotArchived(
            f"the record name {record_name} is the last word of {len(known)} known event types{some}, "
            "and no folder event_type=… says which it is"
        )
    return known[0]


def _is_shortened(name: str) -> bool:
    """Whether `avro_files` had to cut a type to make it a name of a path."""
    return len(name) == MAX_NAME_CHARS and _SHORTENED.fullmatch(name) is not None


def _last_word(name: str) -> str:
    return name.rpartition(".")[2]


# Events

_ToEvent = Callable[[Mapping[str, Any]], bytes]

_encode = msgspec.json.Encoder(decimal_format="number").encode


def _to_event_of(schema: Any, path: str) -> _ToEvent:
    """What makes an event of a record of the file."""
    if not (isinstance(schema, dict) and "fields" in schema):
        raise NotArchived("it holds no records")
    if _last_word(schema["name"]) == DEAD_LETTER["name"]:
        raise NotArchived("it holds dead letters, which `currents replay` sends again")
    names = [field["name"] for field in schema["fields"]]
    if set(names) == _ANY_TYPE:
        return functools.partial(_original, path, schema["name"], names)
    return functools.partial(_event, event_type_of(path, schema["name"]), names)


def _original(
    path: str, record_name: str, names: Sequence[str], record: Mapping[str, Any]
) -> bytes:
    """The event as it came."""
    text = record["event"]
    if isinstance(text, str) and text.startswith("{"):
        return text.encode()
    return _event(event_type_of(path, record_name), names, record)


def _event(event_type: str, names: Sequence[str], record: Mapping[str, Any]) -> bytes:
    user_fields = _user_fields()
    event: dict[str, Any] = {"event_type": event_type}
    user: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for name in names:
        value = record[name]
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            continue
        if name == "id":
            event["id"] = value
        elif name == "time":
            event["time"] = _seconds(value)
        elif name in user_fields:
            user[name] = value
        else:
            properties[name] = value
    _rename_properties(event_type, properties)
    return _encode({**event, "user": user, "properties": properties})


@functools.cache
def _user_fields() -> frozenset[str]:
    """The fields that stand in `user` over HTTP, whatever the type."""
    fields = (known.user_fields for known in event_types().values())
    return frozenset(itertools.chain.from_iterable(fields))


def _rename_properties(event_type: str, properties: dict[str, Any]) -> None:
    """Call fields what they are called over HTTP, and make `properties`, a JSON text, an object.

    It is `custom_properties` of a custom event and `purchase_properties` of a purchase (Braze,
    events' glossary).
    """
    known = event_types().get(canonical_event_type(event_type))
    if known and VARIATION in properties and VARIATION_OF_BANNERS in known.http_properties:
        properties[VARIATION_OF_BANNERS] = properties.pop(VARIATION)
    over_http = _object_over_http(event_type)
    if over_http and "properties" in properties:
        properties[over_http] = _spliced(properties.pop("properties"))


@functools.cache
def _object_over_http(event_type: str) -> str | None:
    known = event_types().get(canonical_event_type(event_type))
    kinds = known.http_properties if known else {}
    return next((name for name, kind in kinds.items() if kind == "object"), None)


def _spliced(text: Any) -> Any:
    """The JSON text of an object as it is spelt; anything else stays a value of its own type."""
    if not isinstance(text, str):
        return text
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return text
    return msgspec.Raw(text.encode())


def _seconds(time: Any) -> Any:
    """A time in whole seconds, also of a file that has it as one of Avro's timestamps, in UTC."""
    return calendar.timegm(time.utctimetuple()) if isinstance(time, datetime.datetime) else time
