"""Figures: medians, ranges, and ratios that are taken round by round."""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.figures import Ratio, Spread, paired, rotated, spread
from benchmarks.processes import run_program


class Run(NamedTuple):
    took: float


def test_a_spread_is_the_median_with_its_range() -> None:
    assert spread([3, 1, 2]) == Spread(2, 1, 3)


def test_a_ratio_is_taken_within_each_round() -> None:
    ours, theirs = [Run(1), Run(10), Run(4)], [Run(2), Run(10), Run(2)]
    assert paired(ours, theirs, "took") == Spread(1, 0.5, 2)


def test_a_ratio_of_rounds_that_do_not_match_is_an_error() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        paired([Run(1)], [Run(1), Run(2)], "took")


@pytest.mark.parametrize(
    ("found", "at_least", "holds"),
    [(0.70, True, True), (0.69, True, False), (1.3, False, False), (0.5, False, True)],
)
def test_a_ratio_holds_by_its_median(found: float, at_least: bool, holds: bool) -> None:
    assert Ratio("", Spread(found, 0, 9), 0.70, at_least).holds is holds


def test_every_case_is_the_first_in_some_round() -> None:
    assert [rotated("abc", number)[0] for number in range(4)] == ["a", "b", "c", "a"]


def test_the_peak_of_a_program_is_its_own_and_not_that_of_its_parent(tmp_path: Path) -> None:
    ballast = bytearray(b"x" * 150_000_000)  # what a child of ours would begin with in ru_maxrss
    small = "import time; time.sleep(0.5)"
    large = "import time; data = b'x' * 100_000_000; time.sleep(0.5)"
    peaks = [
        run_program([sys.executable, "-S", "-c", code], tmp_path / "log").peak_mb
        for code in (small, large)
    ]
    assert 1 < peaks[0] < 60
    assert 100 < peaks[1] < 160
    assert len(ballast) == 150_000_000


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no such thing"):
        run_program([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path / "log")
