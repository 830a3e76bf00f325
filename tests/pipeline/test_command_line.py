"""The command line as people meet it: help, completion, mistakes, a closed pipe, Ctrl-C at any moment."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.options import parse_options
from pipeline.run_options import DRY_RUN, run_option_names
from sandbox.samples import sample_event
from tests.pipeline.running import report_of, write_connectors

ROOT = Path(__file__).parents[2]
OPEN = "users.messages.email.Open"
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    # Google's libraries warn of Python versions near the end of their support.
    "PYTHONWARNINGS": "ignore::FutureWarning",
}


def currents(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="currents")


# Help


@pytest.mark.parametrize("name", main.commands)
def test_help_of_every_command_shows_examples_and_exit_codes(name: str) -> None:
    shown = currents(name, "--help")
    assert shown.exit_code == 0
    assert "examples:\n  " in shown.output
    assert re.search(r"exit codes:\n +\d  \w", shown.output)


def examples_of(name: str) -> Iterator[list[str]]:
    """The arguments after `currents` of each example in a command's help."""
    text = currents(name, "--help").output.replace("\\\n", " ")
    part = text.partition("examples:\n")[2].partition("exit codes:")[0]
    for line in part.splitlines():
        found = re.search(r"\bcurrents (.*?)(?:[>|)]|$)", line)
        if found and not line.lstrip().startswith("#"):
            yield shlex.split(found[1].strip().rstrip('"'))


@pytest.mark.parametrize("name", main.commands)
def test_every_example_of_a_help_is_taken_by_its_command(name: str) -> None:
    examples = list(examples_of(name))
    assert examples
    for command, *arguments in examples:
        assert command == name
        if name == "run":
            parse_options([given for given in arguments if given != DRY_RUN])
            continue
        context = main.commands[name].make_context(name, arguments)
        for given in context.params.get("run_options", ()):
            assert not given.startswith("--") or given in dict(run_option_names())


def test_help_and_version_need_no_beam() -> None:
    """Else each TAB of a completion would take seconds."""
    loaded = (
        "import sys; from pipeline.cli import main; main(['check', '--help'], standalone_mode=False);"
        "print([name for name in ('apache_beam', 'runtime.connectors') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", loaded], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"


def test_the_version_names_what_it_runs_on() -> None:
    shown = currents("--version")
    assert re.fullmatch(
        r"currents \d+\.\d+\.\d+ \(Apache Beam 2\.77\.\d+, Python 3\.\S+\)\n", shown.output
    )


# Completion


def completed(folder: Path, *lines: str) -> list[list[str]]:
    """What bash offers for each line, where the cursor is at its end."""
    program = folder / "currents"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pipeline "$@"\n')
    program.chmod(0o755)
    script = 'eval "$(./currents completion bash)"\n'
    for line in lines:
        words = line.split(" ")
        script += f"""
            COMP_WORDS=({" ".join(map(shlex.quote, words))})
            COMP_CWORD={len(words) - 1}
            COMPREPLY=()
            _currents_completion ./currents
            echo "${{COMPREPLY[@]}}"
        """
    ended = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stderr == ""
    return [line.split() for line in ended.stdout.splitlines()]


def test_bash_completes_commands_options_and_connectors(tmp_path: Path) -> None:
    hook = {"kind": "postback", "url": "https://hooks.example.com/"}
    write_connectors(tmp_path, [{"name": "crm-hook", **hook}, {"name": "crm-eu", **hook}])
    assert completed(
        tmp_path,
        "currents s",
        "currents check --pr",
        "currents run --max_event",
        "currents explain connectors.json --connector crm-",
        "currents replay --connectors connectors.json --connector crm-h",
        "currents completion z",
    ) == [
        ["schema", "send-test", "status"],
        ["--probe"],
        ["--max_event_age", "--max_event_bytes"],
        ["crm-hook", "crm-eu"],
        ["crm-hook"],
        ["zsh"],
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_every_shell(shell: str) -> None:
    shown = currents("completion", shell)
    assert shown.exit_code == 0
    assert "_CURRENTS_COMPLETE" in shown.output


# Mistakes


@pytest.fixture
def mess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of things that people give in place of what is meant."""
    write_connectors(tmp_path, [{"name": "a", "kind": "postback", "url": "https://a.example.com/"}])
    (tmp_path / "event.json").write_text(str(sample_event(OPEN)))
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "garbage").write_bytes(bytes(range(255, 0, -1)) * 9)
    (tmp_path / "broken.yaml").write_text("connectors: [\n")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    return tmp_path


FILES = [
    "missing",
    "folder",
    "empty",
    "garbage",
    "broken.yaml",
    "list.yaml",
    "deep.json",
    "dangling",
    "",
]
VALID = "connectors.json"
EXPLAIN = ("explain", VALID, "--connector", "a")
RUN = ("run", "--connectors", VALID)
MISTAKES: list[tuple[tuple[str, ...], str]] = [
    *((("check", name), "connectors file: ") for name in FILES),
    *(
        (("run", "--connectors", name, "--input", "event.json"), "connectors file: ")
        for name in FILES
        if name
    ),
    *(
        ((*EXPLAIN, "--event", name), f"--event {name}: ")
        for name in ("missing", "folder", "dangling")
    ),
    *(
        (("status", "--hold", name), f"there is no folder '{name}'")
        for name in ("missing", "empty")
    ),
    *(
        (("replay", "--dead_letters", name, "--dry_run"), f"there is no folder '{name}'")
        for name in ("missing", "garbage")
    ),
    (("status", "--hold", "nope://x"), "the hold cannot be read: storage: "),
    (("explain", VALID, "--connector", "b", "--event", "event.json"), "there is no connector 'b'"),
    ((*RUN, "--input", "folder"), "--input folder matches no file; it is a folder: give folder/*"),
    ((*RUN, "--input", "missing*"), "--input missing* matches no file"),
    ((*RUN, "--input", "event.json", "--hold", "empty"), "--hold cannot be written: "),
    ((*RUN, "--input", "event.json", "--dead_letters", "empty"), "--dead_letters cannot be "),
    ((*RUN, "--input", "event.json", "--report", "folder"), "--report folder is a folder"),
    ((*RUN, "--input", "event.json", "--hold"), "argument --hold: expected one argument"),
    ((*RUN, "--inputs", "event.json"), "unknown option --inputs; did you mean '--input'?"),
    ((*RUN, "--bogus", "x"), "unknown option --bogus; see currents run --help"),
    ((*RUN, "--max_event_age", "-1h"), "argument --max_event_age: "),
    (("replay", "--dead_letters", "folder"), "--connectors or --to is missing"),
    (("replay", "--dead_letters", "folder", "--to", "x", "--json"), "--json is for --dry_run"),
    (("check", VALID, "--input", "missing"), "--input missing matches no file"),
    (
        ("check", VALID, "--allow_network", "10.0.0.300"),
        "Invalid value for '--allow_network'",
    ),
    (("check",), "Missing argument 'CONNECTORS'; see currents check --help"),
    (("chek",), "No such command 'chek'"),
    (("check", VALID, "--prob"), "No such option '--prob'. Did you mean '--probe'?"),
    (("--bogus",), "No such option '--bogus'; see currents --help"),
    (("erase", "--user", "\udcff", "--hold", "folder"), r"--user: '\udcff' is no id"),
    (("replay", "--dead_letters", "folder", "--rate", "nan"), "Invalid value for '--rate'"),
    (("replay", "--dead_letters", "folder", "--rate", "inf"), "Invalid value for '--rate'"),
    ((*RUN, "--input", "event.json", "--runner", "Nope"), "--runner Nope is none that Beam knows"),
    (("erase", "--user", "x"), "--hold or --dead_letters is missing: where to look"),
    (("erase", "--hold", "folder"), "--user or --users_from is missing: whose events"),
    (("erase", "--user", " ", "--hold", "folder"), "--user: an id is empty"),
    (("erase", "--user", "x", "--hold", "missing"), "--hold: there is no folder 'missing'"),
    (("erase", "--users_from", "missing", "--hold", "folder"), "--users_from missing: "),
    (("erase", "--users_from", "empty", "--hold", "folder"), "--users_from empty: no id is in it"),
    (("erase", "--users_from", "garbage", "--hold", "folder"), "--users_from garbage: no text"),
    (("status",), "Missing option '--hold'; see currents status --help"),
]


@pytest.mark.usefixtures("mess")
@pytest.mark.parametrize(("arguments", "line"), MISTAKES, ids=lambda given: " ".join(given)[:60])
def test_a_mistake_is_told_in_a_line_and_ends_with_2(arguments: tuple[str, ...], line: str) -> None:
    ended = currents(*arguments)
    assert isinstance(ended.exception, SystemExit)
    assert ended.exit_code == 2
    (told,) = [line for line in ended.stderr.splitlines() if not line.startswith("WARN")]
    assert told.startswith(line)
    assert len(told) < 300


def test_where_nothing_can_be_written_that_is_said_in_a_line(tmp_path: Path) -> None:
    write_connectors(tmp_path, [{"name": "a", "kind": "postback", "url": "https://a.example.com/"}])
    (tmp_path / "event.json").write_text("{}")
    command = [sys.executable, "-m", "pipeline", "run", "--input", str(tmp_path / "event.json")]
    ended = subprocess.run(
        [*command, "--connectors", str(tmp_path / "connectors.json")],
        cwd="/proc",  # where not even root can make a file
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("--hold cannot be written: missing: ./held")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["schema", "run --help", "completion bash"])
def test_a_pipe_that_is_closed_early_is_no_mistake(command: str) -> None:
    ended = subprocess.run(
        f"{shlex.quote(sys.executable)} -m pipeline {command} | head -1",
        shell=True,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stderr == ""
    assert len(ended.stdout.splitlines()) == 1


def test_with_every_stream_closed_a_run_goes_on(tmp_path: Path) -> None:
    write_connectors(tmp_path, [{"name": "a", "kind": "postback", "url": "https://a.invalid/"}])
    (tmp_path / "event.json").write_bytes(json.dumps(sample_event(OPEN)).encode())
    command = f"{shlex.quote(sys.executable)} -m pipeline run --connectors connectors.json"
    ended = subprocess.run(
        ["bash", "-c", f"{command} --input event.json --report report.json <&- >&- 2>&-"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 3
    assert report_of(tmp_path)["connectors"]["a"]["held"] == 1


def test_a_closed_stdin_is_told_in_a_line(tmp_path: Path) -> None:
    write_connectors(tmp_path, [{"name": "a", "kind": "postback", "url": "https://a.invalid/"}])
    command = f"{shlex.quote(sys.executable)} -m pipeline explain connectors.json --connector a"
    ended = subprocess.run(
        ["bash", "-c", f"{command} --event - <&-"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (2, "--event -: there is no stdin to read from\n")


def test_ctrl_c_at_any_moment_is_no_traceback(tmp_path: Path) -> None:
    write_connectors(tmp_path, [{"name": "a", "kind": "postback", "url": "https://a.invalid/"}])
    (tmp_path / "event.json").write_text("{}\n" * 100)
    command = [sys.executable, "-m", "pipeline", "run", "--input", "event.json"]
    command += ["--connectors", "connectors.json"]
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE)
            )
            for _ in range(6)
        ]
        for process in started:  # one after the other, each at a later moment of its life
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.7)
            process.send_signal(signal.SIGINT)
        for process in started:
            _, told = process.communicate(timeout=60)
            if b"init_import_site" in told:  # Python itself had not begun
                continue
            assert b"Traceback" not in told
            assert process.returncode in (-signal.SIGINT, 0, 1, 3)


def test_what_goes_wrong_inside_is_told_in_a_line() -> None:
    def fail() -> None:
        raise RuntimeError("it broke")

    main.add_command(click.Command("fail", callback=fail))
    try:
        ended = currents("fail")
    finally:
        del main.commands["fail"]
    assert (ended.exit_code, ended.stderr) == (1, "fail failed: RuntimeError: it broke\n")
