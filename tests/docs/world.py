"""Where the commands of our pages are run as they stand there: a shell, and stand-ins at the far ends.

`currents` is a script that lets partners be on this machine and makes a second of half a minute; nothing else
is added to what a page says.
"""

import contextlib
import os
import select
import shlex
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sandbox.partners import PartnerSandbox
from tests.docs.blocks import ROOT, commands_in

ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    # Google's libraries warn of Python versions near the end of their support.
    "PYTHONWARNINGS": "ignore::FutureWarning",
}
QUICK = "--config_refresh 1s --probe_min 1s --probe_max 1s"

_CURRENTS = f"""#!/bin/sh
command=$1
shift
case "$command $*" in
  run*) set -- --allow_local_partners {QUICK} "$@" ;;
  replay*--connectors*) set -- "$@" --allow_local_partners ;;
  check*|explain*|send-test*) set -- "$@" --allow_local_partners ;;
esac
exec {shlex.quote(sys.executable)} -m pipeline "$command" "$@"
"""


class Ran(NamedTuple):
    """A command, and how it ended."""

    command: str
    code: int
    output: str


class Shell:
    """One bash in a folder, as a person has it; close it in the end."""

    def __init__(self, folder: Path, **environment: str) -> None:
        (folder / "bin").mkdir()
        (folder / "bin" / "currents").write_text(_CURRENTS)
        (folder / "bin" / "currents").chmod(0o755)
        self._folder = folder
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                **{name: value for name, value in os.environ.items() if name != "CRM_TOKEN"},
                **ENVIRONMENT,
                **environment,
                "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            },
        )

    def run(self, text: str, seconds: float = 90) -> list[Ran]:
        """Run the commands of a block, one after the other."""
        return [self._run(command, seconds) for command in commands_in(text)]

    def close(self) -> None:
        """End the shell, and the job that a block has started."""
        pid = self._folder / "currents.pid"
        if pid.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid.read_text()), signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()

    def _run(self, command: str, seconds: float) -> Ran:
        assert self._process.stdin
        assert self._process.stdout
        end = f"end-{uuid.uuid4().hex}"
        # The next line of the input must not be the command's.
        self._process.stdin.write(
            f"{{ {command}\n}} < /dev/null\ncode=$?\necho\necho {end} $code\n".encode()
        )
        self._process.stdin.flush()
        output, until = b"", time.monotonic() + seconds
        while end.encode() not in output or not output.endswith(b"\n"):
            left = until - time.monotonic()
            ready, _, _ = select.select([self._process.stdout], [], [], max(0, left))
            assert ready, f"no end in {seconds} s: {command}\n{output.decode()}"
            output += os.read(self._process.stdout.fileno(), 65_536)
        said, _, code = output.decode().rpartition(end)
        return Ran(command, int(code), said.rstrip("\n"))


def connectors_of(example: str, sandbox: PartnerSandbox) -> dict[str, Any]:
    """The connectors of an example, with the stand-ins in place of the partners."""
    document: dict[str, Any] = msgspec.yaml.decode(example)
    for connector in document["connectors"]:
        if connector["kind"] == "postback":
            connector["url"] = sandbox.url(connector["name"])
        else:
            connector["endpoint"] = sandbox.url(connector["name"])
        connector["batch_window"] = "200 ms"
    return document


def write_connectors(path: Path, document: dict[str, Any]) -> None:
    path.write_bytes(msgspec.yaml.encode(document))
