"""Object stores keep what the disk keeps, list all of it, and say in time that they are out."""

import contextlib
import http.server
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from runtime import object_stores as stores
from runtime.clock import now_ms
from runtime.storage import (
    StorageError,
    join,
    list_files,
    list_names,
    read_file,
    remove_file,
    write_whole,
)
from tests.runtime.storages import ObjectStores, point_at

NAMES = ["a+b", "a%2Fb", "a%25", "a b", "c+%C3%A9", "é✓", "x?y#z", "q=1&r", "a:b*c|d", ".a", "~a"]


def test_a_name_is_kept_whatever_is_in_it(storage_root: str) -> None:
    for name in NAMES:
        write_whole(join(storage_root, name, name), name.encode())
    assert list_names(storage_root) == sorted(NAMES)
    for name in NAMES:
        uri = join(storage_root, name, name)
        assert list_names(join(storage_root, name)) == [name]
        assert read_file(uri) == name.encode()
        remove_file(uri)
        assert list_names(join(storage_root, name)) == []


# aiohttp warns of it when asyncio's debugging or a test's strictness asks for such warnings.
@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
def test_an_object_of_the_largest_size_is_kept(storage_root: str) -> None:
    content = os.urandom(8_000_000)
    write_whole(join(storage_root, "large"), content)
    assert read_file(join(storage_root, "large")) == content
    assert [file.size for file in list_files(storage_root)] == [8_000_000]


@pytest.mark.parametrize(
    "content", [b"--==0==--", b"a\n--==0==--\nb", b"\r\n--==0==\r\n\r", b"\r\n"]
)
def test_bytes_that_end_a_request_of_some_library_are_kept(
    content: bytes, storage_root: str
) -> None:
    write_whole(join(storage_root, "a"), content)
    assert read_file(join(storage_root, "a")) == content


def test_files_are_listed_with_size_and_time_and_without_folders(storage_root: str) -> None:
    before = now_ms()
    for name, size in (("b", 7), ("a", 0), ("folder/c", 1)):
        write_whole(join(storage_root, name), b"x" * size)
    files = list_files(storage_root)
    assert [(file.name, file.size) for file in files] == [("a", 0), ("b", 7)]
    # S3 tells whole seconds
    assert all(before - 1_000 <= file.modified_ms <= now_ms() for file in files)
    assert list_files(join(storage_root, "none")) == []


@pytest.fixture(params=["gs", "s3"])
def bucket(request: pytest.FixtureRequest, reached: ObjectStores) -> str:
    return reached.make_bucket(request.param)


def put_behind_our_back(stores_reached: ObjectStores, uri: str, content: bytes) -> None:
    """Write an object as another process would, past the clients of this one."""
    kind, path = uri.split("://")
    bucket, name = path.split("/", 1)
    if kind == "gs":
        query = {"uploadType": "media", "name": name}
        address = f"{stores_reached.gs}/upload/storage/v1/b/{bucket}/o"
        made = requests.post(address, params=query, data=content, timeout=10)
    else:
        signed = (
            "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request, "
            "SignedHeaders=host, Signature=0"
        )
        made = requests.put(
            f"{stores_reached.s3}/{path}",
            data=content,
            headers={"Authorization": signed},
            timeout=10,
        )
    made.raise_for_status()


def test_what_another_process_has_written_since_is_seen(bucket: str, reached: ObjectStores) -> None:
    write_whole(f"{bucket}/folder/a", b"1")
    assert list_names(f"{bucket}/folder") == ["a"]
    put_behind_our_back(reached, f"{bucket}/folder/b", b"2")
    assert read_file(f"{bucket}/folder/b") == b"2"
    assert list_names(f"{bucket}/folder") == ["a", "b"]


def test_an_object_that_stands_for_a_folder_is_not_listed(
    bucket: str, reached: ObjectStores
) -> None:
    put_behind_our_back(reached, f"{bucket}/folder/", b" ")
    assert list_names(f"{bucket}/folder") == []
    write_whole(f"{bucket}/folder/a", b"")
    assert list_names(f"{bucket}/folder") == ["a"]
    assert [file.name for file in list_files(f"{bucket}/folder")] == ["a"]


def test_a_bucket_that_is_not_there_is_not_an_empty_one(bucket: str) -> None:
    assert list_names(bucket) == []
    for act in (list_names, list_files, read_file, lambda uri: write_whole(uri, b"x")):
        with pytest.raises(StorageError) as error:
            act(f"{bucket}-not/there")
        assert error.value.fault == "missing"
    with pytest.raises(StorageError, match="there is no bucket"):
        list_names(f"{bucket}-not")


def test_a_listing_of_s3_has_all_its_pages(reached: ObjectStores) -> None:
    bucket = reached.make_bucket("s3")
    names = [f"{number:04d}" for number in range(1_005)]

    def put(name: str) -> None:
        with requests.put(f"{reached.s3}/{bucket[5:]}/all/{name}", timeout=10) as made:
            made.raise_for_status()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, names))
    assert list_names(f"{bucket}/all") == names


# The emulator of Google Cloud Storage knows no pages, no refusals and no silence.


@contextlib.contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answering(http.server.BaseHTTPRequestHandler):
    """Answers JSON to a GET."""

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Paging(_Answering):
    def do_GET(self) -> None:
        page = int(parse_qs(urlsplit(self.path).query).get("pageToken", ["0"])[0])
        names = [f"all/{page}-{number}" for number in range(3)]
        body = {
            "kind": "storage#objects",
            "items": [
                {"name": name, "size": "1", "updated": "2026-01-02T03:04:05.678Z"} for name in names
            ],
            **({"nextPageToken": str(page + 1)} if page < 2 else {}),
        }
        self.answer(200, body)


def test_a_listing_of_google_has_all_its_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(_Paging) as address:
        point_at(ObjectStores(gs=address, s3=address), monkeypatch)
        files = list_files("gs://bucket/all")
    assert [file.name for file in files] == [f"{page}-{at}" for page in range(3) for at in range(3)]
    assert {file.modified_ms for file in files} == {1_767_323_045_678}


class _OnlyBelowFolder(_Answering):
    def do_GET(self) -> None:
        if "prefix=" in self.path:
            self.answer(200, {"kind": "storage#objects"})
        elif "/o/" in self.path:
            self.answer(404, {})
        else:
            self.answer(403, {"error": {"message": "no"}})


def test_who_may_list_only_the_folder_is_not_told_that_the_bucket_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(_OnlyBelowFolder) as address:
        point_at(ObjectStores(gs=address, s3=address), monkeypatch)
        assert list_names("gs://their-bucket/ours") == []


# An outage


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A server that takes connections and says nothing; both kinds of storage lead to it."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        point_at(ObjectStores(gs=address, s3=address), monkeypatch)
        yield listener


def connections_to(listener: socket.socket) -> int:
    """How many connections wait for an answer."""
    listener.setblocking(False)
    number = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            number += 1
    return number


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_store_that_refuses_connections_is_told_in_seconds(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    point_at(ObjectStores(gs=address, s3=address), monkeypatch)
    begun = time.monotonic()
    with pytest.raises(StorageError) as error:
        write_whole(f"{kind}://bucket/a", b"x")
    assert error.value.fault == "storage"
    assert time.monotonic() - begun < 15


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_store_that_says_nothing_is_given_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "CALL_SECONDS", 0.2)
    for act in (read_file, remove_file, lambda uri: write_whole(uri, b"x")):
        with pytest.raises(StorageError) as error:
            act(f"{kind}://bucket/a")
        assert error.value.fault == "storage"


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_listing_that_is_not_answered_is_given_up_after_a_few_tries(
    kind: str, silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "SILENCE_SECONDS", 0.1)
    with pytest.raises(StorageError) as error:
        list_names(f"{kind}://bucket/a")
    assert error.value.fault == "storage"
    assert connections_to(silent) == stores.TRIES


# Credentials


@pytest.mark.usefixtures("silent")
def test_who_has_no_credentials_of_amazon_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(StorageError) as error:
        read_file("s3://bucket/a")
    assert error.value.fault == "permission"


def test_a_client_is_made_once_for_the_same_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    ours, theirs = service_account("ours"), service_account("theirs")
    client = stores.client_of("gs://bucket", ours)
    assert stores.client_of("gs://bucket", ours) is client
    assert stores.client_of("gs://bucket", theirs) is not client


def service_account(name: str) -> str:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return json.dumps(
        {
            "client_email": f"{name}@example.iam.gserviceaccount.com",
            "private_key": pem.decode(),
            "token_uri": "http://127.0.0.1:9/token",
        }
    )


@pytest.mark.parametrize("text", ["s3cret", '{"private_key": "s3cret"}', '["s3cret"]', "3"])
def test_credentials_that_are_none_are_refused_and_not_repeated(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    with pytest.raises(StorageError, match="no service account's JSON") as error:
        read_file("gs://bucket/a", text)
    assert error.value.fault == "permission"
    assert "s3cret" not in str(error.value)
