"""Feeding a target with mutated inputs, as many as are asked for or as there is time for."""

import time
from typing import NamedTuple

from tests.hostile.mutating import mutations
from tests.hostile.targets import targets


class Fed(NamedTuple):
    """How it went."""

    count: int
    slowest_seconds: float
    """Of CPU."""
    defect: bytes | None = None
    """The input that was too much, if one was."""


def feed_target(name: str, inputs: int, seconds: float, seed: int) -> Fed:
    """Feed a target until something is too much for it."""
    target, until, slowest, count = targets()[name], time.monotonic() + seconds, 0.0, 0
    for content in mutations(target.seeds, seed):
        before = time.process_time()
        try:
            target.check(content)
        except Exception:  # noqa: BLE001 - anything that it raises is a defect
            return Fed(count, slowest, content)
        count += 1
        slowest = max(slowest, time.process_time() - before)
        if count >= inputs or time.monotonic() > until:
            break
    return Fed(count, slowest)
