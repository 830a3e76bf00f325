"""Runs from a file to the receiver: the pipeline and the bars, measured in the same way."""

import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.events import Due
from benchmarks.partners import SECRETS, connectors_of
from benchmarks.processes import Spent, run_program
from benchmarks.receiver import Counts, Receiver, receiving
from benchmarks.runs import balanced_report, run_command, write_connectors


class FileRun(msgspec.Struct, kw_only=True):
    """What one run took; times in seconds, sizes in MB of 1,000,000 bytes.

    Start-up is what a run over one event took just before, in the same round; it is in `seconds` and
    `cpu_seconds`, and taken out of the figures that are named a second.
    """

    case: str
    round: int
    events: int
    copies: int
    lost: int
    seconds: float
    startup_seconds: float
    cpu_seconds: float
    startup_cpu_seconds: float
    peak_mb: float
    requests: int
    sent_mb: float
    receiver_cpu_seconds: float
    events_per_second: float = 0.0
    copies_per_cpu_second: float = 0.0
    cpu_us_per_copy: float = 0.0

    def __post_init__(self) -> None:
        net_cpu = max(self.cpu_seconds - self.startup_cpu_seconds, 1e-3)
        net_seconds = max(self.seconds - self.startup_seconds, 1e-3)
        self.events_per_second = self.events / net_seconds
        self.copies_per_cpu_second = self.copies / net_cpu
        self.cpu_us_per_copy = net_cpu / max(self.copies, 1) * 1e6

    @property
    def is_short(self) -> bool:
        """Whether it took too little to say anything: start-up varies by tenths of a second."""
        return self.cpu_seconds - self.startup_cpu_seconds < SHORT_SECONDS


SHORT_SECONDS = 1.0


def warnings_of(runs: Iterable[FileRun]) -> list[str]:
    """What to be told of runs that were too short."""
    short = sorted({run.case for run in runs if run.is_short})
    if not short:
        return []
    return [f"Under a second of CPU net of start-up, so take more events: {', '.join(short)}."]


Command = Callable[[Path, Path, Receiver], list[str]]
"""The command of a contender: of a folder of its own, the file of events, and the receiver."""


@dataclass(frozen=True)
class Input:
    """A file of events, and what each connector is due of it."""

    path: Path
    events: int
    due: Mapping[str, Due]


@dataclass(frozen=True)
class Contender:
    """A program that delivers a file of events."""

    name: str
    command: Command
    may_lose: bool = False
    """Whether it goes on if not all has arrived: what is lost is shown."""


def pipeline_contender(name: str, kinds: Mapping[str, str], **settings: Any) -> Contender:
    """The pipeline, with connectors of these kinds by name."""

    def command(folder: Path, events: Path, receiver: Receiver) -> list[str]:
        write_connectors(folder, connectors_of(receiver.url, kinds, **settings))
        return run_command(folder, "--input", str(events))

    return Contender(name, command)


def module_contender(name: str, module: str, *arguments: str, may_lose: bool = False) -> Contender:
    """A bar: a module that takes the file and the receiver's address."""

    def command(_: Path, events: Path, receiver: Receiver) -> list[str]:
        return [sys.executable, "-m", module, str(events), receiver.url, *arguments]

    return Contender(name, command, may_lose)


def measure(contender: Contender, one: Input, given: Input, round_number: int) -> FileRun:
    """Run a contender over one event, for its start-up, and then over what is given."""
    startup, _, _ = _run(contender, one)
    spent, counts, receiver_cpu = _run(contender, given)
    return FileRun(
        case=contender.name,
        round=round_number,
        events=given.events,
        copies=sum(count.events for count in counts.values()),
        lost=_lost(contender, given, counts),
        seconds=spent.seconds,
        startup_seconds=startup.seconds,
        cpu_seconds=spent.cpu_seconds,
        startup_cpu_seconds=startup.cpu_seconds,
        peak_mb=spent.peak_mb,
        requests=sum(count.requests for count in counts.values()),
        sent_mb=sum(count.bytes for count in counts.values()) / 1e6,
        receiver_cpu_seconds=receiver_cpu,
    )


def _run(contender: Contender, given: Input) -> tuple[Spent, Mapping[str, Counts], float]:
    with tempfile.TemporaryDirectory() as name, receiving() as receiver:
        folder = Path(name)
        command = contender.command(folder, given.path, receiver)
        spent = run_program(command, folder / "log", SECRETS)
        if (folder / "report.json").exists():
            balanced_report(folder)
        return spent, receiver.counts(), receiver.cpu_seconds()


def _lost(contender: Contender, given: Input, counts: Mapping[str, Counts]) -> int:
    """How many copies did not arrive; raises SystemExit where that must not be."""
    refused = sum(count.refused for count in counts.values())
    got = {name: Due(count.events, count.ids) for name, count in counts.items()}
    due = {name: due for name, due in given.due.items() if due.events}
    if refused or (got != due and not contender.may_lose):
        raise SystemExit(f"{contender.name}: {refused} refused; due {due}, arrived {got}")
    return sum(found.events for found in due.values()) - sum(one.events for one in got.values())
