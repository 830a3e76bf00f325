"""What is done every so often is done again, whatever becomes of it once."""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.repeating import Repeating

ROOT = Path(__file__).parents[2]
SECONDS = 20.0
"""After which a test fails rather than waits on."""


def failing(error: Exception, done: threading.Event) -> Callable[[], None]:
    """Raises at its first two calls, and says when the third one has come."""
    calls: list[int] = []

    def act() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise error
        done.set()

    return act


@pytest.mark.parametrize("error", [OverflowError("SECRET"), UnicodeError(), KeyError("SECRET")])
def test_it_goes_on_after_any_mistake_and_says_so_without_the_mistakes_text(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()
    repeating = Repeating("looking", 0.001, failing(error, done))
    repeating.start()
    assert done.wait(SECONDS)
    repeating.close()
    first, second = caplog.records[:2]
    assert first.levelno == second.levelno == logging.ERROR
    assert first.getMessage().startswith("looking: a mistake, it is tried again in 0.001 s: ")
    assert f"{type(error).__name__} at act:" in first.getMessage()
    assert "SECRET" not in caplog.text


def test_closing_ends_it() -> None:
    done = threading.Event()
    repeating = Repeating("looking", 0.001, done.set)
    repeating.start()
    assert done.wait(SECONDS)
    repeating.close()
    assert [thread for thread in threading.enumerate() if thread.name == "looking"] == []


def test_one_that_nobody_has_closed_does_not_keep_the_process() -> None:
    code = "from runtime.repeating import Repeating; Repeating('x', 3600, print).start()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=SECONDS, cwd=ROOT)
