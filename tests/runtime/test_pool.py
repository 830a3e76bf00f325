"""The pool's threads are shared fairly: caps hold, lanes take turns, waiting costs no thread."""

import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import pytest

from runtime.pool import LanePool
from tests.runtime.threads import no_threads

T = TypeVar("T")

SECONDS = 20.0
"""After which a test fails rather than waits on."""


@contextlib.contextmanager
def pool_of(threads: int) -> Iterator[LanePool]:
    pool = LanePool(threads)
    yield pool
    pool.close()


class Countdown:
    """Comes to its end after so many calls."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self._left -= 1
            self._changed.notify_all()

    def wait(self) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._left <= 0, SECONDS)


def wait_for(gate: threading.Event) -> None:
    assert gate.wait(SECONDS)


def note(order: list[T], value: T, done: Callable[[], None]) -> None:
    order.append(value)
    done()


def eventually(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + SECONDS
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    return condition()


def live_threads() -> int:
    return sum(thread.name == "deliveries" for thread in threading.enumerate())


@pytest.mark.parametrize("cap", [1, 3])
def test_no_more_than_the_cap_of_a_lane_run_at_once(cap: int) -> None:
    lock, running, most, done = threading.Lock(), Counter[str](), Counter[str](), Countdown(120)
    together = {lane: threading.Barrier(cap) for lane in "ab"}

    def task(lane: str) -> None:
        with lock:
            running[lane] += 1
            most[lane] = max(most[lane], running[lane])
        together[lane].wait(SECONDS)  # and no fewer: the cap is made use of
        with lock:
            running[lane] -= 1
        done()

    with pool_of(16) as pool:
        for lane in "ab" * 60:
            pool.submit(lane, cap, partial(task, lane))
        assert done.wait()
    assert most == {"a": cap, "b": cap}


def test_lanes_take_turns_and_one_with_a_thousand_tasks_does_not_starve_another() -> None:
    order: list[str] = []
    gate, done = threading.Event(), Countdown(1_100)

    def task(lane: str) -> None:
        wait_for(gate)
        note(order, lane, done)

    with pool_of(1) as pool:
        for lane in itertools.chain(["busy"] * 1_000, ["calm"] * 100):
            pool.submit(lane, 64, partial(task, lane))
        gate.set()
        assert done.wait()
    assert [order[:count].count("calm") for count in (10, 50, 150)] == [
        pytest.approx(count / 2, abs=2) for count in (10, 50, 150)
    ]


def test_a_lane_that_hangs_on_all_its_threads_leaves_the_others_to_the_rest() -> None:
    gate, done = threading.Event(), Countdown(10)
    with pool_of(4) as pool:
        for _ in range(50):
            pool.submit("hanging", 3, lambda: wait_for(gate))
        for _ in range(10):
            pool.submit("well", 3, done)
        assert done.wait()
        gate.set()


def test_lanes_that_hang_on_all_threads_they_can_have_leave_one_for_the_next_lane() -> None:
    gate, done = threading.Event(), Countdown(10)
    with pool_of(8) as pool:
        for _ in range(8):
            for lane in ("a", "b", "c"):
                pool.submit(lane, 8, lambda: wait_for(gate))
        for _ in range(10):
            pool.submit("well", 8, done)
        assert done.wait()
        gate.set()


def test_a_cap_that_is_lowered_holds_for_what_waits_already() -> None:
    gates = [threading.Event() for _ in range(4)]
    started, running, fence = Countdown(2), [0], Countdown(1)

    def hang(gate: threading.Event) -> None:
        running[0] += 1
        started()
        wait_for(gate)

    with pool_of(4) as pool:  # two of them are for lanes of which nothing runs
        for gate in gates[:3]:
            pool.submit("a", 3, partial(hang, gate))
        assert started.wait()
        pool.submit("a", 1, partial(hang, gates[3]))
        gates[0].set()
        assert eventually(lambda: pool._busy == 1)
        pool.submit("b", 1, fence)
        assert fence.wait()
        assert running[0] == 2
        for gate in gates:
            gate.set()


def test_the_tasks_of_a_lane_start_in_their_order() -> None:
    order: list[int] = []
    done = Countdown(100)
    with pool_of(8) as pool:
        for number in range(100):
            pool.submit("a", 1, partial(note, order, number, done))
        assert done.wait()
    assert order == list(range(100))


def test_a_delayed_task_runs_after_its_delay_and_not_before() -> None:
    done, submitted, ran = Countdown(1), time.monotonic(), [0.0]

    def task() -> None:
        ran[0] = time.monotonic()
        done()

    with pool_of(2) as pool:
        pool.submit("a", 1, task, delay_seconds=0.2)
        assert done.wait()
    assert 0.2 <= ran[0] - submitted < 2


def test_delayed_tasks_run_when_they_are_due_and_not_in_the_order_of_submission() -> None:
    order: list[float] = []
    done = Countdown(3)
    with pool_of(2) as pool:
        for delay in (0.3, 0.1, 0.2):
            pool.submit("a", 1, partial(note, order, delay, done), delay)
        assert done.wait()
    assert order == [0.1, 0.2, 0.3]


def test_a_delay_occupies_no_thread() -> None:
    done = Countdown(20)
    with pool_of(1) as pool:
        for _ in range(100):
            pool.submit("waiting", 64, lambda: None, delay_seconds=SECONDS)
        for _ in range(20):
            pool.submit("a", 1, done)
        assert done.wait()


def test_a_delay_is_over_in_time_though_all_threads_hang() -> None:
    gate, begun = threading.Event(), threading.Event()

    def begin() -> bool:
        begun.set()
        return True

    with pool_of(1) as pool:
        pool.submit("hanging", 1, lambda: wait_for(gate))
        pool.submit("well", 1, waits, 0.01, begin)
        assert begun.wait(SECONDS)
        pool.end("well")
        gate.set()


def test_an_earlier_delay_does_not_wait_for_a_later_one() -> None:
    done = Countdown(1)
    with pool_of(1) as pool:
        pool.submit("a", 1, lambda: None, 2 * SECONDS)
        pool.submit("a", 1, done, 0.01)
        assert done.wait()


def test_ten_thousand_lanes_leave_nothing_behind() -> None:
    done = Countdown(20_000)
    with pool_of(8) as pool:
        for number in range(10_000):
            pool.submit(f"lane-{number}", 2, done)
            pool.submit(f"lane-{number}", 2, done, delay_seconds=0.001)
        assert done.wait()
    assert (pool._queues, pool._later) == ({}, [])
    assert not pool._first
    assert not pool._further
    assert pool._busy == 0


def test_no_more_threads_are_started_than_the_limit() -> None:
    before = live_threads()
    gate, many = threading.Event(), Countdown(50)
    with pool_of(5) as pool:
        for _ in range(3):
            pool.submit("a", 64, lambda: wait_for(gate))
        for _ in range(50):
            pool.submit("b", 64, many)
        gate.set()
        assert many.wait()
        assert live_threads() - before <= 5
    assert live_threads() == before


def test_close_waits_for_what_runs_and_drops_what_waits() -> None:
    before, started, ended, dropped = live_threads(), threading.Event(), [], []
    pool = LanePool(1)

    def task() -> None:
        started.set()
        pool.submit("a", 1, lambda: dropped.append(1))
        ended.append(1)

    pool.submit("a", 1, task)
    pool.submit("later", 1, lambda: dropped.append(1), delay_seconds=SECONDS)
    assert started.wait(SECONDS)
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < SECONDS / 2
    assert ended == [1]
    assert live_threads() == before
    assert len(dropped) <= 1  # the one that waited for its turn may have had it before the close


def test_many_threads_submit_at_once_and_nothing_is_lost() -> None:
    done = Countdown(4_000)
    with pool_of(8) as pool:

        def submit() -> None:
            for number in range(500):
                pool.submit(f"lane-{number % 7}", 2, done, delay_seconds=0.001 * (number % 3))

        threads = [threading.Thread(target=submit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert done.wait()


# What needs no thread


def waits() -> None:
    raise AssertionError("a thread was to wait for it")


def test_what_is_begun_takes_no_thread_and_counts_for_the_cap_until_it_ends() -> None:
    begun, done = [], Countdown(10)

    def begin(number: int) -> bool:
        begun.append(number)
        return True

    with pool_of(2) as pool:
        for number in range(5):
            pool.submit("a", 2, waits, begin=partial(begin, number))
        assert begun == [0, 1]
        for _ in range(10):
            pool.submit("b", 1, done)
        assert done.wait()
        assert begun == [0, 1]
        for _ in range(5):
            pool.end("a")
    assert begun == [0, 1, 2, 3, 4]
    assert pool._queues == {}


def test_what_cannot_be_begun_is_run_by_a_thread_in_its_turn() -> None:
    order: list[str] = []
    done = Countdown(3)
    with pool_of(1) as pool:
        pool.submit("a", 1, waits, begin=lambda: True)
        for name in ("first", "second"):
            pool.submit("a", 1, partial(note, order, name, done), begin=lambda: False)
        pool.submit("a", 1, partial(note, order, "third", done))
        pool.end("a")
        assert done.wait()
    assert order == ["first", "second", "third"]
    assert pool._queues == {}


def test_after_a_task_on_a_thread_the_next_is_begun() -> None:
    gate, begun = threading.Event(), threading.Event()

    def begin() -> bool:
        begun.set()
        return True

    with pool_of(2) as pool:
        pool.submit("a", 1, lambda: wait_for(gate))
        pool.submit("a", 1, waits, begin=begin)
        assert not begun.is_set()
        gate.set()
        assert begun.wait(SECONDS)
        pool.end("a")
    assert pool._busy == 0


def test_what_is_delayed_is_begun_when_it_is_due() -> None:
    begun = threading.Event()

    def begin() -> bool:
        begun.set()
        return True

    with pool_of(1) as pool:
        pool.submit("a", 1, waits, 0.01, begin)
        assert begun.wait(SECONDS)
        assert eventually(lambda: pool._busy == 0)
        pool.end("a")
    assert pool._queues == {}


def test_nothing_is_begun_after_the_close() -> None:
    pool = LanePool(1)
    pool.submit("a", 1, waits, begin=lambda: True)
    pool.submit("a", 1, waits, begin=lambda: pytest.fail("begun"))
    pool.close()
    pool.end("a")
    pool.submit("b", 1, waits, begin=lambda: pytest.fail("begun"))


def test_the_rest_of_what_was_begun_waits_neither_for_its_lane_nor_for_others() -> None:
    """Its partner has answered: what that means must not wait for requests that hang."""
    gate, done = threading.Event(), Countdown(2)
    with pool_of(4) as pool:
        for _ in range(2):  # two of the threads are for lanes of which nothing runs
            pool.submit("hanging", 2, lambda: wait_for(gate))
        for _ in range(3):
            pool.submit("a", 3, waits, begin=lambda: True)
        pool.submit("a", 1, waits, begin=lambda: True)  # and the cap is lowered
        for _ in range(2):
            pool.go_on("a", done)
        assert done.wait()
        assert eventually(lambda: pool._queues["a"].running == 1)
        pool.end("a")
        pool.end("a")
        gate.set()
    assert pool._queues == {}


def test_what_was_begun_in_vain_is_run_before_all_else_of_its_lane() -> None:
    order: list[str] = []
    done = Countdown(2)
    with pool_of(1) as pool:
        pool.submit("a", 1, waits, begin=lambda: True)
        pool.submit("a", 1, partial(note, order, "second", done))
        pool.redo("a", partial(note, order, "first", done))
        assert done.wait()
    assert order == ["first", "second"]
    assert pool._queues == {}


def test_while_much_is_running_no_lane_has_more_than_its_part() -> None:
    begun: Counter[str] = Counter()

    def begin(lane: str) -> bool:
        begun[lane] += 1
        return True

    with pool_of(8) as pool:
        for lane, count in {"a": 10, "b": 5, "c": 5}.items():
            for _ in range(count):
                pool.submit(lane, 16, waits, begin=partial(begin, lane))
        assert begun == {"a": 8, "b": 4, "c": 2}  # the halves of two, the thirds of three
        pool.end("a")
        pool.end("b")
        assert begun == {"a": 8, "b": 4, "c": 2}
        pool.end("c")
        assert begun == {"a": 8, "b": 4, "c": 3}
        ended = Counter({"a": 1, "b": 1, "c": 1})
        for lane, count in {"a": 10, "b": 5, "c": 5}.items():
            for _ in range(count - 1):
                assert eventually(lambda lane=lane: ended[lane] < begun[lane])
                ended[lane] += 1
                pool.end(lane)
    assert begun == {"a": 10, "b": 5, "c": 5}
    assert pool._queues == {}
    assert pool._running == 0


def test_what_goes_on_after_its_task_has_returned_is_running_until_its_end() -> None:
    order: list[str] = []
    first, second = Countdown(1), Countdown(1)

    def go_on() -> bool:
        note(order, "first", first)
        return True

    with pool_of(2) as pool:
        pool.submit("a", 1, go_on)
        pool.submit("a", 1, partial(note, order, "second", second))
        assert first.wait()
        assert eventually(lambda: pool._busy == 0)
        assert order == ["first"]
        pool.end("a")
        assert second.wait()
    assert pool._queues == {}


def test_what_raises_where_it_should_begin_is_run_by_a_thread() -> None:
    done = Countdown(2)

    def begin() -> bool:
        raise ValueError

    with pool_of(1) as pool:
        pool.submit("a", 1, done, begin=begin)
        pool.submit("a", 1, done, 0.001, begin)
        assert done.wait()
    assert pool._queues == {}
    assert pool._busy == 0


def test_a_task_that_raises_costs_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    done = Countdown(1)

    def fail() -> None:
        raise ValueError("SECRET")

    with pool_of(2) as pool:
        for _ in range(10):
            pool.submit("a", 1, fail)
        pool.submit("a", 1, done)
        assert done.wait()
    assert pool._queues == {}
    assert "ValueError" in caplog.text
    assert "SECRET" not in caplog.text


def test_close_waits_for_the_rest_of_what_was_begun() -> None:
    gate, done = threading.Event(), Countdown(3)
    pool = LanePool(1)
    pool.submit("b", 1, lambda: wait_for(gate))
    for _ in range(3):
        pool.submit("a", 3, waits, begin=lambda: True)
        pool.go_on("a", done)
    closing = threading.Thread(target=pool.close)
    closing.start()
    gate.set()
    closing.join(SECONDS)
    assert not closing.is_alive()
    assert done.wait()


# Where the system has no more threads


def test_without_any_thread_a_task_is_refused_and_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    done = Countdown(2)
    with pool_of(2) as pool:
        with monkeypatch.context() as patch:
            no_threads("deliveries", patch)
            with pytest.raises(RuntimeError):
                pool.submit("a", 1, done)
        pool.submit("b", 1, done)
        assert done.wait()
    assert pool._queues == {}


def test_the_threads_that_there_are_do_what_further_ones_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = Countdown(10)
    with pool_of(8) as pool:
        pool.submit("a", 1, lambda: None)
        no_threads("deliveries", monkeypatch)
        for number in range(10):
            pool.submit(f"lane-{number}", 1, done)
        assert done.wait()
    assert pool._born == 1


def test_without_a_clock_what_is_for_later_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done = Countdown(1)
    no_threads("delays", monkeypatch)
    with pool_of(1) as pool:
        pool.submit("a", 1, done, 2 * SECONDS)
        assert done.wait()
