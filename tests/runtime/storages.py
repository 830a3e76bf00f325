"""Every kind of storage, as tests use it: the local disk, and object stores that run in the test's process.

Tests below this folder have the fixtures by way of conftest.py.
"""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest
import requests
from gcp_storage_emulator.server import create_server
from moto.server import ThreadedMotoServer

from runtime.object_stores import _GoogleStorage

KINDS = ["disk", "gs", "s3"]

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_GCE_CHECK": "true",
}
"""Nobody's keys, and no look at the metadata server that a machine in a cloud would have."""


@dataclass(frozen=True)
class ObjectStores:
    """Where the two servers listen."""

    gs: str
    s3: str

    def make_bucket(self, kind: str) -> str:
        """Make an empty bucket and return its URI."""
        name = f"test-{uuid.uuid4().hex}"
        if kind == "gs":
            made = requests.post(f"{self.gs}/storage/v1/b", json={"name": name}, timeout=10)
        else:
            made = requests.put(f"{self.s3}/{name}", timeout=10)
        made.raise_for_status()
        return f"{kind}://{name}"


@pytest.fixture(scope="session")
def object_stores() -> Iterator[ObjectStores]:
    """An emulator of Google Cloud Storage and one of S3, on loopback."""
    google = create_server("127.0.0.1", 0, in_memory=True)
    google.start()
    amazon = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    amazon.start()
    yield ObjectStores(
        gs=f"http://127.0.0.1:{google._api._httpd.server_port}",
        s3="http://{}:{}".format(*amazon.get_host_and_port()),
    )
    forget_clients()
    google.stop()
    amazon.stop()


@pytest.fixture
def reached(object_stores: ObjectStores, monkeypatch: pytest.MonkeyPatch) -> ObjectStores:
    """The object stores, with the environment that leads to them."""
    point_at(object_stores, monkeypatch)
    return object_stores


@pytest.fixture(params=KINDS)
def storage_root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder or bucket of each kind of storage."""
    if request.param == "disk":
        return str(tmp_path / "root")
    stores: ObjectStores = request.getfixturevalue("reached")
    return f"{stores.make_bucket(request.param)}/some/folder"


def point_at(stores: ObjectStores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the storage libraries to these addresses."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", stores.gs)
    monkeypatch.setenv("AWS_ENDPOINT_URL", stores.s3)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    if _Led.to != stores:
        forget_clients()
        _Led.to = stores


class _Led:
    """Where the clients that fsspec keeps were led."""

    to: ObjectStores | None = None


def forget_clients() -> None:
    """Make the next call look at the environment again."""
    _Led.to = None
    for library in (_GoogleStorage, fsspec.get_filesystem_class("s3")):
        library.clear_instance_cache()
