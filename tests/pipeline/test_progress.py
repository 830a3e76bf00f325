"""Progress: a table that stays in place on a terminal, lines elsewhere, and both say what is so."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest
from rich.console import Console

from pipeline.progress import Goal, Look, Progress
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.samples import sample_events
from schemas.report import ConnectorReport, Report
from tests.pipeline.running import command, report_of, run_files, write_connectors

EVENTS = list(sample_events(2_000, seed=9))
COLUMNS, LINES = 100, 24


def report(received: int, **connectors: ConnectorReport) -> Report:
    return Report("", "", "FnApiRunner", received, 0, connectors, True)


def hook(delivered: int, held: int = 0) -> ConnectorReport:
    state = "holding" if held else "healthy"
    return ConnectorReport(
        "postback", state, True, delivered + held, delivered=delivered, held=held
    )


def drawn(progress: Progress, height: int = LINES) -> list[str]:
    console = Console(width=COLUMNS, height=height)
    with console.capture() as capture:
        console.print(progress.table(height))
    return capture.get().splitlines()


# What is said


def test_what_is_left_is_reckoned_from_the_last_seconds() -> None:
    progress = Progress(Goal(1_000_000, "bytes"))
    progress.take(Look(100.0, report(0), 0, {}))
    assert progress.line() == "read 0% of 1.0 MB, received 0, delivered 0, held 0, dead 0"
    progress.take(Look(104.0, report(100, hook=hook(80, held=20)), 200_000, {}))
    assert progress.line() == (
        "read 20% of 1.0 MB, 16 s left, received 100, delivered 80, held 20, dead 0"
    )
    progress.take(Look(114.0, report(200, hook=hook(180, held=20)), 300_000, {}))  # it got slower
    assert "read 30% of 1.0 MB, 1 min left" in progress.line()
    progress.take(Look(120.0, report(200, hook=hook(200)), 1_000_000, {}))
    assert progress.line() == "read 100% of 1.0 MB, received 200, delivered 200, held 0, dead 0"


def test_a_replay_goes_by_events() -> None:
    progress = Progress(Goal(2_000, "events"))
    progress.take(Look(1.0, report(500), 500, {}, stopping=True))
    assert progress.line() == (
        "stopping: what was read is delivered or held, read 25% of 2,000 events, "
        "received 500, delivered 0, held 0, dead 0"
    )


def test_a_rate_is_what_was_delivered_in_the_last_seconds() -> None:
    progress = Progress(None)
    for second in range(0, 60, 2):
        delivered = 10 * second if second < 30 else 300 + 100 * (second - 30)
        progress.take(Look(second, report(delivered, hook=hook(delivered)), 0, {}))
    (row,) = [line for line in drawn(progress) if "hook" in line]
    assert row.split() == ["hook", "(postback)", "healthy", "3,100", "100", "0", "0", "0"]


def test_a_suspended_lane_shows_at_its_connector() -> None:
    progress = Progress(None)
    books = report(5, hook=hook(0, held=5), other=hook(5))
    progress.take(Look(1.0, books, 0, {"hook": "suspended"}))
    assert [line.split()[2] for line in drawn(progress) if "postback" in line] == [
        "suspended",
        "healthy",
    ]


def test_a_terminal_that_is_too_small_shows_first_what_is_in_trouble() -> None:
    progress = Progress(Goal(10, "events"))
    connectors = {f"c-{number}": hook(number) for number in range(500)}
    connectors["c-7"] = hook(0, held=7)
    progress.take(Look(1.0, report(1, **connectors), 1, {"c-400": "suspended"}))
    lines = drawn(progress)
    assert len(lines) < LINES
    named = [line.split()[0] for line in lines if "postback" in line]
    assert named[:4] == ["c-400", "c-7", "c-499", "c-498"]
    assert f"and {500 - len(named)} more connectors" in lines
    assert len(drawn(progress, height=5)) > 0


def test_what_proves_no_delivery_is_marked() -> None:
    progress = Progress(None)
    segment = ConnectorReport("segment", "healthy", False, 5, delivered=5)
    progress.take(Look(1.0, report(5, a=segment, b=hook(5)), 0, {}))
    lines = drawn(progress)
    assert [line.split()[3] for line in lines if "healthy" in line] == ["5*", "5"]
    assert "* answered as delivered whatever the partner keeps" in lines


# A run on a terminal


class Terminal:
    """A process on a terminal of its own, and all that it wrote there."""

    def __init__(self, arguments: list[str]) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._ours = ours
        self.process = subprocess.Popen(
            arguments,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(theirs)

    def written(self) -> bytes:
        """What it writes, to its end."""
        chunks: list[bytes] = []
        with contextlib.suppress(OSError):  # the end, as Linux tells it
            while chunk := os.read(self._ours, 65_536):
                chunks.append(chunk)
        os.close(self._ours)
        self.process.wait(timeout=60)
        return b"".join(chunks)


def screen_of(written: bytes) -> list[str]:
    """What a person sees in the end."""
    screen = pyte.Screen(COLUMNS, LINES)
    pyte.ByteStream(screen).feed(written)
    return [line.rstrip() for line in screen.display if line.strip()]


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite(), "down": PostbackSite()}) as running:
        running.set_fault("down", Fault(status=503))
        yield running


@pytest.fixture
def folder(tmp_path: Path, sandbox: PartnerSandbox) -> Path:
    """A run that has to say something while it goes on: a file is damaged, a partner is down."""
    write_connectors(
        tmp_path,
        [
            {"name": name, "kind": "postback", "url": sandbox.url(name), "max_events": 40}
            for name in ("hook", "down")
        ],
    )
    (tmp_path / "a.ndjson.gz").write_bytes(b"not gzipped")
    (tmp_path / "b.ndjson").write_bytes(b"\n".join(EVENTS))
    return tmp_path


def test_on_a_terminal_a_table_stays_in_place_and_log_lines_go_above_it(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(delay_seconds=0.5))
    written = Terminal(command(folder, "--input", str(folder / "?.ndjson*"))).written()
    assert written.count(b"connector") > 2  # it was drawn again and again
    lines = screen_of(written)
    (title,) = [at for at, line in enumerate(lines) if line.split()[:2] == ["connector", "state"]]
    (damaged,) = [at for at, line in enumerate(lines) if "cannot be read" in line]
    assert damaged < title
    rows = {line.split()[0]: line.split()[2:] for line in lines if "(postback)" in line}
    assert rows["hook"][:2] == ["healthy", "2,000"]
    assert [rows["down"][at] for at in (0, 1, 3)] == ["holding", "0", "2,000"]
    assert written.endswith(b"\n")
    assert written.rfind(b"\x1b[?25h") > written.rfind(b"\x1b[?25l")  # the cursor is there again


def test_on_a_dumb_terminal_there_are_lines(folder: Path) -> None:
    started = command(folder, "--input", str(folder / "b.ndjson"))
    written = Terminal(["env", "TERM=dumb", *started]).written()
    assert b"\x1b" not in written
    assert b"INFO pipeline.display: read 100% of " in written


def test_without_a_terminal_there_are_lines(folder: Path) -> None:
    ended = run_files(folder, folder / "b.ndjson", environment={"FORCE_COLOR": "1"})
    assert ended.stdout == ""
    assert "\x1b" not in ended.stderr
    told = [line for line in ended.stderr.splitlines() if "pipeline.display" in line]
    assert told[-1].endswith("received 2000, delivered 2000, held 2000, dead 0")
    assert "read 100% of " in told[-1]


def test_a_pipe_that_nobody_reads_costs_no_event(folder: Path) -> None:
    started = command(folder, "--input", str(folder / "?.ndjson*"))
    with subprocess.Popen(started, stderr=subprocess.PIPE) as process:
        assert process.stderr
        process.stderr.close()
        assert process.wait(timeout=60) == 1  # for the damaged file
    assert report_of(folder)["connectors"]["hook"]["delivered"] == len(EVENTS)


def test_a_terminal_that_is_closed_costs_no_event(folder: Path, sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(delay_seconds=0.5))
    ours, theirs = pty.openpty()
    started = command(folder, "--input", str(folder / "b.ndjson"))
    ignoring = [sys.executable, "-c", _IGNORE_HANGUP, *started]
    with subprocess.Popen(ignoring, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        while b"connector" not in os.read(ours, 65_536):
            pass
        os.close(ours)
        assert process.wait(timeout=60) == 3
    assert report_of(folder)["connectors"]["hook"]["delivered"] == len(EVENTS)


_IGNORE_HANGUP = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""
