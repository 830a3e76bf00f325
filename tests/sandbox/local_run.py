"""`./run_local.sh --keep` as a process of its own, less the making of its environment."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

from tests.pipeline.running import eventually

START_SECONDS = 60


class LocalRun:
    """Runs while the `with` block lasts; what it prints is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = ""
        """Of its page."""

    def __enter__(self) -> "LocalRun":
        with self._printed.open("wb") as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.run_local", "--keep", "--folder", self._folder],
                stdout=printed,
                env={**os.environ, "COLUMNS": "120"},
            )
        if not eventually(lambda: "page: " in self.output, START_SECONDS):
            self.__exit__()
            raise AssertionError(f"no page after {START_SECONDS} s: {self.output}")
        self.url = re.findall(r"page: +(\S+)", self.output)[0]
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=90)

    @property
    def output(self) -> str:
        return self._printed.read_text()

    @property
    def state(self) -> Any:
        """What the page is made from."""
        return requests.get(self.url + "_sandbox/state", timeout=10).json()

    def connector(self, name: str) -> Any:
        return next(one for one in self.state["run"]["connectors"] if one["name"] == name)

    @property
    def _printed(self) -> Path:
        return self._folder / "printed"
