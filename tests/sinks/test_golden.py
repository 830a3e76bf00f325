"""The golden files say what the product does, and each of them is still wanted."""

import difflib
import json
import shutil
from pathlib import Path

import pytest

from runtime.showing import pretty
from schemas.catalogue import event_types
from sinks import sink_kinds
from tests.golden.cases import COMMAND, FOLDER, Case, orphans, outcome_of, stored_cases
from tests.golden.rewriting import EVERY_TYPE, missing_types, rewrite

CASES = stored_cases()
INTENDED = f"if that is intended, run `{COMMAND}` and review the change with git diff"
SEND = "users.messages.sms.Send"


@pytest.mark.parametrize("case", CASES, ids=[f"{case.kind}-{case.name}" for case in CASES])
def test_a_request_is_what_its_golden_file_says(case: Case) -> None:
    assert case.request.exists(), f"{case.event.name} has no request yet; run `{COMMAND}`"
    golden, found = case.request.read_text(encoding="utf-8"), outcome_of(case)
    lines = difflib.unified_diff(golden.splitlines(), found.splitlines(), "golden", "now", "", "")
    assert found == golden, f"{case.kind}/{case.name} has changed; {INTENDED}\n" + "\n".join(lines)


def test_every_kind_has_golden_files() -> None:
    assert {case.kind for case in CASES} == sink_kinds().keys()
    assert {path.parent.name for path in FOLDER.glob("*/*.json")} == sink_kinds().keys()


def test_no_file_is_left_without_its_event() -> None:
    assert orphans() == [], f"these belong to no event; `{COMMAND}` removes them"


def test_every_event_type_has_a_golden_where_types_differ() -> None:
    assert missing_types() == [], f"`{COMMAND}` adds a sample of each"


@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_a_case_named_after_an_event_type_holds_an_event_of_it(kind: str) -> None:
    stored = {
        name: json.loads(Case(FOLDER, kind, name).event.read_bytes()) for name in event_types()
    }
    assert {name: event["event_type"] for name, event in stored.items()} == {n: n for n in stored}


def test_headers_are_readable() -> None:
    basics = [
        line.strip()
        for case in CASES
        for line in case.request.read_text(encoding="utf-8").splitlines()
        if '"Authorization": "Basic ' in line
    ]
    assert basics
    assert {line for line in basics if "<env:" not in line} == set()


def copy_of_all(parent: Path) -> Path:
    """A copy of the golden files, up to date, so that what follows tests the command alone."""
    folder = shutil.copytree(FOLDER, parent / "golden")
    rewrite(folder)
    return folder


def test_the_command_mends_what_is_missing_damaged_or_not_wanted(tmp_path: Path) -> None:
    folder = copy_of_all(tmp_path)
    sample, damaged = Case(folder, "segment", SEND), Case(folder, "mparticle", SEND)
    before = [path.read_bytes() for path in (sample.event, sample.request, damaged.request)]
    for path in (sample.event, sample.request):
        path.unlink()
    damaged.request.write_text("{}", encoding="utf-8")
    orphan = Case(folder, "postback", "of-no-event").request
    orphan.write_text("{}", encoding="utf-8")

    changed = rewrite(folder)

    assert set(changed) == {sample.event, sample.request, damaged.request, orphan}
    assert [p.read_bytes() for p in (sample.event, sample.request, damaged.request)] == before
    assert not orphan.exists()
    assert rewrite(folder) == []


def test_the_command_leaves_a_stored_event_as_it_is(tmp_path: Path) -> None:
    folder = copy_of_all(tmp_path)
    case = Case(folder, "segment", SEND)
    event = json.loads(case.event.read_bytes())
    case.event.write_text(pretty({**event, "id": "another"}), encoding="utf-8")
    stored = case.event.read_bytes()
    assert rewrite(folder) == [case.request]
    assert case.event.read_bytes() == stored
    assert '"messageId": "another"' in case.request.read_text(encoding="utf-8")
