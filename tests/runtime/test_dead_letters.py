"""Dead letters are Avro files by day, named by what is in them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest

from runtime.dead_letters import DamagedLetters, letter_files, read_letters, write_letters
from runtime.storage import StorageError
from runtime.worker import Worker, WorkerSettings
from schemas.connector import Redact
from schemas.dead_letter import AVRO_SCHEMA, DeadLetter, to_avro
from schemas.limits import MAX_DETAIL_CHARS
from sinks.redaction import Redactor
from tests.runtime.configs import hook
from tests.security.avro import avro_file

BURIED_MS = 1_700_000_000_000  # 2023-11-14T22:13:20Z


def letter_of(event: bytes = b'{"id":"1"}', **changes: Any) -> DeadLetter:
    known = {"stage": "deliver", "reason": "rejected", "connector": "crm", "buried_ms": BURIED_MS}
    return DeadLetter(**{"event": event, **known, **changes})


def records_in(uri: str) -> list[Any]:
    with Path(uri).open("rb") as file:
        return list(fastavro.reader(file))


def test_a_letter_is_read_as_it_was_written(tmp_path: Path) -> None:
    event = bytes(range(256))
    uri = write_letters(
        str(tmp_path),
        [
            letter_of(
                event,
                lane="crm/0/",
                detail="d",
                status=400,
                answer="no",
                attempts=3,
                published_ms=BURIED_MS - 2_000,
                first_failed_ms=BURIED_MS - 1_000,
                config_version="abc",
                replays=1,
            )
        ],
    )
    (record,) = records_in(uri)
    assert record["event"] == event
    assert record["buried_at"].timestamp() * 1_000 == BURIED_MS
    assert (record["buried_at"] - record["published_at"]).total_seconds() == 2
    assert (record["buried_at"] - record["first_failed_at"]).total_seconds() == 1
    found = {name: record[name] for name in ("stage", "reason", "connector", "lane", "detail")}
    assert list(found.values()) == ["deliver", "rejected", "crm", "crm/0/", "d"]
    assert (record["status"], record["answer"], record["attempts"]) == (400, "no", 3)
    assert (record["config_version"], record["replays"]) == ("abc", 1)
    assert len(record["letter_id"]) == 32


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    (record,) = records_in(write_letters(str(tmp_path), [letter_of()]))
    unknown = ("status", "answer", "published_at", "first_failed_at")
    assert {name: record[name] for name in unknown} == dict.fromkeys(unknown)


def test_the_file_lies_under_the_day_of_its_oldest_letter(tmp_path: Path) -> None:
    letters = [letter_of(b"2", buried_ms=BURIED_MS + 7_200_000), letter_of(b"1")]
    uri = write_letters(str(tmp_path), letters)
    assert Path(uri).parent == tmp_path / "date=2023-11-14"
    assert uri.endswith(".avro")


def test_the_same_letters_in_any_order_are_the_same_file(tmp_path: Path) -> None:
    letters = [letter_of(str(number).encode()) for number in range(5)]
    assert write_letters(str(tmp_path), letters) == write_letters(str(tmp_path), letters)
    assert len(list(tmp_path.rglob("*.avro"))) == 1


@pytest.mark.parametrize(
    "change", [{"event": b"2"}, {"connector": "b"}, {"stage": "pack"}, {"replays": 1}]
)
def test_another_failure_is_another_file(change: dict[str, Any], tmp_path: Path) -> None:
    write_letters(str(tmp_path), [letter_of()])
    write_letters(str(tmp_path), [letter_of(**change)])
    assert len(list(tmp_path.rglob("*.avro"))) == 2


def test_a_retried_failure_has_the_same_id_whatever_was_answered(tmp_path: Path) -> None:
    first = write_letters(str(tmp_path), [letter_of(answer="a", attempts=1)])
    second = write_letters(str(tmp_path), [letter_of(answer="b", attempts=2)])
    assert first != second
    (one,), (other,) = records_in(first), records_in(second)
    assert one["letter_id"] == other["letter_id"]


def test_the_same_message_buried_twice_is_two_letters(tmp_path: Path) -> None:
    write_letters(str(tmp_path), [letter_of()])
    write_letters(str(tmp_path), [letter_of(buried_ms=letter_of().buried_ms + 1)])
    assert len(list(tmp_path.rglob("*.avro"))) == 2


def test_what_a_partner_said_is_cut(tmp_path: Path) -> None:
    long = "x" * (MAX_DETAIL_CHARS + 1)
    (record,) = records_in(write_letters(str(tmp_path), [letter_of(detail=long, answer=long)]))
    assert len(record["detail"]) == len(record["answer"]) == MAX_DETAIL_CHARS


def test_a_folder_that_cannot_be_written_to_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        write_letters(str(tmp_path / "file"), [letter_of()])


@pytest.mark.parametrize("is_asked", [False, True])
def test_letters_hide_what_the_partner_must_not_see_where_that_is_asked(
    tmp_path: Path, is_asked: bool
) -> None:
    redact = {"remove": ["email_address"], "hash": ["external_user_id"]}
    connectors = {"connectors": [hook("crm", redact=redact)]}
    (tmp_path / "connectors.json").write_text(json.dumps(connectors))
    worker = Worker(
        WorkerSettings(
            str(tmp_path / "connectors.json"),
            str(tmp_path / "held"),
            str(tmp_path / "dead"),
            redact_dead_letters=is_asked,
        )
    )
    event = b'{"user":{"external_user_id":"x"},"properties":{"email_address":"a@example.com"}}'
    try:
        letters = [
            letter_of(event),
            letter_of(event, connector="gone"),
            letter_of(b"{", connector=""),
        ]
        worker.write_letters(letters)
    finally:
        worker.close()
    (uri,) = letter_files(str(tmp_path / "dead"))
    found = {record["connector"]: record["event"] for record in records_in(uri)}
    assert found["gone"] == event
    assert found[""] == b"{"
    assert (b"example.com" in found["crm"]) is not is_asked
    settings = Redact(**redact)
    assert Redactor(settings).redact(found["crm"]) == Redactor(settings).redact(event)


@pytest.mark.parametrize("codec", ["bzip2", "xz", "zstandard", "lz4", "snappy"])
def test_a_block_that_its_codec_cannot_unpack_is_damage(codec: str, tmp_path: Path) -> None:
    content = avro_file(AVRO_SCHEMA, [(1, b"nothing that a letter is")], codec)
    path = tmp_path / "letters.avro"
    path.write_bytes(content[:-20] + b"?" * 4 + content[-16:])
    with pytest.raises(DamagedLetters, match="cannot be read to its end"):
        list(read_letters(str(path)))


def without_times(field: dict[str, Any]) -> dict[str, Any] | None:
    return None if field["name"].endswith("_at") else field


def with_times_as_numbers(field: dict[str, Any]) -> dict[str, Any] | None:
    return {**field, "type": ["null", "long"]} if field["name"].endswith("_at") else field


@pytest.mark.parametrize(
    ("changed", "buried_ms"), [(without_times, 0), (with_times_as_numbers, BURIED_MS)]
)
def test_a_file_that_lacks_fields_or_knows_no_times_is_read(
    changed: Callable[[dict[str, Any]], dict[str, Any] | None], buried_ms: int, tmp_path: Path
) -> None:
    """Such as another tool has written, or an older version."""
    fields = list(filter(None, map(changed, AVRO_SCHEMA["fields"])))
    path = tmp_path / "letters.avro"
    with path.open("wb") as file:
        fastavro.writer(file, {**AVRO_SCHEMA, "fields": fields}, [to_avro(letter_of(replays=2))])
    (letter,) = read_letters(str(path))
    assert (letter.event, letter.connector, letter.reason) == (b'{"id":"1"}', "crm", "rejected")
    assert (letter.replays, letter.letter_id) == (2, letter_of(replays=2).letter_id)
    assert letter.buried_ms == buried_ms
