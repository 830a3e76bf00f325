"""Acts of many threads are done one at a time, each once, and nobody waits."""

import threading

import pytest

from runtime.in_turn import InTurn

SECONDS = 20.0


def test_what_is_left_while_another_is_at_it_is_done_by_that_one() -> None:
    in_turn = InTurn()
    at_it, gate, order = threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        at_it.set()
        assert gate.wait(SECONDS)
        order.append("first")

    thread = threading.Thread(target=in_turn.do, args=[first])
    thread.start()
    assert at_it.wait(SECONDS)
    in_turn.do(lambda: order.append("second"))  # returns, though the first is not done
    assert order == []
    gate.set()
    thread.join(SECONDS)
    assert order == ["first", "second"]


def test_an_act_may_leave_another() -> None:
    in_turn = InTurn()
    order = list[str]()

    def first() -> None:
        in_turn.do(lambda: order.append("second"))
        order.append("first")

    in_turn.do(first)
    assert order == ["first", "second"]


def test_an_act_that_raises_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    in_turn = InTurn()
    order = list[str]()

    def fail() -> None:
        in_turn.do(lambda: order.append("second"))
        raise KeyError("lane")

    in_turn.do(fail)
    in_turn.do(lambda: order.append("third"))
    assert order == ["second", "third"]
    assert "KeyError" in caplog.text


def test_of_many_threads_no_act_is_lost_nor_done_beside_another() -> None:
    in_turn = InTurn()
    counted, inside = [0], threading.Lock()

    def count() -> None:
        assert inside.acquire(blocking=False)
        counted[0] += 1
        inside.release()

    def leave() -> None:
        for _ in range(2_000):
            in_turn.do(count)

    threads = [threading.Thread(target=leave) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    in_turn.do(lambda: None)
    assert counted == [16_000]
