"""The local run: Pub/Sub, partners and the pipeline on this machine, fed with sample events.

`./run_local.sh` calls it. Everything is real but the far ends: the pipeline is a process of its
own that reads Pub/Sub and speaks HTTP. A page shows the run while it goes.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sandbox.feed import POISON_ID, SUBSCRIPTION, Feed
from sandbox.local_partners import local_connectors, local_sites, secrets_for
from sandbox.partners import Fault, PartnerSandbox
from sandbox.pubsub import start_pubsub
from sandbox.watching import RunWatch

OWN_FOLDER = ".run_local"
LOCK = "lock"
PAGE_PORT = 8600
"""Where the page is, unless somebody is there: so a page that was left open shows the next run."""
READ_SECONDS = 10.0
"""How long the pipeline has to read the last that was published."""
STOP_SECONDS = 60
LINE_SECONDS = 5.0
"""Between two lines where there is no terminal for a table."""
SEEN_SECONDS = 1.5
"""How long an open page has to see how the run ended."""
QUICK_PROBES = ("--probe_min", "2", "--probe_max", "5")
"""So that one who watches sees within seconds that a partner is back."""

Report = Mapping[str, Any]


def main() -> int:
    """Run it; returns 0 when every event is accounted for."""
    arguments = _arguments()
    folder = Path(arguments.folder or OWN_FOLDER).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 120)
    with _alone_in(folder), start_pubsub() as pubsub, _partners() as partners:
        if arguments.folder is None:
            _empty(folder)
        (folder / "report.json").unlink(missing_ok=True)
        os.environ["PUBSUB_EMULATOR_HOST"] = pubsub.address
        if not arguments.keep:
            partners.set_fault("crm-hook", Fault(reject_ids=frozenset({POISON_ID})))
        connectors = local_connectors(folder, partners, to_watch=arguments.keep)
        (folder / "connectors.json").write_text(json.dumps({"connectors": connectors}, indent=1))
        with Feed() as feed, RunWatch(folder, partners, connectors, feed) as watch:
            partners.tell_run(watch.state)
            console.print(f"Pub/Sub: {pubsub.name} at {pubsub.address}")
            console.print(f"page:    {partners.page_url}", style="bold")
            with _pipeline(folder, {**os.environ, **secrets_for(partners)}, arguments) as process:
                run = _LocalRun(console, folder, arguments, feed, watch, process)
                code = run.follow_to_its_end()
            report = _read_report(folder) or {}
            console.print(_table(report, "What became of every event"))
            return _verdict(console, report, folder, feed.published, code)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run_local.sh", description=__doc__)
    add = parser.add_argument
    add("--keep", action="store_true", help="publish events, and stay up, until Ctrl-C")
    add("--events", type=int, help="sample events at the start: 20000, with --keep 200")
    add("--rate", type=float, default=60, help="events a second after those, with --keep: 60")
    add("--folder", help=f"where files are written and stay: {OWN_FOLDER}, which is emptied first")
    add("--seconds", type=float, default=100, help="give up after this long, without --keep")
    arguments = parser.parse_args()
    if arguments.events is None:
        arguments.events = 200 if arguments.keep else 20_000
    return arguments


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Two runs would deliver what the other holds, and neither's books would balance."""
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another local run has {folder}: end it, or give this one a --folder")
        yield


def _empty(folder: Path) -> None:
    """Take away what an earlier run has left."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


@contextmanager
def _partners() -> Iterator[PartnerSandbox]:
    """The partners at the usual port, or at any where that is taken."""
    with ExitStack() as stack:
        try:
            partners = stack.enter_context(_sandbox(PAGE_PORT))
        except OSError:
            partners = stack.enter_context(_sandbox(0))
        yield partners


def _sandbox(port: int) -> PartnerSandbox:
    return PartnerSandbox(local_sites(), port, keep_ids=False)


@contextmanager
def _pipeline(
    folder: Path, environment: Mapping[str, str], arguments: argparse.Namespace
) -> Iterator["subprocess.Popen[bytes]"]:
    """The pipeline as a process of its own; it is ended when we leave, whatever happens."""
    command = [
        *(sys.executable, "-m", "pipeline", "run", "--allow_local_partners"),
        *("--connectors", str(folder / "connectors.json"), "--subscription", SUBSCRIPTION),
        *("--hold", str(folder / "held"), "--dead_letters", str(folder / "dead-letters")),
        *("--report", str(folder / "report.json"), "--report_every", "1"),
        *(QUICK_PROBES if arguments.keep else ()),
    ]
    with (folder / "pipeline.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=dict(environment), stderr=log, stdout=log, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


@dataclass(frozen=True)
class _LocalRun:
    """A pipeline that was started, and who feeds and watches it."""

    console: Console
    folder: Path
    arguments: argparse.Namespace
    feed: Feed
    watch: RunWatch
    process: "subprocess.Popen[bytes]"

    def follow_to_its_end(self) -> int:
        """Publish, follow, and end it when that is due; returns its exit code."""
        try:
            self.feed.publish_samples(self.arguments.events)
            if self.arguments.keep:
                self._follow(lambda _: self.watch.phase == "running")
                self.feed.keep_publishing(self.arguments.rate)
                self._follow(lambda _: False)
                self._stay()
            else:
                self._follow(self._is_whole, self.arguments.seconds)
        except KeyboardInterrupt:
            self.console.print("stopping: what is under way is delivered or held")
        with _undisturbed():
            return self._end()

    def _follow(self, is_over: Callable[[Report], bool], seconds: float | None = None) -> None:
        """Show the report while it grows: until the pipeline ends, it is over, or time is up."""
        give_up_at = time.monotonic() + (seconds or float("inf"))
        report: Report = {}
        line, line_at = "", 0.0
        with Live(console=self.console, refresh_per_second=4, transient=True) as live:
            while self.process.poll() is None and time.monotonic() < give_up_at:
                report = _read_report(self.folder) or report
                title = f"{report.get('received', 0):,} of {self.feed.published:,} received"
                if self.console.is_terminal:
                    live.update(_table(report, title))
                elif title != line and time.monotonic() >= line_at:
                    self.console.print(title)
                    line, line_at = title, time.monotonic() + LINE_SECONDS
                if is_over(report):
                    return
                time.sleep(0.25)

    def _is_read(self, report: Report) -> bool:
        return bool(report.get("received", 0) >= self.feed.published)

    def _is_whole(self, report: Report) -> bool:
        return bool(report.get("balanced")) and self._is_read(report)

    def _stay(self) -> None:
        """The pipeline has ended by itself, which the page shows until Ctrl-C."""
        code = self.process.wait()
        self.feed.stop()
        self.watch.enter("ended", code)
        self.console.print(f"the pipeline has ended: exit code {code}; Ctrl-C ends the rest")
        while True:
            signal.pause()

    def _end(self) -> int:
        """Have read what was published, and the pipeline ended."""
        self.feed.stop()
        if self.process.poll() is None:
            self.watch.enter("stopping")
            self._follow(self._is_read, READ_SECONDS)
        code = self._stop()
        self.watch.enter("ended", code)
        self.watch.wait_until_told(SEEN_SECONDS)
        return code

    def _stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ending takes seconds: another Ctrl-C must not cost the books."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _read_report(folder: Path) -> Report | None:
    try:
        report: Report = json.loads((folder / "report.json").read_text())
    except FileNotFoundError:
        return None
    return report


def _table(report: Report, title: str) -> Table:
    table = Table(title=title)
    table.add_column("connector", no_wrap=True)
    names = ("offered", "delivered", "filtered", "dead", "held", "requests", "kilobytes")
    for name in (*names, "balanced"):
        table.add_column(name, justify="right")
    for name, connector in report.get("connectors", {}).items():
        fates = [connector["delivered"], sum(connector["filtered"].values())]
        fates += [sum(connector["dead"].values()), connector["held"]]
        balanced = connector["offered"] + connector["adopted"] == sum(fates)
        counts = [connector["offered"], *fates, connector["requests"], connector["bytes"] // 1_000]
        mark = "yes" if balanced else "not yet"
        table.add_row(f"{name} ({connector['kind']})", *(f"{count:,}" for count in counts), mark)
    return table


def _verdict(console: Console, report: Report, folder: Path, published: int, code: int) -> int:
    received, invalid = report.get("received", 0), report.get("invalid", 0)
    console.print(f"published {published}, received {received}, invalid {invalid}")
    if code in (0, 3) and report.get("balanced") and received >= published:
        console.print("[green]the books balance[/green]")
        return 0
    console.print(f"[red]the books do not balance[/red] (exit code of the pipeline: {code})")
    console.print(f"see {folder / 'pipeline.log'}")
    return 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # the former is ignored behind a shell's `&`
        signal.signal(number, _interrupt)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped before the run had begun")
