"""Files are there whole or not at all, and a fault says whose it is."""

import contextlib
import http.server
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runtime import storage
from runtime.storage import (
    StorageError,
    is_local,
    join,
    list_files,
    list_names,
    read_file,
    remove_file,
    write_whole,
    writing_whole,
)


def fault_of(error: "pytest.ExceptionInfo[StorageError]") -> str:
    return error.value.fault


def test_what_is_written_is_read_and_listed(storage_root: str) -> None:
    content = os.urandom(100_000)
    uri = join(storage_root, "a", "b")
    write_whole(uri, content)
    assert read_file(uri) == content
    assert list_names(join(storage_root, "a")) == ["b"]
    assert list_names(storage_root) == ["a"]


def test_an_empty_file_is_a_file(storage_root: str) -> None:
    write_whole(join(storage_root, "empty"), b"")
    assert read_file(join(storage_root, "empty")) == b""


def test_writing_again_replaces_the_whole(storage_root: str) -> None:
    write_whole(join(storage_root, "a"), b"long" * 1_000)
    write_whole(join(storage_root, "a"), b"short")
    assert read_file(join(storage_root, "a")) == b"short"
    assert list_names(storage_root) == ["a"]


def test_names_are_sorted(storage_root: str) -> None:
    names = ["0000000000002-b", "0000000000010-a", "0000000000001-c", "Z", "_", "a b%2F+"]
    for name in names:
        write_whole(join(storage_root, name), b"")
    assert list_names(storage_root) == sorted(names)


def test_a_folder_that_is_not_there_has_no_names(storage_root: str) -> None:
    assert list_names(join(storage_root, "none")) == []


def test_a_file_that_is_not_there_is_missing(storage_root: str) -> None:
    with pytest.raises(StorageError, match="none") as error:
        read_file(join(storage_root, "none"))
    assert fault_of(error) == "missing"


def test_removing_is_done_once_or_twice(storage_root: str) -> None:
    write_whole(join(storage_root, "a"), b"1")
    remove_file(join(storage_root, "a"))
    remove_file(join(storage_root, "a"))
    assert list_names(storage_root) == []


def test_a_file_that_is_written_bit_by_bit_is_there_when_all_went_well(storage_root: str) -> None:
    uri = join(storage_root, "folder", "a")
    with contextlib.suppress(KeyError), writing_whole(uri) as file:
        file.write(b"half")
        raise KeyError
    assert list_names(join(storage_root, "folder")) == []
    with writing_whole(uri) as file:
        for _ in range(3):
            file.write(b"part")
    assert read_file(uri) == b"part" * 3
    assert list_names(join(storage_root, "folder")) == ["a"]


def test_a_file_uri_is_the_path_in_it(tmp_path: Path) -> None:
    write_whole(f"file://{tmp_path}/folder/a", b"1")
    assert read_file(f"{tmp_path}/folder/a") == b"1"
    assert list_names(f"file://{tmp_path}/folder") == ["a"]
    remove_file(f"file://{tmp_path}/folder/a")
    assert list_names(f"{tmp_path}/folder") == []


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (["/a", "b"], "/a/b"),
        (["/a/", "b", "c"], "/a/b/c"),
        (["gs://bucket", "b"], "gs://bucket/b"),
        (["gs://bucket/x/", "b"], "gs://bucket/x/b"),
        (["relative", "b"], "relative/b"),
    ],
)
def test_join_puts_one_slash_between(parts: list[str], joined: str) -> None:
    assert join(*parts) == joined


@pytest.mark.parametrize(
    ("uri", "local"), [("/a", True), ("a", True), ("file:///a", True), ("gs://b/a", False)]
)
def test_a_path_and_a_file_uri_are_of_this_machine(uri: str, local: bool) -> None:
    assert is_local(uri) is local


# What goes wrong


def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()  # a folder where the file would go: the last step fails
    (tmp_path / "a" / "inside").write_bytes(b"")
    with pytest.raises(StorageError) as error:
        write_whole(str(tmp_path / "a"), b"new")
    assert fault_of(error) == "storage"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["inside"]


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\n"
        "from runtime.storage import StorageError, write_whole\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))\n"
        "try:\n    write_whole(sys.argv[1], b'x' * 5_000)\n"
        "except StorageError as error:\n    print(error.fault, error.detail)\n"
    )
    said = run_python(code, str(tmp_path / "folder" / "a"))
    assert said.startswith("storage ")
    assert said.endswith("File too large\n")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_file_that_is_being_written_is_not_listed(tmp_path: Path) -> None:
    names: list[list[str]] = []
    written = threading.Event()

    def look() -> None:
        while not written.is_set():
            names.append(list_names(str(tmp_path)))

    looker = threading.Thread(target=look)
    looker.start()
    for number in range(50):
        write_whole(str(tmp_path / f"{number:02d}"), b"x" * 200_000)
    written.set()
    looker.join()
    assert names
    assert all(name.isdigit() for found in names for name in found)


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    uri = str(tmp_path / "a")
    contents = [bytes([letter]) * 100_000 for letter in b"abc"]
    write_whole(uri, contents[0])
    seen: set[bytes] = set()
    written = threading.Event()

    def look() -> None:
        while not written.is_set():
            seen.add(read_file(uri))

    looker = threading.Thread(target=look)
    looker.start()
    for number in range(60):
        write_whole(uri, contents[number % 3])
    written.set()
    looker.join()
    assert seen <= set(contents)
    assert seen


@pytest.mark.parametrize("below", ["file/a", "file/a/b"])
def test_a_file_where_a_folder_should_be_is_a_fault(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        write_whole(str(tmp_path / below), b"x")
    with pytest.raises(StorageError) as error:
        read_file(str(tmp_path / below))
    assert fault_of(error) == "missing"


def test_where_nothing_may_be_written_the_fault_is_one_of_permission(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from runtime.storage import StorageError, list_names, read_file, write_whole\n"
        "os.setuid(65534) if os.getuid() == 0 else None\n"
        "root = sys.argv[1]\n"
        "for act in (lambda: write_whole(root + '/a/b', b''), lambda: read_file(root + '/c'),\n"
        "            lambda: list_names(root)):\n"
        "    try:\n        print(act())\n"
        "    except StorageError as error:\n        print(error.fault)\n"
    )
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / "c").write_bytes(b"")
    locked.chmod(0)
    try:
        assert run_python(code, str(locked)).split() == ["permission"] * 3
    finally:
        locked.chmod(0o700)


def test_a_storage_that_nobody_knows_is_a_fault() -> None:
    with pytest.raises(StorageError) as error:
        read_file("nosuch://bucket/a")
    assert fault_of(error) == "storage"


def run_python(code: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_what_a_killed_process_left_is_never_listed_and_goes_when_it_is_old(tmp_path: Path) -> None:
    old, young = tmp_path / ".writing-old", tmp_path / ".writing-young"
    for path in (old, young):
        path.write_bytes(b"half")
    long_ago = time.time() - storage.LEFTOVER_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    assert list_names(str(tmp_path)) == []
    assert list_files(str(tmp_path)) == []
    write_whole(str(tmp_path / "a"), b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing-young", "a"]


def test_new_folders_are_flushed_to_the_disk_like_what_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power failure takes a file that was said to be there, with its folder."""
    flushed: list[Path] = []
    fsync = os.fsync

    def flush(handle: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", flush)
    write_whole(str(tmp_path / "held" / "queue" / "hook" / "first"), b"1")
    held = tmp_path / "held"
    assert flushed[:3] == [tmp_path, held, held / "queue"]
    assert flushed[3].parent == flushed[4] == held / "queue" / "hook"
    flushed.clear()
    write_whole(str(tmp_path / "held" / "queue" / "hook" / "second"), b"2")
    assert len(flushed) == 2


def test_a_folder_whose_parent_may_not_be_read_is_made_all_the_same(tmp_path: Path) -> None:
    """Root may read everything: then this shows only that nothing else is in the way."""
    tmp_path.chmod(0o300)
    try:
        write_whole(str(tmp_path / "held" / "first"), b"1")
        assert (tmp_path / "held" / "first").read_bytes() == b"1"
    finally:
        tmp_path.chmod(0o700)


def test_a_file_that_is_gone_when_it_is_looked_at_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"1")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # its name is there, and it is not
    assert [file.name for file in list_files(str(tmp_path))] == ["here"]


# Google Cloud Storage, as far as its refusals go


class _Refusing(http.server.BaseHTTPRequestHandler):
    status = 403

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b'{"error": {"code": %d, "message": "no"}}' % self.status
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("status", "fault"),
    [(401, "permission"), (403, "permission"), (404, "missing"), (400, "storage")],
)
def test_a_refusal_of_google_says_whose_fault_it_is(
    status: int, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Refusing, "status", status)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(StorageError) as written:
        write_whole("gs://bucket/a", b"x")
    with pytest.raises(StorageError) as read:
        read_file("gs://bucket/a")
    server.shutdown()
    server.server_close()
    thread.join()
    assert (fault_of(written), fault_of(read)) == (fault, fault)
