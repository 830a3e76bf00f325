"""Threads shared by all lanes, each of which may have only so many tasks running."""

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

RESERVED = 0.5
"""The share of the threads that only lanes get of which nothing runs: others may hang on the rest."""

_logger = logging.getLogger(__name__)

Task = Callable[[], None]
Begin = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Job:
    task: Task
    begin: Begin | None


@dataclass(eq=False)
class _Queue:
    """What one lane wants done."""

    lane: str
    cap: int
    jobs: deque[_Job] = field(default_factory=deque)
    running: int = 0
    listed: "deque[_Queue] | None" = None
    """The list on which it waits for its turn."""

    @property
    def runnable(self) -> bool:
        return bool(self.jobs) and self.running < self.cap


class LanePool:
    """Runs tasks on at most `threads` threads, lane by lane in turn, and begins what needs none; one a process.

    Threads are born when they are needed. A lane of which nothing runs comes first, and finds a
    thread as long as fewer lanes than are reserved hang.
    """

    def __init__(self, threads: int) -> None:
        self._limit = threads
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._changed = threading.Condition()
        self._queues: dict[str, _Queue] = {}
        self._most_busy = threads - int(threads * RESERVED)
        """With so many busy, no lane gets a further thread."""
        self._busy = 0
        self._first: deque[_Queue] = deque()
        """Lanes that have something to run, and of which nothing runs."""
        self._further: deque[_Queue] = deque()
        """Lanes that have more to run than what runs of them."""
        self._rests: deque[tuple[_Queue, _Job]] = deque()
        """What is left to do of what was begun."""
        self._later: list[tuple[float, int, str, int, _Job]] = []
        self._order = itertools.count()
        self._closed = False

    def submit(
        self,
        lane: str,
        cap: int,
        task: Task,
        delay_seconds: float = 0,
        begin: Begin | None = None,
    ) -> None:
        """Run `task`, which must not raise, when a thread is free and fewer than `cap` of the lane run.

        A delay is waited out by no thread. What needs none to wait for its end has a `begin`, which must
        not wait: it is called first, by whoever is at hand, and returns whether `task` is not needed. What it
        has begun is running until `end` is called, or what `go_on` or `redo` was given has been run.
        """
        job = _Job(task, begin)
        with self._changed:
            if delay_seconds > 0:
                due = time.monotonic() + delay_seconds
                heapq.heappush(self._later, (due, next(self._order), lane, cap, job))
                self._wake()
                return
            queue = self._enqueue(lane, cap, job)
            following = self._take_to_begin(queue)
            if following is None and self._has_next:
                self._wake()
        self._begin(queue, following)

    def end(self, lane: str) -> None:
        """Say that one of the lane's tasks has ended that had been begun."""
        with self._changed:
            queue = self._queues[lane]
            following = self._end_and_take_next(queue)
        self._begin(queue, following)

    def go_on(self, lane: str, rest: Task) -> None:
        """Have a thread do the rest of what had been begun, which waits for no partner, before all else."""
        with self._changed:
            self._rests.append((self._queues[lane], _Job(rest, None)))
            self._wake()

    def redo(self, lane: str, task: Task) -> None:
        """Have a thread run the task of what had been begun in vain, before all else of its lane."""
        self._leave(self._queues[lane], task)

    def close(self) -> None:
        """End the threads when what they run has ended, and what had been begun is done; what waits is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _enqueue(self, lane: str, cap: int, job: _Job) -> _Queue:
        queue = self._queues.setdefault(lane, _Queue(lane, cap))
        queue.cap = cap
        queue.jobs.append(job)
        self._list(queue)
        return queue

    def _take_to_begin(self, queue: _Queue) -> _Job | None:
        """The lane's next job, if it may run and can be begun; it counts as running then."""
        if self._closed or not queue.runnable or queue.jobs[0].begin is None:
            return None
        queue.running += 1
        job = queue.jobs.popleft()
        self._list(queue)
        return job

    def _begin(self, queue: _Queue, job: _Job | None) -> None:
        """Begin a job on this thread, or leave it to another."""
        if job is not None and not _has_begun(job):
            self._leave(queue, job.task)

    def _leave(self, queue: _Queue, task: Task) -> None:
        """Let a thread run in its turn what counted as running, before all else of its lane."""
        with self._changed:
            queue.running -= 1
            queue.jobs.appendleft(_Job(task, None))
            self._list(queue)
            self._wake()

    def _list(self, queue: _Queue) -> None:
        """Put the lane at the end of the list where it belongs, if it is not on it."""
        where = (self._further if queue.running else self._first) if queue.runnable else None
        if where is queue.listed:
            return
        if queue.listed is not None:
            queue.listed.remove(queue)
        if where is not None:
            where.append(queue)
        queue.listed = where

    @property
    def _has_next(self) -> bool:
        further = self._further and self._busy < self._most_busy
        return bool(self._rests or self._first or further)

    def _wake(self) -> None:
        if self._idle:
            self._changed.notify()
        elif len(self._threads) < self._limit:
            thread = threading.Thread(target=self._run, name="deliveries", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more; those that there are will do it
                if not self._threads:
                    raise
                return
            self._threads.append(thread)

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            self._do(*taken)
            del taken  # it would be kept until there is more to do

    def _do(self, queue: _Queue, job: _Job) -> None:
        is_begun = _has_begun(job)
        if not is_begun:
            job.task()
        following = None
        with self._changed:
            self._busy -= 1
            if not is_begun:
                following = self._end_and_take_next(queue)
        self._begin(queue, following)

    def _end_and_take_next(self, queue: _Queue) -> _Job | None:
        """Let the lane's next job run; returned if it can be begun without a thread."""
        queue.running -= 1
        self._list(queue)
        if not queue.jobs and not queue.running:
            del self._queues[queue.lane]
        if self._has_next:
            self._wake()
        return self._take_to_begin(queue)

    def _take(self) -> tuple[_Queue, _Job] | None:
        """Wait for a task; None when the pool is closed."""
        with self._changed:
            while self._rests or not self._closed:
                self._promote()
                if self._has_next:
                    return self._next()
                due = self._later[0][0] - time.monotonic() if self._later else None
                self._idle += 1
                self._changed.wait(due)
                self._idle -= 1
            return None

    def _promote(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            _, _, lane, cap, job = heapq.heappop(self._later)
            self._enqueue(lane, cap, job)

    def _next(self) -> tuple[_Queue, _Job]:
        if self._rests:  # of what is running already
            self._busy += 1
            return self._rests.popleft()
        queue = (self._first or self._further).popleft()
        queue.listed = None
        queue.running += 1
        self._busy += 1
        job = queue.jobs.popleft()
        self._list(queue)
        if self._has_next or (self._later and not self._idle):  # somebody has to see what gets due
            self._wake()
        return queue, job


def _has_begun(job: _Job) -> bool:
    """Begin a job, if it can be; what raises counts as not begun."""
    try:
        return job.begin is not None and job.begin()
    except Exception as error:  # noqa: BLE001 - its task tells what is wrong, if it is so again
        _logger.error("a mistake in what was to be begun: %s", type(error).__name__)
        return False
