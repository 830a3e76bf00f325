"""The command line, each command as a process of its own: what it prints and how it ends."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.connectors import connectors_schema
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.samples import sample_events
from tests.pipeline.running import (
    dead_letters,
    held_events,
    ids_of,
    report_of,
    run_files,
    write_connectors,
)

ROOT = Path(__file__).parents[2]
SECRET = "sk_live_4711"
EVENTS = list(sample_events(120, seed=11))


def currents(
    folder: Path, *arguments: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run the program in `folder`, to its end."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("CURRENTS_")}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder,
        env={
            **known,
            "PYTHONPATH": str(ROOT),
            # Google's libraries warn of Python versions near the end of their support.
            "PYTHONWARNINGS": "ignore::FutureWarning",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def hook(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "kind": "postback", "url": f"https://{name}.example.com/", **settings}


def segment(name: str) -> dict[str, Any]:
    return {"name": name, "kind": "segment", "write_key": f"env:CURRENTS_{name.upper()}"}


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox(
        {"hook": PostbackSite(), "secured": PostbackSite(token="right")}
    ) as running:
        yield running


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"\n".join([*EVENTS, b"nope"]) + b"\n")
    return path


# check and schema


def test_check_of_a_valid_file_says_how_many_connectors_there_are(tmp_path: Path) -> None:
    write_connectors(tmp_path, [hook("a"), hook("b", token="env:CURRENTS_NEVER_SET")])
    ended = currents(tmp_path, "check", "connectors.json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("2 connectors, version ")
    assert ended.stdout.endswith(": all valid\n")


def test_check_says_each_problem_in_a_line_and_ends_with_2(tmp_path: Path) -> None:
    write_connectors(
        tmp_path,
        [hook("a", token=SECRET), hook("b"), hook("c", shards=0), hook("d", kind="postbak")],
    )
    ended = currents(tmp_path, "check", "connectors.json")
    assert (ended.returncode, ended.stdout) == (2, "")
    lines = ended.stderr.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "connector 'a'",
        "connector 'c'",
        "connector 'd'",
    ]
    assert lines[1] == "connector 'c': shards: found 0; allowed: at least 1 and at most 1000"
    assert SECRET not in ended.stderr


def test_check_tells_programs_the_same_in_one_object(tmp_path: Path) -> None:
    write_connectors(tmp_path, [segment("a"), segment("b")])
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(EVENTS))
    ended = currents(tmp_path, "check", "connectors.json", "--json", "--input", "*.ndjson")
    found = json.loads(ended.stdout)
    assert (ended.returncode, found["valid"], found["connectors"]) == (0, True, ["a", "b"])
    assert len(found["warnings"]) == 1
    forecast = found["forecast"]["connectors"]["a"]
    assert forecast["offered"] == 120
    assert forecast["to_send"] + sum(forecast["filtered"].values()) == 120
    write_connectors(tmp_path, [hook("c", shards=0)])
    refused = currents(tmp_path, "check", "connectors.json", "--json")
    found = json.loads(refused.stdout)
    assert (refused.returncode, found["valid"]) == (2, False)
    (problem,) = found["problems"]
    assert (problem["connector"], problem["field"]) == ("c", "shards")


def test_check_of_a_file_that_is_not_there_ends_with_2(tmp_path: Path) -> None:
    ended = currents(tmp_path, "check", "none.yaml")
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert line == (
        "connectors file: cannot be read: missing: none.yaml: No such file or directory"
    )


def test_check_warns_of_segment_connectors_that_overlap(tmp_path: Path) -> None:
    write_connectors(tmp_path, [segment("a"), segment("b")])
    ended = currents(tmp_path, "check", "connectors.json")
    assert ended.returncode == 0
    (line,) = ended.stderr.splitlines()
    assert line.startswith("warning: connector 'b': app_group_ids: overlaps with")
    assert ended.stdout.startswith("2 connectors")


def test_check_takes_plain_http_where_a_network_is_opened(tmp_path: Path) -> None:
    write_connectors(tmp_path, [hook("a", url="http://10.0.0.1/x")])
    assert currents(tmp_path, "check", "connectors.json").returncode == 2
    opened = currents(tmp_path, "check", "connectors.json", "--allow_network", "10.0.0.0/8")
    assert opened.returncode == 0
    wrong = currents(tmp_path, "check", "connectors.json", "--allow_network", "ten")
    assert wrong.returncode == 2
    assert "'ten' does not appear to be an IPv4 or IPv6 network" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_schema_prints_the_json_schema_of_the_file(tmp_path: Path) -> None:
    ended = currents(tmp_path, "schema")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == connectors_schema()


# run: what cannot be run is told in a line, and nothing is read

PLACES = ("--hold", "held", "--dead_letters", "dead")
GIVEN = ("--connectors", "connectors.json", "--report", "report.json", "--allow_local_partners")
SUBSCRIPTION = ("--subscription", "projects/my-project/subscriptions/s")

REFUSALS: dict[str, tuple[tuple[str, ...], str]] = {
    "no connectors": (
        ("--input", "events.ndjson", *PLACES),
        "--connectors is missing: the file that says who gets which events",
    ),
    "no such connectors": (
        ("--connectors", "none.yaml", "--input", "events.ndjson"),
        "connectors file: cannot be read: missing: none.yaml: No such file or directory",
    ),
    "unknown option": (
        (*GIVEN, "--input", "events.ndjson", f"--api_key={SECRET}"),
        "unknown option --api_key; see currents run --help",
    ),
    "stray word": (
        ("events.ndjson", *GIVEN),
        "unknown option events.ndjson; see currents run --help",
    ),
    "wrong value": (
        (*GIVEN, "--config_refresh", "soon"),
        (
            "argument --config_refresh: a length of time is 10, '10 s', '5 min' or '48h'; "
            "found 'soon'"
        ),
    ),
    "wrong value of Beam's": (
        (*GIVEN, "--num_workers", "many"),
        "argument --num_workers: invalid int value: 'many'",
    ),
    "glob that matches nothing": (
        (*GIVEN, "--input", "events.ndjson", "*.jsonl"),
        "--input *.jsonl matches no file",
    ),
    "subscription without hold": (
        (*GIVEN, *SUBSCRIPTION, "--dead_letters", "dead"),
        "--hold is missing: a streaming run wants it",
    ),
    "subscription without dead letters": (
        (*GIVEN, *SUBSCRIPTION, "--hold", "held"),
        "--dead_letters is missing: a streaming run wants it",
    ),
    "two sources": (
        (*GIVEN, *SUBSCRIPTION, "--input", "events.ndjson", *PLACES),
        "--subscription and --input exclude each other",
    ),
}


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("what", REFUSALS)
def test_a_run_that_cannot_be_is_told_why_in_a_line(
    what: str, tmp_path: Path, sandbox: PartnerSandbox
) -> None:
    arguments, line = REFUSALS[what]
    write_connectors(tmp_path, [hook("hook", url=sandbox.url("hook"))])
    before = sorted(tmp_path.iterdir())
    ended = currents(tmp_path, "run", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"{line}\n"
    assert sorted(tmp_path.iterdir()) == before
    assert sandbox.requests("hook") == []


def test_a_run_with_secrets_missing_names_each_of_them(
    tmp_path: Path, events: Path, sandbox: PartnerSandbox
) -> None:
    url = sandbox.url("secured")
    write_connectors(
        tmp_path,
        [
            hook("a", url=f"{url}/a", token="env:CURRENTS_A"),
            hook("b", url=f"{url}/b", token=f"file:{tmp_path}/none"),
            hook("c", url=f"{url}/c", token="env:CURRENTS_C"),
            hook("d", url=f"{url}/d", token="env:CURRENTS_D"),
        ],
    )
    ended = currents(
        tmp_path, "run", *GIVEN, "--input", events.name, CURRENTS_C="right", CURRENTS_D=""
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "connector 'a': env:CURRENTS_A: the environment variable is not set",
        f"connector 'b': file:{tmp_path}/none: No such file or directory",
        "connector 'd': env:CURRENTS_D: the secret is empty",
    ]
    assert sandbox.requests("secured") == []
    assert not (tmp_path / "report.json").exists()


def test_help_of_run_names_every_option(tmp_path: Path) -> None:
    ended = currents(tmp_path, "run", "--connectors", "none.yaml", "-h")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("usage: currents run --connectors F")
    for option in (
        *("connectors", "subscription", "input", "hold", "dead_letters", "report"),
        *("config_refresh", "max_event_bytes", "allow_network", "allow_local_partners"),
    ):
        assert f"  --{option}" in ended.stdout
    assert currents(tmp_path, "run", "--help").stdout == ended.stdout


# run: how it ends


def test_a_run_that_delivers_all_ends_with_0_and_reports(
    tmp_path: Path, events: Path, sandbox: PartnerSandbox
) -> None:
    write_connectors(
        tmp_path,
        [
            hook("hook", url=sandbox.url("hook"), events=["users.messages.*"]),
            hook("secured", url=sandbox.url("secured"), token="env:CURRENTS_TOKEN"),
        ],
    )
    ended = run_files(tmp_path, events, environment={"CURRENTS_TOKEN": "right"})
    assert (ended.returncode, ended.stdout) == (0, "")

    report = report_of(tmp_path)
    selected = [event for event in EVENTS if b'"event_type":"users.messages.' in event]
    assert (report["received"], report["invalid"], report["balanced"]) == (121, 1, True)
    assert (report["runner"], report["started"] < report["finished"]) == ("FnApiRunner", True)
    connector = report["connectors"]["hook"]
    assert connector["offered"] == 120
    assert connector["delivered"] == len(selected)
    assert connector["filtered"] == {"event_type": 120 - len(selected)}
    assert report["connectors"]["secured"]["delivered"] == 120
    assert report["connectors"]["secured"]["attempts"] == sandbox.counts("secured").requests
    assert Counter(sandbox.accepted_ids("hook")) == Counter(ids_of(selected))
    assert Counter(sandbox.accepted_ids("secured")) == Counter(ids_of(EVENTS))
    (letter,) = dead_letters(tmp_path)
    assert (letter["event"], letter["stage"], letter["reason"]) == (
        b"nope",
        "decode",
        "invalid_json",
    )


def test_what_a_failing_partner_leaves_is_held_and_the_next_run_delivers_it(
    tmp_path: Path, events: Path, sandbox: PartnerSandbox
) -> None:
    write_connectors(tmp_path, [hook("hook", url=sandbox.url("hook"))])
    sandbox.set_fault("hook", Fault(status=503))
    ended = run_files(tmp_path, events)
    assert ended.returncode == 3
    held = f"120 events are held in {tmp_path}/held; the next run delivers them"
    assert held in ended.stderr.splitlines()[-1]
    report = report_of(tmp_path)["connectors"]["hook"]
    assert (report["state"], report["held"], report["delivered"]) == ("holding", 120, 0)
    assert Counter(ids_of(held_events(tmp_path, "hook"))) == Counter(ids_of(EVENTS))

    sandbox.set_fault("hook", None)
    again = run_files(tmp_path)
    assert again.returncode == 0
    report = report_of(tmp_path)["connectors"]["hook"]
    assert (report["offered"], report["adopted"], report["delivered"]) == (0, 120, 120)
    assert Counter(sandbox.accepted_ids("hook")) == Counter(ids_of(EVENTS))
    assert held_events(tmp_path, "hook") == []


def test_a_file_run_says_where_it_holds_and_buries_by_default(
    tmp_path: Path, events: Path, sandbox: PartnerSandbox
) -> None:
    write_connectors(tmp_path, [hook("hook", url=sandbox.url("hook"))])
    sandbox.set_fault("hook", Fault(status=503))
    ended = currents(tmp_path, "run", *GIVEN, "--input", events.name)
    assert ended.returncode == 3
    assert "--hold is not given: ./held is used" in ended.stderr
    assert "--dead_letters is not given: ./dead-letters is used" in ended.stderr
    assert len(held_events(tmp_path, "hook")) == 120
    assert len(list((tmp_path / "dead-letters").rglob("*.avro"))) == 1


def test_a_run_warns_of_segment_connectors_that_overlap(tmp_path: Path) -> None:
    write_connectors(tmp_path, [segment("a"), segment("b")])
    ended = currents(tmp_path, "run", *GIVEN, *PLACES, CURRENTS_A="k", CURRENTS_B="l")
    assert ended.returncode == 0
    assert "connector 'b': app_group_ids: overlaps with the Segment connector 'a'" in ended.stderr


def test_a_report_that_cannot_be_written_is_said_and_does_not_undo_the_run(
    tmp_path: Path, events: Path, sandbox: PartnerSandbox
) -> None:
    write_connectors(tmp_path, [hook("hook", url=sandbox.url("hook"))])
    under_a_file = ("--report", f"{events.name}/report.json")
    ended = currents(tmp_path, "run", *GIVEN, *under_a_file, *PLACES, "--input", events.name)
    assert ended.returncode == 0
    assert "--report cannot be written" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_run_that_fails_ends_with_1_and_a_line(tmp_path: Path, events: Path) -> None:
    write_connectors(tmp_path, [hook("hook", url="http://127.0.0.1:9/")])
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "queue").write_text("a file where the folder of the queue should be")
    places = ("--hold", "blocked", "--dead_letters", "dead")
    ended = currents(tmp_path, "run", *GIVEN, *places, "--input", events.name)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("run failed: ")
