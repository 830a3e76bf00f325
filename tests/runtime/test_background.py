"""Tasks beside the engine's thread: one of a key at a time, each outcome once."""

import threading
from collections.abc import Iterator

import pytest

from runtime.background import Background


@pytest.fixture
def background() -> Iterator[Background[str]]:
    made = Background[str](4)
    yield made
    made.close()


def test_an_outcome_is_there_when_the_task_has_ended(background: Background[str]) -> None:
    may_end = threading.Event()
    assert background.outcome("a") is None
    background.begin("a", lambda: "done" if may_end.wait(10) else "late")
    assert background.outcome("a") is None
    may_end.set()
    assert background.outcome("a", wait_seconds=10) == "done"
    assert background.outcome("a") == "done"


def test_the_next_task_of_a_key_begins_when_the_last_was_collected(
    background: Background[str],
) -> None:
    background.begin("a", lambda: "first")
    background.begin("a", lambda: "second")
    assert background.outcome("a", wait_seconds=10) == "first"
    background.collect("a")
    assert background.outcome("a") is None
    background.begin("a", lambda: "third")
    assert background.outcome("a", wait_seconds=10) == "third"


def test_a_key_does_not_wait_for_another(background: Background[str]) -> None:
    may_end = threading.Event()
    background.begin("a", lambda: "done" if may_end.wait(10) else "late")
    background.begin("b", lambda: "done")
    assert background.outcome("b", wait_seconds=10) == "done"
    assert background.outcome("a") is None
    may_end.set()


def test_closing_waits_for_what_runs() -> None:
    background = Background[str](1)
    begun, may_end = threading.Event(), threading.Event()

    def task() -> str:
        begun.set()
        return "done" if may_end.wait(10) else "late"

    background.begin("a", task)
    assert begun.wait(10)
    closing = threading.Thread(target=background.close)
    closing.start()
    may_end.set()
    closing.join(10)
    assert background.outcome("a") == "done"
