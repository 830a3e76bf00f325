"""What a step of work takes of memory."""

import tracemalloc
from collections.abc import Callable
from typing import TypeVar

ResultT = TypeVar("ResultT")


def with_peak(work: Callable[[], ResultT]) -> tuple[ResultT, int]:
    """What `work` returns, and the most bytes that Python had allocated meanwhile, over those before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = work()
        return result, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
