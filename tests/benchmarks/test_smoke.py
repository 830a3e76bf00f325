"""Every command runs, delivers what is due, and writes its figures; in sizes that say nothing.

Most of their time is start-up and waiting, so that they run side by side.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

pytestmark = pytest.mark.slow

STEADY = ["--warm", "0", "--seconds", "1"]
SHORT_BURSTS = ["--every", "1", "--burst", "0.2", "--after", "0.3"]
LOOPS = ["--contenders", "bare loop", "bare loop, checked"]
BARS = ["--contenders", "bare subscriber", "bare subscriber, unary pulls"]
COMMANDS = {
    "relay": ["relay", "--events", "500", "--textbook_events", "200"],
    "postbacks": ["relay", "--postbacks_only", "--events", "500", *LOOPS],
    "connectors": ["connectors", "--copies", "2000", "--connectors", "20", "--shapes", "tenants"],
    "latency": ["latency", "--rates", "50", *STEADY],
    "stream": ["stream", "--events", "200", *BARS],
    "outage": ["outage", "--events", "200", "--probing", "0.5"],
    "isolation": ["isolation", "--events", "200", "--rate", "50", *STEADY, "--faults", "401"],
    "load": ["load", "--events", "500", "--connectors", "50", "--backlog", "500", *SHORT_BURSTS],
    "profile": ["profile", "--events", "500", "--plot", "profile.svg"],
}
SIDE_BY_SIDE = 4

Started = Mapping[str, "Future[subprocess.CompletedProcess[str]]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture(scope="module")
def started(folder: Path) -> Iterator[Started]:
    """All commands, each of which writes to a file of its own."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield {
            name: pool.submit(_run, folder, name, arguments) for name, arguments in COMMANDS.items()
        }


def _run(folder: Path, name: str, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    module, *options = arguments
    options = [str(folder / one) if one.endswith(".svg") else one for one in options]
    return subprocess.run(
        [
            *(sys.executable, "-m", f"benchmarks.{module}"),
            *("--runs", "1", "--json", str(folder / f"{name}.json")),
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def figures_of(started: Started, folder: Path, name: str) -> Any:
    done = started[name].result()
    assert done.returncode == 0, done.stderr
    return json.loads((folder / f"{name}.json").read_text())


def test_relay(started: Started, folder: Path) -> None:
    found = figures_of(started, folder, "relay")
    by_case = {one["case"]: one for one in found["runs"]}
    assert list(by_case) == ["pipeline", "bare loop", "textbook Beam"]
    assert by_case["pipeline"]["copies"] == by_case["bare loop"]["copies"] > 1_400
    assert [ratio["must"] for ratio in found["ratios"]] == [0.7, 8, 300]


def test_relay_of_postbacks_only(started: Started, folder: Path) -> None:
    found = figures_of(started, folder, "postbacks")
    assert [one["copies"] for one in found["runs"]] == [1_500, 1_500]


def test_connectors(started: Started, folder: Path) -> None:
    found = figures_of(started, folder, "connectors")
    assert [one["copies"] for one in found["runs"]] == [2_000]


def test_latency(started: Started, folder: Path) -> None:
    assert figures_of(started, folder, "latency")["runs"][0]["timed"] > 130


def test_stream(started: Started, folder: Path) -> None:
    one, other = (run["copies"] for run in figures_of(started, folder, "stream")["runs"])
    assert one == other > 560


def test_outage(started: Started, folder: Path) -> None:
    assert figures_of(started, folder, "outage")["runs"][0]["files"] == 1


def test_isolation(started: Started, folder: Path) -> None:
    run = figures_of(started, folder, "isolation")["runs"][0]
    assert run["backlog_copies_per_second"] > 0
    assert 0 < run["p50_seconds"] <= run["p99_seconds"]


def test_load(started: Started, folder: Path) -> None:
    run = figures_of(started, folder, "load")["runs"][0]
    assert run["burst_per_second"] > run["quiet_per_second"] > 0
    assert 0 < run["quiet_p50"] <= run["quiet_p99"] <= run["longest"]
    assert 0 < run["burst_p50"] <= run["longest"]
    assert run["early_mb"] > 0


def test_profile(started: Started, folder: Path) -> None:
    stages = figures_of(started, folder, "profile")["runs"][0]["us_per_event"]
    whole = stages.pop("the whole run")
    assert sum(stages.values()) == pytest.approx(whole)
    bars = Xml.parse(folder / "profile.svg").getroot().findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 1 + len(stages)
