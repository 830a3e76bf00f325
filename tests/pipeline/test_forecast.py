"""A dry run counts what a run over files would send, and sends and writes nothing."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sandbox.samples import sample_event
from tests.pipeline.running import write_connectors

DAY = 86_400
EMAIL = "users.messages.email.Open"
FEEDS = {"unbound": {"key": "env:KEY", "secret": "env:SECRET"}}
CONNECTORS: list[dict[str, Any]] = [
    {"name": "mobile", "kind": "mparticle", "feeds": FEEDS},
    {"name": "off", "kind": "postback", "url": "https://off.example.com", "enabled": False},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_connectors(tmp_path, CONNECTORS)
    now = int(time.time())
    ages = [0, 2 * DAY, 4 * DAY, 29 * DAY, 31 * DAY]
    events = [sample_event(EMAIL, seed=n, time=now - age) for n, age in enumerate(ages)]
    events += [sample_event("users.behaviors.CustomEvent", time=now)]
    events += [
        sample_event(EMAIL, seed=n, properties={f"p{k}": "x" * 4_000 for k in range(40)})
        for n in range(2)
    ]
    lines = [json.dumps(event) for event in events]
    (tmp_path / "events.ndjson").write_text("\n".join([*lines, "no event"]))
    return tmp_path


def currents(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        env={"PATH": "", "KEY": "k", "SECRET": "s", "PYTHONPATH": str(Path.cwd())},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


OLD = [
    "        2  over 72 hours old, for which mParticle has a path (see --historical)",
    "        1  over 30 days old, which mParticle advises against (see --historical)",
]


def told(*ages: str) -> list[str]:
    return [
        "9 messages, of which 1 are no events",
        "        1  invalid_json",
        "mobile: 5 of 8 would be sent",
        "        1  unsupported",
        "        2  too_large",
        *sorted(ages, key=lambda line: line.split("  ")[-1]),
        "off: 0 of 8 would be sent",
        "        8  disabled",
    ]


@pytest.mark.parametrize(("options", "old"), [([], OLD), (["--historical"], [])])
@pytest.mark.parametrize("command", ["run", "check"])
def test_events_are_counted_by_connector_reason_and_age(
    folder: Path, command: str, options: list[str], old: list[Any]
) -> None:
    given = {"run": ["--connectors", "connectors.json", "--dry_run"], "check": ["connectors.json"]}
    before = sorted(folder.rglob("*"))
    ended = currents(folder, command, *given[command], "--input", "events.ndjson", *options)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[-len(told(*old)) :] == told(*old)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--connectors", "connectors.json", "--dry_run", "--input", "events.ndjson.gz"],
        ["check", "connectors.json", "--input", "events.ndjson.gz"],
    ],
)
def test_a_file_that_is_damaged_is_named(folder: Path, arguments: list[str]) -> None:
    (folder / "events.ndjson.gz").write_bytes(b"\x1f\x8b damaged")
    ended = currents(folder, *arguments)
    assert ended.returncode == 1
    assert "events.ndjson.gz" in ended.stdout


def test_a_dry_run_wants_input(folder: Path) -> None:
    ended = currents(folder, "run", "--connectors", "connectors.json", "--dry_run")
    assert ended.returncode == 2
    assert "--input" in ended.stderr


def test_a_pattern_that_matches_nothing_is_bad_usage(folder: Path) -> None:
    ended = currents(folder, "check", "connectors.json", "--input", "none*")
    assert ended.returncode == 2
    assert "none*" in ended.stderr
