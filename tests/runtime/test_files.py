"""Files are read as pulls: every line and every record comes once, however a file is cut."""

import functools
import gzip
import http.server
import io
import itertools
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fastavro
import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import files
from runtime.files import DamagedInput, FileRange, NoSuchInput, expand_patterns, read_range
from runtime.storage import join, write_whole
from sandbox.samples import sample_events
from sinks.avro_files import AvroFilesConnector, AvroFilesSink
from sinks.avro_record import schema_of
from sinks.sink import FileWrite

OPEN = "users.messages.email.Open"


def messages_of(ranges: Sequence[FileRange]) -> list[bytes]:
    return [message for part in ranges for pull in read_range(part) for message in pull.messages]


def read(*patterns: object) -> list[bytes]:
    return messages_of(expand_patterns([str(pattern) for pattern in patterns]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@given(
    lines=st.lists(st.integers(0, 12), max_size=40),
    range_bytes=st.integers(1, 40),
    block_bytes=st.integers(1, 40),
    end=st.sampled_from([b"\n", b"\r\n"]),
    ended=st.booleans(),
)
def test_every_line_comes_once_and_in_order_however_a_file_is_cut(
    lines: list[int], range_bytes: int, block_bytes: int, end: bytes, ended: bool, folder: Path
) -> None:
    written = [f"{n}:".encode() + b"x" * size for n, size in enumerate(lines)]
    path = folder / "lines.json"
    path.write_bytes(end.join(written) + (end if ended else b""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "RANGE_BYTES", range_bytes)
        patch.setattr(files, "BLOCK_BYTES", block_bytes)
        assert read(path) == written


def test_a_line_that_ends_where_a_range_ends_is_read_by_that_range_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RANGE_BYTES", 4)
    (tmp_path / "a.json").write_bytes(b"abc\ndef\nghi\n")
    ranges = expand_patterns([str(tmp_path / "a.json")])
    assert [messages_of([part]) for part in ranges] == [[b"abc"], [b"def"], [b"ghi"]]


def test_a_line_longer_than_a_range_belongs_to_the_range_in_which_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RANGE_BYTES", 4)
    (tmp_path / "a.json").write_bytes(b"a\n" + b"b" * 9 + b"\nc\n")
    ranges = expand_patterns([str(tmp_path / "a.json")])
    assert [messages_of([part]) for part in ranges] == [[b"a", b"b" * 9], [], [], [b"c"]]


def test_blank_lines_are_skipped_and_the_ends_of_lines_are_taken_off(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\n\r\n {1} \r\n \t\r\n\n{2}\r\n{3}")
    assert read(tmp_path / "a.json") == [b" {1} ", b"{2}", b"{3}"]


def test_a_pull_holds_a_block_of_lines_with_the_time_of_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 100)
    monkeypatch.setattr(files, "now_ms", lambda: 1_234)
    (tmp_path / "a.json").write_bytes(b"x" * 9 + b"\n" + (b"y" * 9 + b"\n") * 29)
    pulls = list(read_range(expand_patterns([str(tmp_path / "a.json")])[0]))
    assert [len(pull.messages) for pull in pulls] == [10, 10, 10]
    assert {(pull.oldest_ms, pull.newest_ms, pull.receipt) for pull in pulls} == {(1_234, 1_234, 0)}


@pytest.mark.parametrize("members", [1, 3])
def test_a_gzipped_file_is_one_range_and_reads_the_same(
    members: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RANGE_BYTES", 10)
    monkeypatch.setattr(files, "BLOCK_BYTES", 64)
    lines = [f"line {number}".encode() for number in range(500)]
    packed = gzip.compress(b"\r\n".join(lines[:-1]) + b"\n") + gzip.compress(lines[-1])
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"") * (members - 1) + packed)
    assert expand_patterns([str(tmp_path / "a.json.gz")])[0].end == -1
    assert read(tmp_path / "a.json.gz") == lines


def test_how_far_a_range_is_read_is_told_up_to_its_whole_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RANGE_BYTES", 30_000)
    monkeypatch.setattr(files, "BLOCK_BYTES", 10_000)
    content = b"".join(
        b"%d %s\n" % (number, os.urandom(50).hex().encode()) for number in range(800)
    )
    (tmp_path / "a.json").write_bytes(content)
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(content))
    (tmp_path / "c.avro").write_bytes(avro_of(events_of(100), sync_interval=3_000))
    (tmp_path / "d.json").write_bytes(b"\n" * 100)
    ranges = expand_patterns([str(tmp_path / "*")])
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(part.size for part in ranges) == sum(sizes)
    for part in ranges:
        told: list[int] = []
        pulls = [pull for pull in read_range(part, told.append) if pull]
        assert told == sorted(told)
        assert told[-1] == part.size
        assert len(told) == len(pulls) + 1


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"")
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(b""))
    assert read(tmp_path / "*.json") == read(tmp_path / "*.gz") == []


def test_a_pattern_is_every_file_that_it_matches_and_no_folder(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "c.txt"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "folder.json").mkdir()
    assert read(tmp_path / "*.json") == [b"a.json", b"b.json"]
    assert read(tmp_path / "*.json", tmp_path / "c.*") == [b"a.json", b"b.json", b"c.txt"]
    assert read(f"file://{tmp_path}/c.txt") == [b"c.txt"]


def test_a_pattern_that_matches_nothing_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")
    with pytest.raises(NoSuchInput, match=r"none\*\.json matches no file"):
        expand_patterns([str(tmp_path / "a.json"), str(tmp_path / "none*.json")])


def test_files_of_another_storage_are_read_by_their_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RANGE_BYTES", 5)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("memory://test-files/a.json", b"abc\ndef\n")
    memory.pipe_file("memory://test-files/b.json.gz", gzip.compress(b"ghi\n"))
    assert read("memory://test-files/*") == [b"abc", b"def", b"ghi"]
    memory.rm("memory://test-files", recursive=True)


def events_of(count: int, seed: int = 1) -> list[bytes]:
    return list(sample_events(count, seed, event_types=[OPEN]))


def avro_of(events: Sequence[bytes], **changes: object) -> bytes:
    """A file of `avro_files`; changes are of what fastavro writes."""
    lake = AvroFilesSink(AvroFilesConnector(name="lake", path="/lake"))
    packed = lake.pack(events, f"{OPEN}/2026-01-31-23", {})
    bodies = [file.body for file in packed.requests if isinstance(file, FileWrite)]
    records = [record for body in bodies for record in fastavro.reader(io.BytesIO(body))]
    content = io.BytesIO()
    schema = schema_of(OPEN, "LOCAL", frozenset())
    fastavro.writer(content, schema, records, **{"codec": "deflate", **changes})
    return content.getvalue()


def ids_of(messages: Sequence[bytes]) -> list[str]:
    return [json.loads(message)["id"] for message in messages]


def test_files_below_a_folder_are_read_each_by_its_suffix(storage_root: str) -> None:
    events = events_of(50)
    contents = {
        f"event_type={OPEN}/date=2026-01-31-23/a.avro": avro_of(events[:10]),
        f"event_type={OPEN}/date=2026-01-31-23/empty.avro": avro_of([]),
        "b.avro": avro_of(events[10:20]),
        "deep/er/c.avro.gz": gzip.compress(avro_of(events[20:30])),
        "deep/d.ndjson": b"\n".join(events[30:40]),
        "e.ndjson.gz": gzip.compress(b"\n".join(events[40:])),
    }
    for name, content in contents.items():
        write_whole(join(storage_root, name), content)
    assert sorted(ids_of(read(f"{storage_root}/**"))) == sorted(ids_of(events))
    assert sorted(ids_of(read(f"{storage_root}/**/*.avro"))) == sorted(ids_of(events[:20]))
    assert read(f"{storage_root}/deep/**/*.ndjson") == events[30:40]


def test_links_are_followed_and_broken_ones_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"abc\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "b.json").symlink_to(tmp_path / "nowhere")
    assert read(tmp_path / "in" / "**") == [b"abc"]


def test_the_events_of_an_avro_file_come_in_pulls_of_some_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(files, "now_ms", lambda: 1_234)
    events = events_of(100)
    (tmp_path / "a.avro").write_bytes(avro_of(events, sync_interval=3_000))
    pulls = list(read_range(expand_patterns([str(tmp_path / "a.avro")])[0]))
    assert ids_of([message for pull in pulls for message in pull.messages]) == ids_of(events)
    assert len(pulls) > 5
    sizes = [sum(len(message) + 1 for message in pull.messages) for pull in pulls]
    longest = max(len(message) for pull in pulls for message in pull.messages)
    assert all(10_000 <= size <= 10_000 + longest for size in sizes[:-1])
    assert {(pull.oldest_ms, pull.newest_ms, pull.receipt) for pull in pulls} == {(1_234, 1_234, 0)}


@pytest.mark.parametrize("cut", [0, 3, 200, -1])
def test_of_a_cut_off_avro_file_the_whole_blocks_are_read_and_the_file_is_named(
    cut: int, tmp_path: Path
) -> None:
    events = events_of(60)
    content = avro_of(events, sync_interval=3_000)
    (tmp_path / "a.avro").write_bytes(content[:cut])
    (part,) = expand_patterns([str(tmp_path / "*.avro")])
    found: list[bytes] = []
    with pytest.raises(DamagedInput, match=r"a\.avro: ."):
        found.extend(message for pull in read_range(part) for message in pull.messages)
    *_, last = fastavro.block_reader(io.BytesIO(content))
    assert ids_of(found) == (ids_of(events[: -last.num_records]) if cut < 0 else [])


def test_what_holds_no_events_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.avro").write_bytes(avro_of(events_of(1)))
    (tmp_path / "b.avro").write_bytes(b"{}\n")
    with pytest.raises(NoSuchInput, match=r"--input .*/b\.avro: it is no Avro file"):
        expand_patterns([str(tmp_path / "*.avro")])


def test_of_many_avro_files_in_a_store_some_are_looked_at_before_and_the_others_when_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "CHECKED_FILES", 2)
    memory = fsspec.filesystem("memory")
    for number in range(6):
        memory.pipe_file(f"/many/{number}.avro", avro_of(events_of(1, seed=number + 1)))
    memory.pipe_file("/many/4.avro", b"{}\n")
    ranges = expand_patterns(["memory://many/*.avro"])
    with pytest.raises(DamagedInput, match=r"4\.avro: it is no Avro file"):
        messages_of(ranges[4:5])
    memory.pipe_file("/many/3.avro", b"{}\n")
    with pytest.raises(NoSuchInput, match=r"3\.avro"):
        expand_patterns(["memory://many/*.avro"])
    memory.rm("/many", recursive=True)


def test_on_a_disk_every_avro_file_is_looked_at_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CHECKED_FILES", 1)
    for number in range(6):
        (tmp_path / f"{number}.avro").write_bytes(avro_of(events_of(1)))
    for number in range(6):
        content = (tmp_path / f"{number}.avro").read_bytes()
        (tmp_path / f"{number}.avro").write_bytes(b"{}\n")
        with pytest.raises(NoSuchInput, match=rf"{number}\.avro: it is no Avro file"):
            expand_patterns([str(tmp_path / "*.avro")])
        (tmp_path / f"{number}.avro").write_bytes(content)


def test_a_kind_of_storage_that_is_not_known_is_an_error_that_names_it() -> None:
    with pytest.raises(NoSuchInput, match=r"--input s9://bucket/\* cannot be listed: .*s9"):
        expand_patterns(["s9://bucket/*"])


# Storage that is read over the network, in pieces


class _Ranged(http.server.BaseHTTPRequestHandler):
    """Serves one file, piece by piece."""

    content = b""

    def do_HEAD(self) -> None:
        self._answer(200, self.content)

    def do_GET(self) -> None:
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        end = int(last) + 1 if last else len(self.content)
        piece = self.content[int(first) : end]
        where = f"bytes {first}-{int(first) + len(piece) - 1}/{len(self.content)}"
        self._answer(206, piece, {"Content-Range": where})

    def _answer(self, status: int, body: bytes, headers: Any = ()) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Accept-Ranges": "bytes",
            **dict(headers),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def remote() -> Iterator[Any]:
    """Makes content readable under an address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Ranged) as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01))
        thread.start()

        def put(content: bytes, name: str) -> str:
            _Ranged.content = content
            return f"http://127.0.0.1:{server.server_port}/{name}"

        yield put
        server.shutdown()
        thread.join()


def test_a_file_behind_the_network_is_read_in_ranges(
    remote: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 1_000)
    lines = [f"line {number}".encode() for number in range(2_000)]
    content = b"\n".join(lines)
    uri = remote(content, "a.json")
    cuts = [0, 700, 701, len(content) // 2, len(content)]
    ranges = [FileRange(uri, start, end, end - start) for start, end in itertools.pairwise(cuts)]
    assert messages_of(ranges) == lines


def test_a_gzipped_file_behind_the_network_is_read(remote: Any) -> None:
    lines = [f"line {number}".encode() for number in range(2_000)]
    packed = gzip.compress(b"\n".join(lines))
    uri = remote(packed, "a.json.gz")
    assert messages_of([FileRange(uri, 0, -1, len(packed))]) == lines


def test_an_avro_file_behind_the_network_is_read(remote: Any) -> None:
    events = events_of(300)
    packed = avro_of(events, sync_interval=3_000)
    uri = remote(packed, "a.avro")
    assert ids_of(messages_of([FileRange(uri, 0, -1, len(packed))])) == ids_of(events)
