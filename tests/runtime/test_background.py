"""Tasks beside the engine's thread: one of a key at a time, each outcome once."""

import threading
from collections.abc import Iterator

import pytest

from runtime.background import Background
from tests.runtime.threads import no_threads


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
    assert background.seconds("a") is not None
    assert not background.collect("a", "second")
    assert background.collect("a", "first")
    assert background.outcome("a") is None
    assert background.seconds("a") is None
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


def test_who_lacks_room_waits_for_what_was_begun_first(background: Background[str]) -> None:
    first, second = threading.Event(), threading.Event()
    background.wait_for_oldest(10)  # nothing runs
    background.begin("a", lambda: "done" if first.wait(10) else "late")
    background.begin("b", lambda: "done" if second.wait(10) else "late")
    second.set()
    assert background.outcome("b", wait_seconds=10) == "done"
    background.wait_for_oldest(0.01)
    assert background.outcome("a") is None
    threading.Timer(0.05, first.set).start()
    background.wait_for_oldest(10)
    assert background.outcome("a") == "done"


def test_what_no_thread_was_there_for_is_not_begun(
    background: Background[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def task(name: str) -> str:
        ran.append(name)
        return name

    with monkeypatch.context() as starved:
        no_threads("deliveries", starved)
        with pytest.raises(RuntimeError):
            background.begin("a", lambda: task("first"))
    assert background.seconds("a") is None
    background.begin("a", lambda: task("second"))
    assert background.outcome("a", wait_seconds=10) == "second"
    assert ran == ["second"]
