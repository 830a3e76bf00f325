"""Google Cloud on loopback: a bucket, and a Dataflow that keeps what is submitted to it."""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock
from urllib.parse import quote

import requests
from apache_beam.internal.gcp import auth
from gcp_storage_emulator.server import create_server

from runtime.object_stores import _GoogleStorage

PROJECT = "project-of-tests"
REGION = "europe-west1"
BUCKET = "bucket-of-tests"
SUBSCRIPTION = f"projects/{PROJECT}/subscriptions/currents"
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/currents/pipeline:1.2.3"

_TIMEOUT = 10


@dataclass
class GoogleCloud:
    """Where the two servers listen, and what Dataflow was sent: (method, path without query, body)."""

    storage: str
    dataflow: str
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    """What a look for jobs finds."""

    def put(self, name: str, content: str) -> str:
        """Write an object; returns its URI."""
        requests.post(
            f"{self.storage}/upload/storage/v1/b/{BUCKET}/o",
            params={"uploadType": "media", "name": name},
            data=content.encode(),
            timeout=_TIMEOUT,
        ).raise_for_status()
        return f"gs://{BUCKET}/{name}"

    def names(self) -> list[str]:
        """What the bucket holds."""
        answer = requests.get(f"{self.storage}/storage/v1/b/{BUCKET}/o", timeout=_TIMEOUT)
        answer.raise_for_status()
        return [item["name"] for item in answer.json().get("items", [])]

    def get(self, name: str) -> bytes:
        answer = requests.get(
            f"{self.storage}/download/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}",
            params={"alt": "media"},
            timeout=_TIMEOUT,
        )
        answer.raise_for_status()
        return answer.content

    def submitted(self) -> dict[str, Any]:
        """The one job that was created."""
        (job,) = [body for method, _, body in self.requests if method == "POST"]
        return dict(job)


def options(cloud: GoogleCloud, *more: str) -> list[str]:
    """What every run on this Google Cloud is started with, besides the connectors file."""
    return [
        *("--subscription", SUBSCRIPTION),
        *("--hold", f"gs://{BUCKET}/held", "--dead_letters", f"gs://{BUCKET}/dead"),
        *("--runner=DataflowRunner", f"--project={PROJECT}", f"--region={REGION}"),
        *("--job_name=currents", f"--temp_location=gs://{BUCKET}/temp"),
        *("--no_auth", f"--dataflow_endpoint={cloud.dataflow}"),
        *more,
    ]


@contextmanager
def google_cloud() -> Iterator[GoogleCloud]:
    """Both servers, with an environment that leads Beam and our storage to them."""
    storage = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    storage.start()
    address = f"http://127.0.0.1:{storage._api._httpd.server_port}"
    cloud = GoogleCloud(address, "")
    dataflow = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(cloud))
    # Beam speaks REST instead of gRPC to an endpoint of this name.
    cloud.dataflow = f"http://localhost:{dataflow.server_port}"
    thread = threading.Thread(target=dataflow.serve_forever, daemon=True)
    thread.start()
    environment = {"STORAGE_EMULATOR_HOST": address, "NO_GCE_CHECK": "true"}
    try:
        _GoogleStorage.clear_instance_cache()
        with (
            mock.patch.dict(os.environ, environment),
            # Beam looks for credentials for 22 seconds, --no_auth or not.
            mock.patch.object(auth._Credentials, "_credentials_init", True),
        ):
            yield cloud
    finally:
        _GoogleStorage.clear_instance_cache()
        dataflow.shutdown()
        dataflow.server_close()
        thread.join()
        storage.stop()


def _handler_of(cloud: GoogleCloud) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

        def do_GET(self) -> None:
            self._note("GET", None)
            self._answer({"jobs": cloud.jobs})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._note("POST", body)
            known = {"id": "job-1", "projectId": PROJECT, "location": REGION}
            self._answer({**body, **known, "currentState": "JOB_STATE_RUNNING"})

        def _note(self, method: str, body: Any) -> None:
            cloud.requests.append((method, self.path.partition("?")[0], body))

        def _answer(self, body: Any) -> None:
            encoded = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

    return Handler


def staged(cloud: GoogleCloud, file: str) -> bytes:
    """The one staged file of this name."""
    (name,) = [name for name in cloud.names() if name.endswith(f"/{file}")]
    return cloud.get(name)


def write_connectors(cloud: GoogleCloud, connectors: Sequence[dict[str, Any]]) -> str:
    """Write a connectors file into the bucket; returns its URI."""
    return cloud.put("connectors.json", json.dumps({"connectors": list(connectors)}))
