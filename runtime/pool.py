"""Threads shared by all lanes, each of which may have only so many tasks running."""

import functools
import heapq
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.in_turn import InTurn

RESERVED = 0.5
"""The share of the threads that only lanes get of which nothing runs: others may hang on the rest."""

_logger = logging.getLogger(__name__)

Task = Callable[[], bool | None]
"""Returns True where what it does goes on though it has returned."""
Begin = Callable[[], bool]
"""Returns whether it does what the task would."""


@dataclass(frozen=True, slots=True)
class _Job:
    task: Task
    begin: Begin | None = None


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


class _Worker:
    """A thread of the pool, as who gives it something to do knows it."""

    def __init__(self) -> None:
        self._given: tuple[_Queue, _Job] | None = None
        self._call = threading.Lock()
        self._call.acquire()

    def give(self, given: tuple[_Queue, _Job] | None) -> None:
        """Wake it with something to do, or to its end."""
        self._given = given
        self._call.release()

    def take(self) -> tuple[_Queue, _Job] | None:
        """Wait until something is given."""
        self._call.acquire()
        given, self._given = self._given, None
        return given


class LanePool:
    """Runs tasks on at most `threads` threads, lane by lane in turn, and begins what needs none; one a process.

    Threads are born when they are needed. A lane of which nothing runs comes first, and finds a
    thread as long as fewer lanes than are reserved hang.
    """

    def __init__(self, threads: int) -> None:
        self._limit = threads
        self._threads: list[threading.Thread] = []
        self._in_turn = InTurn()
        """What is below changes there only."""
        self._outside: deque[Callable[[], None]] = deque()
        """What is to be done in consequence, by the next thread that is out of it."""
        self._here = threading.local()
        self._queues: dict[str, _Queue] = {}
        self._first: deque[_Queue] = deque()
        """Lanes that have something to run, and of which nothing runs."""
        self._further: deque[_Queue] = deque()
        """Lanes that have more to run than what runs of them."""
        self._rests: deque[tuple[_Queue, _Job]] = deque()
        """What is left to do of what was begun."""
        self._running = 0
        """Tasks of all lanes, those included that were begun and occupy no thread."""
        self._born = 0
        self._coming = 0
        """Threads that were born, and have not been there yet."""
        self._idle: list[_Worker] = []
        self._busy = 0
        self._most_busy = threads - int(threads * RESERVED)
        """With so many busy, no lane gets a further thread."""
        self._later: list[tuple[float, int, str, int, _Job]] = []
        self._order = itertools.count()
        self._clock: threading.Thread | None = None
        self._alarm = threading.Lock()
        self._alarm.acquire()
        self._due = math.inf
        """When the clock is to look at what is for later."""
        self._closed = False

    def submit(
        self,
        lane: str,
        cap: int,
        task: Task,
        delay_seconds: float = 0,
        begin: Begin | None = None,
    ) -> None:
        """Run `task` when a thread is free and fewer than `cap` of the lane run.

        A delay is waited out by no thread. What may need none has a `begin`, which must not wait: it is called
        first, by whoever is at hand. What goes on after either has returned is running until `end` is called,
        or what `go_on` or `redo` was given has been run. While as much is running as there may be threads,
        no lane has more running than its part of that, and one.
        """
        job = _Job(task, begin)
        if delay_seconds > 0:
            due = time.monotonic() + delay_seconds
            self._act(functools.partial(self._delay, due, lane, cap, job))
        else:
            self._act(functools.partial(self._enqueue, lane, cap, job))

    def end(self, lane: str) -> None:
        """Say that one of the lane's tasks has ended that had been begun."""
        self._act(functools.partial(self._end, lane))

    def go_on(self, lane: str, rest: Callable[[], None]) -> None:
        """Have a thread do the rest of what had been begun, which waits for no partner, before all else."""
        self._act(functools.partial(self._add_rest, lane, rest))

    def redo(self, lane: str, task: Task) -> None:
        """Have a thread run the task of what had been begun in vain, before all else of its lane."""
        self._act(functools.partial(self._put_back, lane, task))

    def close(self) -> None:
        """End the threads when what they run has ended, and what had been begun is done; what waits is dropped."""
        self._act(self._close)
        for thread in self._threads:
            thread.join()
        if self._clock is not None and self._clock.ident is not None:
            self._clock.join()

    def _act(self, change: Callable[[], None]) -> None:
        """Make a change in its turn, and then what is to be done outside."""
        self._in_turn.do(change)
        if getattr(self._here, "is_outside", False):
            return  # the caller's caller goes on
        self._here.is_outside = True
        failure = None
        try:
            while (consequence := self._next_outside()) is not None:
                try:
                    consequence()
                except RuntimeError as error:  # there is no thread at all
                    failure = error
        finally:
            self._here.is_outside = False
        if failure is not None:
            raise failure

    def _next_outside(self) -> Callable[[], None] | None:
        try:
            return self._outside.popleft()
        except IndexError:
            return None

    def _enqueue(self, lane: str, cap: int, job: _Job) -> None:
        queue = self._queues.setdefault(lane, _Queue(lane, cap))
        queue.cap = cap
        queue.jobs.append(job)
        self._list(queue)
        self._go_on_with(queue)

    def _end(self, lane: str) -> None:
        queue = self._queues[lane]
        self._stop(queue)
        self._go_on_with(queue)

    def _put_back(self, lane: str, task: Task) -> None:
        """Let a thread run in its turn what counted as running, before all else of its lane."""
        queue = self._queues[lane]
        queue.jobs.appendleft(_Job(task))
        self._stop(queue)
        self._dispatch()

    def _add_rest(self, lane: str, rest: Callable[[], None]) -> None:
        self._rests.append((self._queues[lane], _Job(rest)))
        self._dispatch()

    def _go_on_with(self, queue: _Queue) -> None:
        """Begin the lane's next job if it can be begun, and have threads run what else there is."""
        may_begin = not self._closed and queue.runnable and queue.jobs[0].begin is not None
        if may_begin and (not queue.running or self._has_room(queue)):
            job = self._start(queue)
            self._outside.append(functools.partial(self._begin, queue, job))
        self._dispatch()

    def _begin(self, queue: _Queue, job: _Job) -> None:
        if not _has_begun(job):
            self.redo(queue.lane, job.task)

    def _start(self, queue: _Queue) -> _Job:
        """The next job of a lane, which counts as running from now on."""
        queue.running += 1
        self._running += 1
        job = queue.jobs.popleft()
        self._list(queue)
        return job

    def _stop(self, queue: _Queue) -> None:
        queue.running -= 1
        self._running -= 1
        self._list(queue)
        if not queue.jobs and not queue.running:
            del self._queues[queue.lane]

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

    def _has_room(self, queue: _Queue) -> bool:
        """Whether a lane of which something runs may have more running."""
        return self._running < self._limit or queue.running < self._part

    @property
    def _part(self) -> int:
        """What each lane may have running however much is."""
        return self._limit // max(1, len(self._queues))

    @property
    def _runnable(self) -> int:
        """So many jobs could be run by as many threads."""
        if self._closed:
            return len(self._rests)
        return len(self._rests) + len(self._first) + self._further_runnable

    @property
    def _further_runnable(self) -> int:
        if self._running < self._limit:
            lanes = len(self._further)
        elif self._part > 1:
            lanes = sum(map(self._has_room, self._further))
        else:
            lanes = 0
        return max(0, min(lanes, self._most_busy - self._busy))

    def _dispatch(self) -> None:
        """Give jobs to threads that are idle, and have as many born as are lacking."""
        while self._idle and self._runnable:
            self._busy += 1
            self._idle.pop().give(self._next())
        lacking = self._runnable - self._coming
        for _ in range(min(lacking, self._limit - self._born)):
            self._born += 1
            self._coming += 1
            self._outside.append(self._bear)

    def _next(self) -> tuple[_Queue, _Job]:
        if self._rests:  # of what is running already
            return self._rests.popleft()
        if self._first:
            queue = self._first.popleft()
        else:
            queue = next(filter(self._has_room, self._further))
            self._further.remove(queue)
        queue.listed = None
        return queue, self._start(queue)

    def _bear(self) -> None:
        thread = threading.Thread(target=self._work, name="deliveries", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no more; those that there are will do it
            self._act(self._miscarry)
            if not self._threads:
                raise
            return
        self._threads.append(thread)

    def _miscarry(self) -> None:
        self._born -= 1
        self._coming -= 1

    def _work(self) -> None:
        worker = _Worker()
        self._act(functools.partial(self._come, worker))
        while (given := worker.take()) is not None:
            queue, job = given
            is_running = _has_begun(job) or _goes_on(job)
            del given, job  # they would be kept until there is more to do
            self._act(functools.partial(self._free, worker, queue, is_running))

    def _come(self, worker: _Worker) -> None:
        self._coming -= 1
        self._rest(worker)

    def _free(self, worker: _Worker, queue: _Queue, is_running: bool) -> None:
        self._busy -= 1
        if not is_running:
            self._stop(queue)
        self._rest(worker)

    def _rest(self, worker: _Worker) -> None:
        if self._closed and not self._rests:
            worker.give(None)
        else:
            self._idle.append(worker)
            self._dispatch()

    def _close(self) -> None:
        self._closed = True
        self._ring()
        while self._idle:
            self._idle.pop().give(None)

    def _delay(self, due: float, lane: str, cap: int, job: _Job) -> None:
        heapq.heappush(self._later, (due, next(self._order), lane, cap, job))
        if self._clock is None:
            self._clock = threading.Thread(target=self._keep_time, name="delays", daemon=True)
            self._outside.append(functools.partial(self._start_clock, self._clock))
        if due < self._due:
            self._due = due
            self._ring()

    def _ring(self) -> None:
        if self._alarm.locked():
            self._alarm.release()

    def _start_clock(self, clock: threading.Thread) -> None:
        try:
            clock.start()
        except RuntimeError:  # the system has no more threads
            self._act(self._hurry)

    def _hurry(self) -> None:
        """Take all that is for later as if it were due."""
        self._clock = None
        self._promote(math.inf)

    def _keep_time(self) -> None:
        while not self._closed:
            due = self._due
            self._alarm.acquire(timeout=-1 if due == math.inf else max(0, due - time.monotonic()))
            self._act(functools.partial(self._promote, time.monotonic()))

    def _promote(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, _, lane, cap, job = heapq.heappop(self._later)
            self._enqueue(lane, cap, job)
        self._due = self._later[0][0] if self._later else math.inf


def _has_begun(job: _Job) -> bool:
    """Begin a job, if it can be; its task tells what is wrong, if that raises too."""
    return job.begin is not None and _is_so(job.begin, "what was to be begun")


def _goes_on(job: _Job) -> bool:
    """Run a job's task; returns whether it goes on though that has returned."""
    return _is_so(job.task, "a task")


def _is_so(act: Task, what: str) -> bool:
    """What it returns, as a truth; what raises is not so."""
    try:
        return bool(act())
    except Exception as error:  # noqa: BLE001 - a thread would end, and its lane have one less for ever
        _logger.error("a mistake in %s: %s", what, type(error).__name__)
        return False
