"""Every block of code in the README and in the pages is run, or stands in a list that says why it is not.

The runbooks are run by test_runbooks.py. What is not run is looked at as far as it can be: a shell must
be able to read it, the options of `currents` must be known, and what it names in the project must be there.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

import pipeline.flink_options  # noqa: F401 - the options of Flink are known then
from pipeline.cli import main
from pipeline.options import parse_options
from pipeline.run_options import DRY_RUN
from runtime.address import AddressPolicy
from runtime.clock import now_ms
from runtime.connectors import read_config
from runtime.dead_letters import write_letters
from runtime.hold.directory import HoldQueue
from runtime.storage import write_whole
from sandbox.partners import Fault, PartnerSandbox, PostbackSite, SegmentSite
from sandbox.samples import sample_events
from schemas.event import decode_event
from schemas.limits import MAX_EVENT_BYTES
from tests.docs.blocks import ROOT, Block, all_blocks, commands_in
from tests.docs.world import Ran, Shell, connectors_of, write_connectors
from tests.pipeline.running import ids_of
from tests.runtime.storages import ObjectStores
from tests.runtime.test_dead_letters import letter_of
from tests.runtime.test_erasing import batch
from tests.runtime.test_files import avro_of, events_of

GOOGLE = "it needs a project at Google"
FLINK = "it needs a cluster: `./run_tests.sh --flink` makes one, and does the same"

NOT_RUN: dict[str, str] = {
    r"gcloud |.*\| gcloud ": GOOGLE,
    r"docker (build|push) ": "it needs a Docker daemon, and images from elsewhere",
    r"terraform (init|apply)": GOOGLE
    + " and providers from elsewhere; test_terraform.py reads the files",
    r"cp terraform.tfvars.example ": "it is a step of terraform's, which is not run",
    r"pip-audit ": "it asks a database of known weaknesses",
    r"uv pip compile |.*\| uv pip compile ": "it asks a package index for versions",
    r"currents .*--(job_endpoint|savepoint_path)": FLINK,
    r"currents run .*projects/P/": GOOGLE + "; the runbooks start the same on local paths",
    r"deploy/flink/flink\.sh ": FLINK,
    r"curl .*:8081/": FLINK,
    r"\./run_local\.sh": "tests/sandbox/test_run_local.py runs it",
    r"\./run_tests\.sh": "it is what runs this",
}
"""Commands that are not run here, as patterns of their beginning, and why."""

NO_CODE = {"docs/partners/avro_files.md"}
"""Pages whose block shows a path."""

RUNBOOKS = "docs/operating-runbooks.md"

BLOCKS = [block for block in all_blocks() if block.page not in NO_CODE]
SHELL = [block for block in BLOCKS if block.language in ("", "sh", "bash", "console")]


def why_not_run(command: str) -> str | None:
    return next((why for begins, why in NOT_RUN.items() if re.match(begins, command)), None)


def commands(*, run: bool) -> Iterator[tuple[Block, str]]:
    for block in SHELL:
        for command in commands_in(block.text):
            if (why_not_run(command) is None) is run:
                yield block, command


# What is not run


def test_every_reason_not_to_run_something_is_needed() -> None:
    unused = set(NOT_RUN)
    for _, command in commands(run=False):
        unused.discard(next(begins for begins in NOT_RUN if re.match(begins, command)))
    assert unused == set()


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.name)
def test_a_shell_can_read_every_block(block: Block) -> None:
    ended = subprocess.run(
        ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    "command", dict.fromkeys(command for _, command in commands(run=False)), ids=str
)
def test_what_is_not_run_names_options_and_files_that_are_there(command: str) -> None:
    command = re.sub(r"\s\.\.\.", "", command.partition("2>>")[0])
    words = shlex.split(command)
    if words[0] == "currents":
        check_options(words[1:])
    for word in words:
        if re.match(r"\.?/?(deploy|tests|benchmarks|docs)/|\./\w+\.sh", word):
            assert (ROOT / word).exists(), word


EXPORTS = [
    command
    for block, command in commands(run=True)
    if block.page == "deploy/flex_template/README.md"
]
GCLOUD = [
    command[command.index("gcloud ") :]
    for _, command in commands(run=False)
    if "gcloud " in command and "..." not in command
]


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
@pytest.mark.parametrize("command", dict.fromkeys(GCLOUD), ids=str)
def test_gcloud_takes_its_commands_and_misses_only_an_account(command: str, tmp_path: Path) -> None:
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    (tmp_path / "filled-in.json").write_text("{}")
    environment = {
        "PATH": os.environ["PATH"],
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_CORE_PROJECT": "my-project",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
    }
    ended = subprocess.run(
        ["bash", "-c", "\n".join([*EXPORTS, command])],
        cwd=tmp_path,
        env=environment,
        input="",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "You do not currently have an active account selected" in ended.stderr


def check_options(words: list[str]) -> None:
    name, *arguments = words
    if name == "run":
        parse_options([given for given in arguments if given != DRY_RUN])
    else:
        main.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("page", sorted({block.page for block in all_blocks()}))
def test_modules_that_a_page_has_python_run_are_there(page: str) -> None:
    for module in re.findall(r"python -m ([\w.]+)", (ROOT / page).read_text(encoding="utf-8")):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


# What is run


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    sites = {
        "crm-hook": PostbackSite(token="crm-token"),
        "analytics": SegmentSite(write_key="segment-key"),
    }
    with PartnerSandbox(sites) as running:
        yield running


EVENTS = list(sample_events(60, seed=31, app_groups=["brand-a"]))
DEAD = list(sample_events(8, seed=32, app_groups=["brand-a"]))


def example(heading: str, number: int = 0) -> str:
    found = [b for b in BLOCKS if b.page == "README.md" and b.language == "yaml"]
    return [block for block in found if block.heading == heading][number].text


@pytest.fixture
def shell(tmp_path: Path, sandbox: PartnerSandbox) -> Iterator[Shell]:
    """A folder with what the pages name, and the README's own connectors in it."""
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "1.ndjson").write_bytes(b"\n".join(EVENTS))
    (tmp_path / "archive" / "day").mkdir(parents=True)
    (tmp_path / "event.json").write_bytes(EVENTS[0])
    (tmp_path / "held").mkdir()
    write_connectors(tmp_path / "connectors.yaml", connectors_of(example("Use it"), sandbox))
    shutil.copy(tmp_path / "connectors.yaml", tmp_path / "new.yaml")
    write_letters(
        str(tmp_path / "dead"),
        [
            letter_of(one, connector="crm-hook", reason="expired", buried_ms=now_ms())
            for one in DEAD
        ],
    )
    opened = Shell(tmp_path, CRM_TOKEN="crm-token", SEGMENT_WRITE_KEY="segment-key")
    yield opened
    opened.close()


@pytest.fixture
def bucket(reached: ObjectStores) -> None:
    """`gs://bucket` with archived files, and something held."""
    made = requests.post(f"{reached.gs}/storage/v1/b", json={"name": "bucket"}, timeout=10)
    assert made.status_code in (200, 409)
    write_whole("gs://bucket/currents/day/a.avro", avro_of(events_of(20), sync_interval=3_000))
    HoldQueue("gs://bucket/held").put("crm-hook", [batch(*EVENTS[:3])])


def run_page(shell: Shell, page: str, heading: str) -> list[Ran]:
    """Run those commands below a heading that can be run; none of them may fail."""
    ran: list[Ran] = []
    for block, command in commands(run=True):
        if (block.page, block.heading) == (page, heading):
            ran += shell.run(command)
    for one in ran:
        assert one.code in (0, 3), one
        assert "Traceback" not in one.output, one
    return ran


@pytest.mark.usefixtures("bucket")
def test_the_commands_of_use_it_deliver_explain_and_hold_nothing_back(
    shell: Shell, sandbox: PartnerSandbox, tmp_path: Path
) -> None:
    ran = {one.command: one.output for one in run_page(shell, "README.md", "Use it")}
    said = {
        begins: output_of(ran, begins) for begins in ("check", "explain", "send-test", "status")
    }
    assert "accepted    crm-hook: the address answers and takes the credentials" in said["check"]
    assert '"Authorization": "Basic <env:SEGMENT_WRITE_KEY>:"' in said["explain"]
    assert "test events of" in said["send-test"]
    assert "nothing is held" in said["status"]
    (counted,) = [output for command, output in ran.items() if "gs://bucket/" in command]
    assert "20 messages, of which 0 are no events" in counted
    assert "0 events would be erased" in output_of(ran, "erase")
    sent = sandbox.accepted_ids("crm-hook")
    assert sorted(sent) == sorted(ids_of(EVENTS) + ids_of(DEAD))
    assert len([one for one in sandbox.accepted_ids("analytics") if one in ids_of(EVENTS)]) > 40
    assert not list((tmp_path / "held" / "queue").rglob("*-*"))


def test_the_commands_of_replay_send_each_letter_once(
    shell: Shell, sandbox: PartnerSandbox, tmp_path: Path
) -> None:
    ran = run_page(shell, "README.md", "Replay")
    assert [one.output.splitlines()[0] for one in ran if "--dry_run" in one.command] == [
        f"{len(DEAD)} dead letters to replay"
    ]
    assert sorted(sandbox.accepted_ids("crm-hook")) == sorted(ids_of(DEAD))
    assert sandbox.accepted_ids("analytics") == []
    assert json.loads((tmp_path / "report.json").read_text())["balanced"]
    assert "replayed before" in next(one.output for one in ran if "--to" in one.command)


def test_the_commands_of_archived_files_deliver_them(
    shell: Shell, sandbox: PartnerSandbox, tmp_path: Path
) -> None:
    (tmp_path / "archive" / "day" / "a.avro").write_bytes(
        avro_of(events_of(20), sync_interval=3_000)
    )
    (one,) = run_page(shell, "docs/input.md", "Archived files")
    assert one.code == 0
    brand_a = [event for event in events_of(20) if b'"brand-a"' in event]
    assert sorted(sandbox.accepted_ids("crm-hook")) == sorted(ids_of(brand_a))


def test_the_switches_of_the_sandbox_are_set_by_curl(shell: Shell, sandbox: PartnerSandbox) -> None:
    here = sandbox.page_url.rstrip("/")
    switches = [
        command.replace("http://127.0.0.1:8600", here)
        for block, command in commands(run=True)
        if (block.page, block.heading) == ("README.md", "Run it")
    ]
    breaking, mending = switches
    (ran,) = shell.run(breaking)
    assert ran.code == 0
    assert sandbox.fault("analytics") == Fault(status=503)
    (ran,) = shell.run(mending)
    assert ran.code == 0
    assert sandbox.fault("analytics") is None


def test_the_dashboard_is_filled_in_by_the_commands_of_its_page(tmp_path: Path) -> None:
    if shutil.which("envsubst") is None:
        pytest.skip("envsubst is not installed")
    folder = ROOT / "deploy" / "monitoring"
    shutil.copy(folder / "dashboard.json", tmp_path)
    shell = Shell(tmp_path)
    try:
        ran = run_page(shell, "deploy/monitoring/README.md", "Dashboard and alerts")
    finally:
        shell.close()
    assert len(ran) == 2
    filled_in = (tmp_path / "filled-in.json").read_text()
    assert json.loads(filled_in)["displayName"]
    assert "${" not in filled_in


@pytest.mark.usefixtures("bucket")
def test_a_hold_in_a_bucket_is_shown(shell: Shell) -> None:
    table, as_json = run_page(shell, "docs/operating.md", "`currents status`")
    assert "crm-hook" in table.output
    (lane,) = json.loads(as_json.output)["lanes"]
    assert (lane["lane"], lane["events"]) == ("crm-hook", 3)


def test_every_command_that_can_be_run_is_run() -> None:
    """Where this fails, run what is new in a test of this module, or say in NOT_RUN why not."""
    run_here = {
        ("README.md", "Use it"),
        ("README.md", "Run it"),
        ("README.md", "Replay"),
        ("docs/operating.md", "`currents status`"),
        ("deploy/flex_template/README.md", "Build"),
        ("deploy/monitoring/README.md", "Dashboard and alerts"),
        ("docs/input.md", "Archived files"),
    }
    left = [
        f"{block.name}: {command}"
        for block, command in commands(run=True)
        if block.page != RUNBOOKS and (block.page, block.heading) not in run_here
    ]
    assert left == []


def output_of(ran: dict[str, str], name: str) -> str:
    return next(output for command, output in ran.items() if command.startswith(f"currents {name}"))


# What is no command


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language in ("yaml", "json")], ids=lambda block: block.name
)
def test_every_example_is_what_it_looks_like(block: Block, tmp_path: Path) -> None:
    if block.language == "json":
        decode_event(block.text.encode(), MAX_EVENT_BYTES)
        return
    found: Any = msgspec.yaml.decode(block.text)
    hook = {"name": "a", "kind": "postback", "url": "https://a.example.com/"}
    document = found if "connectors" in found else {"connectors": [{**hook, **found}]}
    write_connectors(tmp_path / "connectors.yaml", document)
    config, problems = read_config(str(tmp_path / "connectors.yaml"), AddressPolicy())
    assert problems == []
    assert len(config.connectors) == len(document["connectors"])


def test_every_block_is_of_a_language_that_is_looked_at() -> None:
    assert {block.language for block in BLOCKS} <= {"", "sh", "bash", "console", "yaml", "json"}
