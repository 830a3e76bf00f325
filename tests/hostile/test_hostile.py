"""The short form: every target with some thousand hostile inputs; `./run_tests.sh --fuzz` is the long one."""

import functools
import gc
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.feeding import feed_target
from tests.hostile.mutating import TOKENS, mutations
from tests.hostile.shapes import HEAD, SHAPES, TAIL
from tests.hostile.targets import large_steps, targets
from tests.security.measuring import with_peak

INPUTS = {
    "decode": 10_000,
    "route": 2_000,
    "pack": 400,
    "judge": 3_000,
    "answer": 800,
    "connectors-file": 300,
    "held-object": 800,
    "hold-folder": 200,
    "dead-letters": 400,
    "archive": 3_000,
    "gzip": 400,
}
NAMES = sorted(targets())
MOST_TIMES = 20
"""As much memory as a message has bytes: an empty list is three of them, and 72 as an object."""
LARGE = 240_000
"""The long form has messages of the size that is allowed."""


def test_every_target_is_fed() -> None:
    assert sorted(INPUTS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_good_inputs_pass(name: str) -> None:
    for content in targets()[name].seeds:
        targets()[name].check(content)


@pytest.mark.parametrize("name", NAMES)
def test_no_mutated_input_is_too_much(name: str) -> None:
    fed = feed_target(name, INPUTS[name], seconds=20, seed=7)
    assert fed.defect is None, fed.defect
    assert fed.count


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from([HEAD, TAIL, *TOKENS]) | st.binary(max_size=20), max_size=12).map(
        b"".join
    )
)
def test_no_heap_of_tokens_is_too_much(name: str, content: bytes) -> None:
    targets()[name].check(content)


def test_the_same_seed_gives_the_same_inputs() -> None:
    seeds = targets()["decode"].seeds
    first, second = (list(itertools.islice(mutations(seeds, 3), 500)) for _ in range(2))
    assert first == second
    assert len(set(first)) > 400


# Large messages


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_no_large_message_is_too_much(shape: str) -> None:
    message = SHAPES[shape](LARGE)
    assert len(message) > LARGE / 2
    targets()["decode"].check(message)
    targets()["route"].check(message)
    targets()["pack"].check(message)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_no_message_takes_more_than_twenty_times_its_size(shape: str) -> None:
    message = SHAPES[shape](LARGE)
    for name, step in large_steps().items():
        _, peak = with_peak(functools.partial(step, message))
        assert peak < MOST_TIMES * len(message), name


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_the_time_for_a_message_grows_with_its_size_and_not_with_the_square(shape: str) -> None:
    """Four times the size takes four times as long, and would take sixteen times: nine is between."""
    small, large = SHAPES[shape](LARGE // 4), SHAPES[shape](LARGE)
    for name, step in large_steps().items():
        assert grows_less(step, small, large, times=9, unless_under=0.01), name


def grows_less(
    step: Callable[[Any], None], small: bytes, large: bytes, times: float, unless_under: float
) -> bool:
    """Whether a step's CPU time grows less than so many times: one good measurement out of many tells."""
    least: Sequence[float] = (float("inf"), float("inf"))
    for _ in range(5):
        least = [
            min(before, cpu_of(step, content))
            for before, content in zip(least, (small, large), strict=True)
        ]
        if least[1] < unless_under or least[1] < times * least[0]:
            return True
    return False


def cpu_of(step: Callable[[Any], None], content: bytes) -> float:
    gc.disable()  # it comes when it comes, and not in proportion
    try:
        before = time.process_time()
        step(content)
        return time.process_time() - before
    finally:
        gc.enable()


def test_a_quadratic_step_would_be_noticed() -> None:
    def count(content: bytes) -> None:
        for _ in content[::1_000]:
            content.count(b"ab")

    assert not grows_less(count, b"a" * (LARGE // 4), b"a" * LARGE, times=9, unless_under=0.002)
