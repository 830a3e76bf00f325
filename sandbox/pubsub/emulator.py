"""Google's Pub/Sub emulator: where it is on this machine, its start and its stop."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, ClassVar

HOST = "127.0.0.1"
START_SECONDS = 30.0
_POLL_SECONDS = 0.05
_JARS = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
# A small heap and quick start rather than peak speed: it shares the machine with what it tests.
_JAVA_FLAGS = ("-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class GoogleEmulator:
    """Runs the emulator while the `with` block lasts; it keeps all in memory.

    The JVM is started directly: to stop gcloud's wrapper would leave it behind. On Linux it is
    killed as well when the *thread* that started it ends, and so with this process.
    """

    name: ClassVar[str] = "google emulator"

    def __init__(self, jar: Path, java: Path) -> None:
        self._jar = jar
        self._java = java
        self._port = 0

    @classmethod
    def find(cls) -> "GoogleEmulator | None":
        """The newest emulator of the Google Cloud SDKs here; None without one or without a Java."""
        jars = [jar for sdk in _sdks() for jar in sdk.glob(_JARS)]
        java = shutil.which("java")
        if not jars or java is None:
            return None
        return cls(max(jars, key=_version), Path(java))

    def __enter__(self) -> "GoogleEmulator":
        self._port = _free_port()
        with tempfile.TemporaryFile() as log:
            self._process = self._start(log)
            try:
                self._wait_until_ready(log)
            except BaseException:
                self._stop()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def address(self) -> str:
        """What PUBSUB_EMULATOR_HOST takes."""
        return f"{HOST}:{self._port}"

    def _start(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        arguments = [f"--host={HOST}", f"--port={self._port}"]
        return subprocess.Popen(  # no shell, and only paths that were found
            [*_guard(), str(self._java), *_JAVA_FLAGS, "-jar", str(self._jar), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _wait_until_ready(self, log: IO[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                text = log.read().decode(errors="replace")[-2_000:]
                raise RuntimeError(f"the emulator did not start on {self.address}: {text}")
            time.sleep(_POLL_SECONDS)

    def _is_ready(self) -> bool:
        # Not urllib: it would ask a proxy that the environment names.
        with closing(HTTPConnection(HOST, self._port, timeout=1)) as connection:
            try:
                connection.request("GET", "/")
                return connection.getresponse().read().strip() == b"Ok"
            except (OSError, HTTPException):
                return False

    def _stop(self) -> None:
        # Nothing of it is to be kept, so there is nothing to wait for.
        self._process.kill()
        self._process.wait()


def _sdks() -> Iterator[Path]:
    if root := os.environ.get("CLOUDSDK_ROOT_DIR"):
        yield Path(root)
    if gcloud := shutil.which("gcloud"):
        yield Path(gcloud).resolve().parent.parent
    yield Path("/usr/lib/google-cloud-sdk")
    yield Path.home() / "google-cloud-sdk"


def _version(jar: Path) -> list[int]:
    return [int(part) for part in jar.name.split("-")[3].split(".") if part.isdigit()]


def _guard() -> list[str]:
    """What makes the kernel kill a child whose parent is gone; it becomes the child itself."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
