"""The long form: a million hostile inputs and more, counted.

    python -m tests.hostile                     all targets, as `./run_tests.sh --fuzz` does
    python -m tests.hostile route pack          only these
    python -m tests.hostile --inputs 2000000    another number of inputs for decode and for route
    python -m tests.hostile --seconds 60        for each other target, and for each that is guided
    python -m tests.hostile --no-large          without the measuring of large messages

It ends with 1 at the first defect, whose input it leaves in the working folder.
"""

import argparse
import functools
import importlib.util
import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.hostile.feeding import feed_target
from tests.hostile.shapes import SHAPES
from tests.hostile.targets import large_steps, targets

COUNTED = ("decode", "route")
"""The targets that get so many inputs, and not so much time."""
PROCESSES = 2
LONGEST_SECONDS = 1_800.0
"""After so long even a counted target ends."""
LARGE_BYTES = 880_000
"""Just below what a message may have."""
ROUTE_SECONDS = 0.05
"""Of CPU, which no message may take to be decoded and routed."""
HANGS_SECONDS = 120.0
"""After so much more a target hangs."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *targets()])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--large", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    names = given.targets or list(targets())
    total = 0
    for name in names:
        inputs, seconds = (
            (given.inputs, LONGEST_SECONDS) if name in COUNTED else (sys.maxsize, given.seconds)
        )
        count, slowest = _mutated(name, inputs, seconds, given.seed)
        total += count
        _say(f"{name}: {count:,} mutated inputs, the slowest took {slowest * 1_000:.0f} ms of CPU")
    for name in names if importlib.util.find_spec("atheris") else []:
        count = _guided(name, given.seconds, given.seed)
        total += count
        _say(f"{name}: {count:,} inputs guided by coverage")
    if not importlib.util.find_spec("atheris"):
        _say("atheris is not installed: no inputs were guided by coverage")
    _say(f"{total:,} inputs, no defect")
    return _tell_large() if given.large else 0


def _mutated(name: str, inputs: int, seconds: float, seed: int) -> tuple[int, float]:
    """Feed a target from several processes; returns how many inputs there were, and the longest time."""
    feed = functools.partial(feed_target, name, -(-inputs // PROCESSES), seconds)
    seeds = [seed * 1_000 + number for number in range(PROCESSES)]
    with ProcessPoolExecutor(
        PROCESSES, multiprocessing.get_context("spawn"), logging.disable, (logging.CRITICAL,)
    ) as pool:
        fed = list(pool.map(feed, seeds, timeout=seconds + HANGS_SECONDS))
    for one in fed:
        if one.defect is not None:
            _leave(name, one.defect)
            targets()[name].check(one.defect)
            raise SystemExit("the input fails after others only: run it with the same seed")
    return sum(one.count for one in fed), max(one.slowest_seconds for one in fed)


def _guided(name: str, seconds: float, seed: int) -> int:
    """Let atheris look for inputs that reach new lines; in a process of its own, which it ends itself."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, content in enumerate(targets()[name].seeds):
            (Path(corpus) / str(number)).write_bytes(content)
        command = [sys.executable, "-m", "tests.hostile.guided", name, corpus]
        limits = [f"-max_total_time={seconds:.0f}", f"-seed={seed}", "-max_len=8192"]
        limits += ["-timeout=10", "-rss_limit_mb=3000", "-print_final_stats=1", "-verbosity=0"]
        ended = subprocess.run(
            [*command, *limits],
            env={**os.environ, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            timeout=seconds + HANGS_SECONDS,
            check=False,
        )
    if ended.returncode:
        sys.stderr.write(ended.stdout + ended.stderr)
        raise SystemExit(1)
    stats = dict(
        line.removeprefix("stat::").split(":", 1)
        for line in ended.stderr.splitlines()
        if line.startswith("stat::")
    )
    return int(stats["number_of_executed_units"])


def _tell_large() -> int:
    """Measure the slowest large message of each step; decoding and routing has a bar."""
    slowest: dict[str, tuple[float, str]] = {}
    for shape, make in SHAPES.items():
        message = make(LARGE_BYTES)
        for name, step in large_steps().items():
            took = min(_cpu_of(step, message) for _ in range(3))
            slowest[name] = max(slowest.get(name, (0.0, "")), (took, shape))
    for name, (took, shape) in slowest.items():
        _say(f"{name}: a message of 880 KB took at most {took * 1_000:.0f} ms of CPU ({shape})")
    return int(slowest["route"][0] > ROUTE_SECONDS)


def _cpu_of(step: Callable[[bytes], None], message: bytes) -> float:
    before = time.process_time()
    step(message)
    return time.process_time() - before


def _leave(name: str, content: bytes) -> None:
    path = Path(f"hostile-{name}.input")
    path.write_bytes(content)
    _say(f"{name}: a defect; its input is in {path}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
