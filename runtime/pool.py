"""Threads shared by all lanes, each of which may take only so many of them."""

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

Task = Callable[[], None]


@dataclass(eq=False)
class _Queue:
    """What one lane wants done."""

    lane: str
    cap: int
    tasks: deque[Task] = field(default_factory=deque)
    running: int = 0
    listed: bool = False
    """Whether it stands among the lanes that have something to run."""

    @property
    def runnable(self) -> bool:
        return bool(self.tasks) and self.running < self.cap


class LanePool:
    """Runs tasks on at most `threads` threads, lane by lane in turn; one a process."""

    def __init__(self, threads: int) -> None:
        self._limit = threads
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._changed = threading.Condition()
        self._queues: dict[str, _Queue] = {}
        self._ready: deque[_Queue] = deque()
        self._later: list[tuple[float, int, str, int, Task]] = []
        self._order = itertools.count()
        self._closed = False

    def submit(self, lane: str, cap: int, task: Task, delay_seconds: float = 0) -> None:
        """Run `task`, which must not raise, when a thread is free and fewer than `cap` of the lane run.

        A delay is waited out by no thread.
        """
        with self._changed:
            if delay_seconds > 0:
                due = time.monotonic() + delay_seconds
                heapq.heappush(self._later, (due, next(self._order), lane, cap, task))
            else:
                self._enqueue(lane, cap, task)
            self._wake()

    def close(self) -> None:
        """End the threads when what they run has ended; what waits is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _enqueue(self, lane: str, cap: int, task: Task) -> None:
        queue = self._queues.setdefault(lane, _Queue(lane, cap))
        queue.cap = cap
        queue.tasks.append(task)
        self._list(queue)

    def _list(self, queue: _Queue) -> None:
        if queue.runnable and not queue.listed:
            queue.listed = True
            self._ready.append(queue)

    def _wake(self) -> None:
        if self._idle:
            self._changed.notify()
        elif len(self._threads) < self._limit:
            thread = threading.Thread(target=self._run, name="deliveries", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            queue, task = taken
            task()
            with self._changed:
                self._end(queue)

    def _end(self, queue: _Queue) -> None:
        queue.running -= 1
        self._list(queue)
        if not queue.tasks and not queue.running:
            del self._queues[queue.lane]
        if self._ready:
            self._wake()

    def _take(self) -> tuple[_Queue, Task] | None:
        """Wait for a task; None when the pool is closed."""
        with self._changed:
            while not self._closed:
                self._promote()
                if self._ready:
                    return self._next()
                due = self._later[0][0] - time.monotonic() if self._later else None
                self._idle += 1
                self._changed.wait(due)
                self._idle -= 1
            return None

    def _promote(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            _, _, lane, cap, task = heapq.heappop(self._later)
            self._enqueue(lane, cap, task)

    def _next(self) -> tuple[_Queue, Task]:
        queue = self._ready.popleft()
        queue.listed = False
        queue.running += 1
        task = queue.tasks.popleft()
        self._list(queue)
        if self._ready or (self._later and not self._idle):  # somebody has to see what gets due
            self._wake()
        return queue, task
