"""What mutmut has found is read whole, and the groups name what is there."""

import json
from pathlib import Path

import pytest

from tests.mutants.groups import GROUPS
from tests.mutants.verdicts import (
    KILLED,
    OPEN,
    SURVIVED,
    TIMEOUTS,
    names_with,
    read_verdicts,
    table,
)

ROOT = Path(__file__).parents[2]


def keep(folder: Path, module: str, **codes: int | None) -> None:
    path = folder / (module.replace(".", "/") + ".py.meta")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"exit_code_by_key": codes}))


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (1, KILLED),
        (0, SURVIVED),
        (33, SURVIVED),
        (77, SURVIVED),
        (36, TIMEOUTS),
        (-9, TIMEOUTS),
        (None, OPEN),
    ],
)
def test_an_exit_code_is_a_verdict_and_what_is_unknown_is_to_be_looked_at(
    tmp_path: Path, code: int | None, verdict: str
) -> None:
    keep(tmp_path, "sinks.fields", one=code)
    assert read_verdicts(tmp_path, ["sinks"]) == {"sinks.fields": {"one": verdict}}
    assert list(names_with(read_verdicts(tmp_path, ["sinks"]), verdict)) == ["one"]


def test_only_the_modules_that_were_asked_for_are_read(tmp_path: Path) -> None:
    for module in ("sinks.sink", "sinks.sinks", "runtime.hold.turn", "runtime.hold.watch"):
        keep(tmp_path, module, one=1)
    keep(tmp_path, "sinks.empty")
    assert list(read_verdicts(tmp_path, ["sinks.sink"])) == ["sinks.sink"]
    assert list(read_verdicts(tmp_path, ["runtime.hold"])) == [
        "runtime.hold.turn",
        "runtime.hold.watch",
    ]
    assert list(read_verdicts(tmp_path, ["sinks"])) == ["sinks.sink", "sinks.sinks"]


def test_the_table_counts_every_mutant_once(tmp_path: Path) -> None:
    keep(tmp_path, "sinks.a", a=1, b=1, c=0, d=36)
    keep(tmp_path, "sinks.b", a=None, b=1)
    rows = [line.split() for line in table(read_verdicts(tmp_path, ["sinks"])).splitlines()]
    assert rows == [
        ["module", "mutants", KILLED, SURVIVED, TIMEOUTS, OPEN],
        ["sinks.a", "4", "2", "1", "1", "0"],
        ["sinks.b", "2", "1", "0", "0", "1"],
        ["all", "6", "3", "1", "1", "1"],
    ]


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_names_modules_and_tests_that_are_there(name: str) -> None:
    group = GROUPS[name]
    for module in group.modules:
        assert list((ROOT / group.package).glob(f"{module}.py")), module
    for path in (*group.tests, *group.ignored):
        assert (ROOT / path).exists(), path
