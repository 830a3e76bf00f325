"""`currents replay`: dead letters go again to whom they failed at, once, and nothing else moves."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from pipeline.cli import replay as replay_command
from pipeline.exits import UsageError
from pipeline.replay import Order, replay_letters
from runtime.dead_letters import write_letters
from runtime.hold.directory import HoldQueue
from runtime.hold.objects import HeldBatch
from runtime.replay import MAX_REPLAYS, Wanted
from runtime.storage import StorageError
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.samples import sample_events
from schemas.dead_letter import DeadLetter
from tests.pipeline.running import dead_letters, ids_of, report_of, write_connectors

EVENTS = list(sample_events(30, seed=7, app_groups=("brand-a",)))
DEAD, ALIVE = EVENTS[:20], EVENTS[20:]
BURIED_MS = 1_700_000_000_000


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite(), "other": PostbackSite()}) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, sandbox: PartnerSandbox) -> Path:
    """Two connectors; the dead letters of one of them, and a message that was no event."""
    connect(tmp_path, sandbox)
    write_letters(str(tmp_path / "dead"), [letter_of(event) for event in DEAD])
    invalid = letter_of(b"nope", connector="", stage="decode", reason="invalid_json")
    write_letters(str(tmp_path / "dead"), [invalid])
    return tmp_path


def connect(folder: Path, sandbox: PartnerSandbox, **settings: Any) -> None:
    write_connectors(
        folder,
        [
            {"name": "hook", "kind": "postback", "url": sandbox.url("hook"), **settings},
            {"name": "other", "kind": "postback", "url": sandbox.url("other")},
        ],
    )


def letter_of(event: bytes, **changes: Any) -> DeadLetter:
    known = {"stage": "hold", "reason": "expired", "connector": "hook", "buried_ms": BURIED_MS}
    return DeadLetter(**{"event": event, **known, **changes})


def replay(folder: Path, *run_options: str, **order: Any) -> tuple[int, list[str]]:
    """Replay to the connectors; returns the exit code and the lines that it said."""
    said: list[str] = []
    known = {
        "dead_letters": str(folder / "dead"),
        "wanted": Wanted(),
        "connectors": str(folder / "connectors.json"),
        "run_options": (
            *("--hold", str(folder / "held"), "--report", str(folder / "report.json")),
            *("--allow_local_partners", *run_options),
        ),
    }
    return replay_letters(Order(**{**known, **order}), said.append), said


def test_a_letter_goes_once_and_to_the_connector_that_failed_alone(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    code, said = replay(folder, wanted=Wanted(connectors=["hook"]))
    assert (code, said[0]) == (0, "20 dead letters to replay")
    assert sandbox.accepted_ids("hook") == ids_of(DEAD)
    assert sandbox.requests("other") == []
    report = report_of(folder)
    assert (report["received"], report["invalid"], report["balanced"]) == (20, 0, True)
    assert report["connectors"]["hook"]["offered"] == 20
    assert report["connectors"]["other"]["offered"] == 0

    code, said = replay(folder, wanted=Wanted(connectors=["hook"]))
    assert (code, said[0]) == (0, "0 dead letters to replay")
    assert "replayed before" in said[-1]
    assert len(sandbox.accepted_ids("hook")) == 20

    assert replay(folder, wanted=Wanted(connectors=["hook"]), again=True)[0] == 0
    assert sandbox.accepted_ids("hook") == ids_of(DEAD) * 2


def test_what_was_no_event_is_buried_anew_and_what_became_one_goes_to_all(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    large = letter_of(EVENTS[0], connector="", stage="decode", reason="too_large")
    write_letters(str(folder / "dead"), [large])
    wanted = Wanted(reasons=["too_large", "invalid_json"])
    assert replay(folder, wanted=wanted)[0] == 0
    for name in ("hook", "other"):
        assert sandbox.accepted_ids(name) == ids_of(EVENTS[:1])
    report = report_of(folder)
    assert (report["received"], report["invalid"], report["balanced"]) == (2, 1, True)
    invalid = [x for x in dead_letters(folder) if x["reason"] == "invalid_json"]
    assert sorted((x["event"], x["replays"]) for x in invalid) == [(b"nope", 0), (b"nope", 1)]


def test_what_fails_again_is_held_and_keeps_its_count_of_replays(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(status=503))
    assert replay(folder, wanted=Wanted(connectors=["hook"]))[0] == 3
    hold = HoldQueue(str(folder / "held"))
    batches = [batch for name in hold.objects("hook") for batch in hold.read("hook", name)]
    assert ids_of([event for batch in batches for event in batch.events]) == ids_of(DEAD)
    assert {batch.replays for batch in batches} == {1}
    assert report_of(folder)["balanced"]
    _, said = replay(folder, wanted=Wanted(connectors=["hook"]))
    assert said[0] == "0 dead letters to replay"


def test_an_event_that_is_rejected_each_time_is_replayed_so_often_and_no_more(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    (poison,) = ids_of(DEAD[:1])
    wanted = Wanted(connectors=["hook"])
    sandbox.set_fault("hook", Fault(reject_ids=frozenset({poison})))
    for replays in range(MAX_REPLAYS):
        # one that is accepted beside it proves that the event is at fault, not the partner
        good = letter_of(ALIVE[replays], replays=replays)
        write_letters(str(folder / "dead"), [good])
        assert replay(folder, wanted=wanted)[0] == 0
    requests = len(sandbox.requests("hook"))
    code, said = replay(folder, wanted=wanted)
    assert (code, said[0]) == (0, "0 dead letters to replay")
    assert f"{1:>9}  hook  replayed {MAX_REPLAYS} times already" in said
    assert len(sandbox.requests("hook")) == requests
    buried = [x["replays"] for x in dead_letters(folder) if x["event"] == DEAD[0]]
    assert sorted(buried) == list(range(MAX_REPLAYS + 1))


def test_a_run_that_fails_settles_nothing(folder: Path, sandbox: PartnerSandbox) -> None:
    sandbox.set_fault("hook", Fault(status=503))
    (folder / "held").write_text("no folder, so nothing can be held")
    with pytest.raises(Exception, match=r"missing|storage"):
        replay(folder, wanted=Wanted(connectors=["hook"]))
    assert list((folder / "dead" / "replayed").iterdir()) == []
    (folder / "held").unlink()
    sandbox.set_fault("hook", None)
    assert replay(folder, wanted=Wanted(connectors=["hook"]))[0] == 0
    assert sandbox.accepted_ids("hook") == ids_of(DEAD)


def test_nothing_is_sent_where_what_is_replayed_cannot_be_recorded(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    (folder / "dead" / "replayed").write_text("no folder")
    with pytest.raises(StorageError):
        replay(folder)
    assert sandbox.requests("hook") == []


def test_a_damaged_file_does_not_keep_the_others_back_and_is_no_success(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    (folder / "dead" / "date=2023-11-14" / "a.avro").write_bytes(b"no Avro")
    wanted = Wanted(connectors=["hook"])
    assert replay(folder, wanted=wanted)[0] == 1
    assert sandbox.accepted_ids("hook") == ids_of(DEAD)
    assert replay(folder, wanted=wanted)[1][0] == "0 dead letters to replay"


def test_a_replay_leaves_the_hold_alone(folder: Path, sandbox: PartnerSandbox) -> None:
    held = HeldBatch(
        part="", oldest_ms=1, newest_ms=1, first_failed_ms=1, reason="suspended", events=ALIVE
    )
    name = HoldQueue(str(folder / "held")).put("hook", [held])
    assert replay(folder)[0] == 3
    assert sandbox.accepted_ids("hook") == ids_of(DEAD)
    assert HoldQueue(str(folder / "held")).objects("hook") == [name]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"name": "renamed"}, "the connector is no more"),
        ({"enabled": False}, "the connector is disabled"),
        ({"app_group_ids": ["brand-b"]}, "of an app group that the connector does not name"),
        ({"app_ids": ["another"]}, "the connector would filter them today: app_id"),
    ],
)
def test_what_its_connector_does_not_take_is_told_and_stays_to_be_replayed(
    settings: dict[str, Any], why: str, folder: Path, sandbox: PartnerSandbox
) -> None:
    connect(folder, sandbox, **settings)
    code, said = replay(folder, wanted=Wanted(connectors=["hook"]))
    assert (code, said) == (
        0,
        ["0 dead letters to replay", "20 are left alone", f"{20:>9}  hook  {why}"],
    )
    connect(folder, sandbox)
    assert replay(folder, wanted=Wanted(connectors=["hook"]))[0] == 0
    assert sandbox.accepted_ids("hook") == ids_of(DEAD)


def test_a_paced_replay_delivers_all_without_waiting_for_full_batches(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    assert replay(folder, wanted=Wanted(connectors=["hook"]), rate=10)[0] == 0
    assert sandbox.accepted_ids("hook") == ids_of(DEAD)
    assert [len(request.event_ids) for request in sandbox.requests("hook")] == [10, 10]


# The command


def currents(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "replay", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            # Google's libraries warn of Python versions near the end of their support.
            "PYTHONWARNINGS": "ignore::FutureWarning",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_replays_what_its_filters_choose(folder: Path, sandbox: PartnerSandbox) -> None:
    ended = currents(
        folder,
        *("--dead_letters", "dead", "--connectors", "connectors.json", "--hold", "held"),
        *("--connector", "hook", "--connector", "other", "--reason", "expired"),
        *("--since", "2023-11-14T22:13:20Z", "--until", "48h", "--allow_local_partners"),
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"20 dead letters to replay\n{20:>9}  hook  expired\n"
    assert "read 100% of 20 events, received 20, delivered 20" in ended.stderr
    assert sandbox.accepted_ids("hook") == ids_of(DEAD)


def test_a_dry_run_counts_by_connector_and_reason_and_does_nothing(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    before = sorted(folder.rglob("*"))
    given = ("--dead_letters", "dead", "--connectors", "connectors.json", "--allow_local_partners")
    ended = currents(folder, *given, "--dry_run")
    assert (ended.returncode, ended.stdout.splitlines()) == (
        0,
        ["21 dead letters to replay", f"{1:>9}  -     invalid_json", f"{20:>9}  hook  expired"],
    )
    assert currents(folder, "--dead_letters", "dead", "--dry_run").stdout == ended.stdout
    found = json.loads(currents(folder, *given, "--dry_run", "--json").stdout)
    assert found["chosen"] == [
        {"connector": "", "reason": "invalid_json", "letters": 1},
        {"connector": "hook", "reason": "expired", "letters": 20},
    ]
    assert (found["left_alone"], found["unread"]) == ([], [])
    assert sandbox.requests("hook") == []
    assert sorted(folder.rglob("*")) == before


def test_originals_are_written_as_lines_and_nothing_is_sent_or_settled(folder: Path) -> None:
    given = ("--dead_letters", "dead", "--to", "out/events.ndjson", "--connector", "hook")
    for _ in range(2):
        ended = currents(folder, *given)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.splitlines()[-1] == "20 events are written to out/events.ndjson"
        assert (folder / "out" / "events.ndjson").read_bytes() == b"\n".join(DEAD) + b"\n"
    assert not (folder / "dead" / "replayed").exists()


def test_filters_that_match_nothing_are_told_and_are_no_failure(folder: Path) -> None:
    ended = currents(folder, "--dead_letters", "dead", "--to", "out", "--connector", "hok")
    assert (ended.returncode, ended.stdout) == (0, "no dead letter below dead is as asked for\n")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("name", ["typo", "connectors.json"])
def test_dead_letters_that_are_nowhere_are_bad_usage(folder: Path, name: str) -> None:
    ended = currents(folder, "--dead_letters", name, "--dry_run")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"there is no folder '{name}'" in ended.stderr


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "nowhere to go": (
        {"connectors": None, "run_options": ()},
        "--connectors or --to is missing: where the events go",
    ),
    "two ways to go": ({"to": "out"}, "--connectors and --to exclude each other"),
    "run's options without a run": (
        {"connectors": None, "to": "out", "run_options": ("--hold=secret",)},
        "unknown option --hold without --connectors",
    ),
    "another source": (
        {"run_options": ("--input", "connectors.json", "--allow_local_partners")},
        "--subscription and --input are not for a replay: it reads dead letters",
    ),
    "unknown option": (
        {"run_options": ("--connectr", "hook")},
        "unknown option --connectr; did you mean '--connectors'?",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_replay_that_cannot_be_is_told_why_in_a_line(
    what: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    order, line = REFUSALS[what]
    with pytest.raises(UsageError) as caught:
        replay(folder, **order)
    assert str(caught.value) == line


@pytest.mark.parametrize("given", ["yesterday", "2026-13-01", "48", ""])
def test_what_is_no_time_is_refused(given: str) -> None:
    with pytest.raises(click.BadParameter, match=re.escape(f"found {given!r}")):
        replay_command.make_context("replay", ["--dead_letters", "dead", "--since", given])


@pytest.mark.parametrize(
    "given", ["2023-11-14T22:13:20", "2023-11-14T22:13:20Z", "2023-11-15T00:13:20+02:00"]
)
def test_a_time_is_in_utc_unless_it_says_otherwise(given: str) -> None:
    context = replay_command.make_context("replay", ["--dead_letters", "dead", "--since", given])
    assert context.params["since"] == BURIED_MS


def test_a_time_may_be_so_long_ago() -> None:
    before = time.time()
    context = replay_command.make_context("replay", ["--dead_letters", "dead", "--until", "48h"])
    assert before - 0.001 <= context.params["until"] / 1_000 + 48 * 3_600 <= time.time() + 0.001
