"""Processes of their own: servers that end with the benchmark, and programs whose cost is measured."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

_LOOK_SECONDS = 0.05
_LIST_SECONDS = 1.0
"""How often children are looked for, which takes a look at each thread."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Spent(msgspec.Struct):
    """What a program and its children took, from its start to its end.

    Memory is the peak of resident memory in MB of 1,000,000 bytes, of program and children together;
    it is looked at every 50 ms, so what grows at the very end is missed, and a child of under a second.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float


class Program:
    """A program under test, running."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **(environment or {})},
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        self._started = time.monotonic()
        self._peaks: dict[int, int] = {}
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended; it stays to be waited for."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if self._process.returncode is not None:
            return False
        return os.waitid(os.P_PID, self._process.pid, options) is None

    @property
    def code(self) -> int | None:
        """Its exit code, once it was waited for."""
        return self._process.returncode

    def cpu_seconds(self) -> float:
        """What it and the children that it has waited for have taken so far."""
        return cpu_seconds_of(self._process.pid)

    def resident_mb(self) -> float:
        """Its resident memory now, in MB of 1,000,000 bytes."""
        return _status_kb(self._process.pid, "VmRSS:") * 1_024 / 1e6

    def signal(self, number: int) -> None:
        if self.is_running:
            self._process.send_signal(number)

    def wait(self) -> Spent:
        """Wait for its end."""
        _, status, usage = os.wait4(self._process.pid, 0)
        seconds = time.monotonic() - self._started
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()
        self._watcher.join()
        peak = sum(self._peaks.values()) * 1_024 / 1e6
        return Spent(seconds, usage.ru_utime + usage.ru_stime, peak)

    def kill(self) -> None:
        """End it, if it still runs, and wait for it."""
        if self._process.returncode is None:
            self._process.kill()
            self.wait()

    def said(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-2_000:]

    def _watch(self) -> None:
        """Note the peaks; `ru_maxrss` will not do: a child's begins with that of its parent."""
        family: list[int] = []
        list_at = 0.0
        while not self._ended.wait(_LOOK_SECONDS):
            if time.monotonic() >= list_at:
                family = list(_family(self._process.pid))
                list_at = time.monotonic() + _LIST_SECONDS
            for pid in family:
                self._peaks[pid] = max(self._peaks.get(pid, 0), _status_kb(pid, "VmHWM:"))


def run_program(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    codes: Sequence[int] = (0,),
) -> Spent:
    """Run a program to its end; raises SystemExit with what it wrote where it fails."""
    program = Program(command, log, environment)
    try:
        spent = program.wait()
    finally:
        program.kill()
    if program.code not in codes:
        raise SystemExit(f"{' '.join(command)} ended with {program.code}:\n{program.said()}")
    return spent


@contextlib.contextmanager
def serve_module(module: str) -> Iterator[Mapping[str, Any]]:
    """A module of ours as a server: yields the line of JSON in which it says where it is, with its `pid`.

    It ends with its input.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield {**json.loads(_first_line(process)), "pid": process.pid}
    finally:
        process.communicate()


def _first_line(process: "subprocess.Popen[bytes]") -> bytes:
    return process.stdout.readline() if process.stdout else b""


def cpu_seconds_of(pid: int) -> float:
    """What a running process and the children that it has waited for have taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _family(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


def _status_kb(pid: int, name: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0
