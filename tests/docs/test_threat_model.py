"""The threat model names tests that there are, in each row at least one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
ROWS = re.findall(
    r"^\| (?!threat|---)(.+?) \| (.+?) \| (.+?) \|$", TEXT.partition("## Threats")[2], re.MULTILINE
)
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_there_are_threats() -> None:
    assert len(ROWS) > 20


@pytest.mark.parametrize(("threat", "tests"), [(threat, tests) for threat, _, tests in ROWS])
def test_every_threat_names_a_test_that_exists(threat: str, tests: str) -> None:
    named = NAMED.findall(tests)
    assert len(named) == tests.count("`") // 2 > 0, threat
    for file, name in named:
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
