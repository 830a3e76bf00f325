"""The page on sizing is reckoned from the README's figures, and says so when those change."""

import math
import re

import pytest

from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "operating-sizing.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECONDS = 48 * 3_600
ROWS = [
    [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| [\d,]+ \|", line)
]


def copies_a_cpu_second() -> float:
    found = re.search(r"\| the pipeline \|[^|]*\| ([\d,]+) ", README)
    assert found
    return float(found[1].replace(",", ""))


def test_the_figures_are_those_of_the_readme() -> None:
    measured = f"{copies_a_cpu_second():,.0f} copies a CPU second"
    assert measured in PAGE
    for figure in ("322", "247", "48 MB", "32 MB"):
        assert figure in README
        assert figure in PAGE


@pytest.mark.parametrize("row", [row for row in ROWS if len(row) == 2], ids=str)
def test_events_a_second_and_vcpu_are_reckoned_from_copies(row: list[str]) -> None:
    assert float(row[1]) == pytest.approx(copies_a_cpu_second() / float(row[0]), rel=0.005)


@pytest.mark.parametrize("row", [row for row in ROWS if len(row) == 4], ids=str)
def test_what_an_outage_holds_is_reckoned_from_the_events(row: list[str]) -> None:
    rate, size = float(row[0]), float(row[1]) + 1  # each stands on a line
    held = rate * size * SECONDS
    assert row[2] == f"{held / 1e9:.1f} GB"
    assert int(row[3]) == math.ceil(held / 8e6)


def test_what_an_outage_costs_is_reckoned_from_what_it_holds() -> None:
    held = 1_000 * 936 * SECONDS
    assert f"cost {held / 2 / 1e9 * 0.02 * 2 / 30:.2f} USD" in PAGE
    assert f"{math.ceil(held / 8e6):,} writes at 0.005 USD a thousand cost\n0.10 USD" in PAGE
    assert f"{math.ceil(held / 8e6) * 0.005 / 1_000:.2f}" == "0.10"
    assert (
        f"{1_000 * SECONDS / 1e6} million events, which take {1_000 * SECONDS / 60_000 / 60:.0f}"
        in PAGE
    )
    assert f"{1_000 * SECONDS * 303 / 1e9:.1f} GB" in PAGE
