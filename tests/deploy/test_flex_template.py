"""The flex template: its parameters are the options of `currents run`, its image has what it needs."""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy.flex_template.main import (
    FLAGS,
    IMAGE,
    LISTS,
    REPEATED,
    BadParameter,
    arguments_of,
    main,
)
from pipeline.exits import EXIT_DONE, EXIT_USAGE
from pipeline.options import RunOptions, parse_options
from tests.deploy.google_cloud import BUCKET, PROJECT, SUBSCRIPTION

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy" / "flex_template"
METADATA = json.loads((FOLDER / "metadata.json").read_text(encoding="utf-8"))
PARAMETERS: dict[str, dict[str, Any]] = {one["name"]: one for one in METADATA["parameters"]}
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
SECRET = "gcp-secret:projects/p/secrets/webhook/versions/latest"

GOOD = {
    "connectors": ["gs://b/connectors.yaml", "s3://b/c/d.json"],
    "subscription": [SUBSCRIPTION, "projects/example.com:a-project/subscriptions/s-1"],
    "input": ["gs://b/*.ndjson", "gs://b/a.avro gs://b/**/b.avro"],
    "hold": ["gs://b/held", "gs://b"],
    "dead_letters": ["gs://b/dead"],
    "report": [""],
    "report_every": ["5 s", "1"],
    "config_refresh": ["30 s", "45", "0.5", "2min", "1 h"],
    "max_event_age": ["48h", "5 d"],
    "late_events": ["bury", "deliver"],
    "probe_min": ["30 s", "500ms"],
    "probe_max": ["30 min", "1 m"],
    "alert_webhook": [SECRET],
    "max_event_bytes": ["900000", "1000"],
    "historical": ["true", "false"],
    "redact_dead_letters": ["true", "false"],
    "allow_network": ["10.0.0.0/8", "fd00::/8 192.168.1.7"],
    "allow_local_partners": ["true", "false"],
}
BAD = {
    "connectors": ["connectors.yaml", "/etc/connectors.yaml", "file:///c.yaml", "gs://b"],
    "subscription": ["currents", "projects/p/topics/t", f"{SUBSCRIPTION} "],
    "input": ["events.ndjson", "gs://b/a.avro events.ndjson"],
    "hold": ["held", "./held", "file:///held"],
    "dead_letters": ["dead"],
    "report": ["gs://b/report.json"],
    "report_every": ["often"],
    "config_refresh": ["soon", "1 week", "-1"],
    "max_event_age": ["two days"],
    "late_events": ["drop"],
    "probe_min": ["30 sec"],
    "probe_max": ["half an hour"],
    "alert_webhook": ["https://chat.example.com/?key=k", "env:WEBHOOK", "file:/run/webhook"],
    "max_event_bytes": ["0", "999", "1MB"],
    "historical": ["yes"],
    "redact_dead_letters": ["1"],
    "allow_network": ["localhost", "10.0.0.0/8,::1"],
    "allow_local_partners": ["on"],
}


def actions() -> dict[str, argparse.Action]:
    """The options of `currents run`."""
    parser = argparse.ArgumentParser(add_help=False)
    RunOptions._add_argparse_args(parser)
    return {action.dest: action for action in parser._actions}


def matches(name: str, value: str) -> bool:
    """Dataflow wants a whole match of each regex; an optional parameter may be empty."""
    parameter = PARAMETERS[name]
    return all(re.fullmatch(regex, value) for regex in parameter.get("regexes", []))


def read(name: str, value: str) -> Any:
    """What `currents run` makes of a parameter's value."""
    options = parse_options(arguments_of([f"--{name}={value}"], {}))
    return options.get_all_options()[name]


def test_the_parameters_are_the_options_of_a_run() -> None:
    assert list(PARAMETERS) == list(actions())


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_defaults_are_those_of_a_run(name: str) -> None:
    parameter, action = PARAMETERS[name], actions()[name]
    if "defaultValue" in parameter:
        assert read(name, parameter["defaultValue"]) == action.default
        assert matches(name, parameter["defaultValue"])
    else:
        assert action.default in (None, [])


@pytest.mark.parametrize("name", list(PARAMETERS))
def test_every_parameter_is_described_and_validated(name: str) -> None:
    parameter = PARAMETERS[name]
    assert parameter["regexes"]
    assert len(parameter["helpText"]) > 40
    assert parameter["helpText"].endswith(".")
    for value in GOOD[name]:
        assert matches(name, value), value
        read(name, value)
    for value in BAD[name]:
        assert not matches(name, value), value


def test_choices_are_those_of_a_run() -> None:
    for name, action in actions().items():
        if action.choices:
            options = [one["value"] for one in PARAMETERS[name]["enumOptions"]]
            assert options == list(action.choices)


def test_what_a_streaming_job_cannot_do_without_is_asked_for() -> None:
    """A subscription is not among it: a job without one empties the hold, or is a backfill."""
    assert {name for name, one in PARAMETERS.items() if not one.get("isOptional")} == {
        "connectors",
        "hold",
        "dead_letters",
    }


def test_both_streaming_modes_are_offered() -> None:
    assert METADATA["streaming"]
    assert METADATA["supportsAtLeastOnce"]
    assert METADATA["supportsExactlyOnce"]
    assert METADATA["defaultStreamingMode"] == "AT_LEAST_ONCE"


def test_flags_and_lists_are_those_of_a_run() -> None:
    known = actions()
    assert {name for name, action in known.items() if action.nargs == 0} == FLAGS
    assert {name for name, action in known.items() if action.nargs == "+"} == LISTS
    repeated = {
        name for name, action in known.items() if isinstance(action, argparse._AppendAction)
    }
    assert repeated == REPEATED


def test_parameters_become_arguments() -> None:
    given = [
        "--historical=true",
        "--redact_dead_letters=false",
        "--allow_local_partners=",
        "--alert_webhook=",
        "--input=gs://b/a.avro gs://b/b.avro",
        "--allow_network=10.0.0.0/8 ::1/128",
        '--labels={"team": "export"}',
        "--update",
    ]
    assert arguments_of(given, {}) == [
        "--historical",
        *("--input", "gs://b/a.avro", "gs://b/b.avro"),
        *("--allow_network=10.0.0.0/8", "--allow_network=::1/128"),
        '--labels={"team": "export"}',
        "--update",
    ]


def test_a_flag_that_is_neither_true_nor_false_is_refused() -> None:
    with pytest.raises(BadParameter, match="historical: maybe is neither true nor false"):
        arguments_of(["--historical=maybe"], {})


def test_workers_start_from_the_image_of_the_launcher() -> None:
    assert arguments_of([], {IMAGE: "r/i:1"}) == ["--sdk_container_image=r/i:1"]
    other = "--sdk_container_image=r/i:2"
    assert arguments_of([other], {IMAGE: "r/i:1"}) == [other]


def test_a_launch_is_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IMAGE, "r/i:1")
    ran: list[list[str]] = []

    def run(arguments: list[str]) -> int:
        ran.append(arguments)
        return EXIT_DONE

    assert main(["--hold=gs://b/held", "--historical=true"], run) == EXIT_DONE
    assert ran == [["--hold=gs://b/held", "--historical", "--sdk_container_image=r/i:1"]]


def test_a_launch_that_cannot_be_is_told_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    given = ["--runner=DataflowRunner", f"--project={PROJECT}", f"--hold=gs://{BUCKET}/held"]
    assert main(given) == EXIT_USAGE
    assert caplog.messages == ["--connectors is missing: the file that says who gets which events"]
    caplog.clear()
    assert main(["--historical=maybe"]) == EXIT_USAGE
    assert caplog.messages == ["historical: maybe is neither true nor false"]


def locked(file: str) -> dict[str, str]:
    """The versions that a file of requirements pins, by package."""
    text = (FOLDER / file).read_text(encoding="utf-8")
    return {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+) \\$", text, re.MULTILINE)
    }


def declared() -> list[Requirement]:
    """What setup.py asks for, and the extras that are in the image."""
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    lists = re.findall(
        r'(?:install_requires=|"s3": |"azure": )\[(.*?)\]', text.replace("[gcp]", ""), re.DOTALL
    )
    assert len(lists) == 3
    return [Requirement(one) for found in lists for one in re.findall(r'"([^"]+)"', found)]


def test_the_image_has_every_dependency_in_an_allowed_version() -> None:
    pinned = locked("requirements.txt")
    for requirement in declared():
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(Version(version)), requirement


@pytest.mark.parametrize("file", ["requirements.txt", "build-requirements.txt"])
def test_every_dependency_is_pinned_and_has_hashes(file: str) -> None:
    lines = (FOLDER / file).read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert len(names) == len(locked(file)) > 0
    following = [lines[lines.index(name) + 1] for name in names]
    assert all(line.startswith("    --hash=sha256:") for line in following)


def test_the_image_has_the_pinned_beam_and_one_python() -> None:
    beam = locked("requirements.txt")["apache-beam"]
    assert f"FROM apache/beam_python3.12_sdk:{beam} AS beam" in DOCKERFILE
    assert "FROM python:3.12-slim" in DOCKERFILE
    assert "python312-template-launcher-base" in DOCKERFILE
    assert 'python_requires=">=3.10"' in (ROOT / "setup.py").read_text(encoding="utf-8")


def test_the_image_has_all_that_is_shipped_and_nothing_else() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    (shipped,) = re.findall(r"^SHIPPED = \[(.*)\]$", setup, re.MULTILINE)
    folders = re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE)
    assert folders == re.findall(r'"(\w+)"', shipped)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    others = {name for names in copied for name in names.split()} - set(folders)
    assert others == {
        "deploy/flex_template/build-requirements.txt",
        "deploy/flex_template/requirements.txt",
        "deploy/flex_template/main.py",
        "setup.py",
        "pyproject.toml",
    }
    assert all((ROOT / name).is_file() for name in others)


def test_the_launch_in_the_readme_gives_good_parameters() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    text = text.replace("$PROJECT", PROJECT)
    given = dict(re.findall(r"--parameters (\w+)=(\S+)", text))
    assert set(given) == {"connectors", "subscription", "hold", "dead_letters"}
    for name, value in given.items():
        assert matches(name, value), name


def test_the_readme_makes_the_locks_as_the_image_takes_them() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "-o deploy/flex_template/requirements.txt" in text
    assert "-o deploy/flex_template/build-requirements.txt" in text
    for file in ("requirements.txt", "build-requirements.txt"):
        first = (FOLDER / file).read_text(encoding="utf-8").partition("\n")[0]
        assert (
            first == '# Made by the command in README.md, "Dependencies"; not to be edited by hand.'
        )
