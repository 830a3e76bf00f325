"""What a run leaves on the disk, read without the program's own code: whole, or the test fails."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fastavro

Ids = Mapping[str, Counter[str]]
"""Events by connector: their ids, with how often each is there."""

_HELD_NAME = re.compile(r"(\d{13})-(\d{13})-(\d+)-([0-9a-f]{32})")


class Torn(AssertionError):
    """A file that is neither whole nor absent."""


def held_in(hold: Path) -> Ids:
    """The events in all queues of a hold.

    Raises:
        Torn: an object is not what its name says, or a status is no JSON.
    """
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for path in _files(hold / "queue", "*/*"):
        found[path.parent.name].update(_held_ids(path))
    for path in _files(hold / "status", "*.json"):
        _json(path)
    aside = [path for path in (hold / "set-aside").rglob("*") if path.is_file()]
    if aside:
        raise Torn(f"set aside: {aside}")
    return found


def _held_ids(path: Path) -> Iterator[str]:
    content = path.read_bytes()
    name = _HELD_NAME.fullmatch(path.name)
    if name is None or hashlib.sha256(content).hexdigest()[:32] != name[4]:
        raise Torn(f"{path}: its content is not what its name says")
    lines = content.splitlines()
    count = 0
    while lines:
        size = json.loads(lines.pop(0))["count"]
        events, lines = lines[:size], lines[size:]
        count += size
        yield from (str(json.loads(event)["id"]) for event in events)
    if count != int(name[3]):
        raise Torn(f"{path}: {count} events, its name says {name[3]}")


def letters_in(dead: Path) -> list[dict[str, Any]]:
    """The dead letters of a folder; one that is there twice counts once.

    Raises:
        Torn: a file cannot be read to its end.
    """
    letters = {}
    for path in _files(dead, "date=*/*.avro"):
        letters.update({record["letter_id"]: record for record in _records(path)})
    return list(letters.values())


def archived_in(lake: Path) -> Counter[str]:
    """The ids of the events in all Avro files of a connector.

    Raises:
        Torn: a file cannot be read to its end.
    """
    return Counter(record["id"] for path in _files(lake, "**/*.avro") for record in _records(path))


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            records: list[Any] = list(fastavro.reader(file))
    except Exception as error:
        raise Torn(f"{path}: {error!r}") from error
    return records


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise Torn(f"{path}: {error}") from error


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(
        path
        for path in folder.glob(pattern)
        if path.is_file() and not path.name.startswith(".writing-")
    )
