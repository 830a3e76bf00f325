"""Answers that are waited for, all of them by one thread."""

import logging
import math
import os
import selectors
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from runtime.connection import Connection
from runtime.cutoff import ExchangeFailed
from runtime.transfer import Transfer

_logger = logging.getLogger(__name__)

Failure = ExchangeFailed | OSError


@dataclass(eq=False, slots=True)
class Awaited:
    """A request that was sent, or most of it; its connection is nobody else's meanwhile."""

    connection: Connection
    transfer: Transfer
    deadline: float
    """By the monotonic clock."""
    done: Callable[[Failure | None], None]
    """Is called once, when the transfer has ended, with what it has ended with."""

    @property
    def interest(self) -> int:
        reads = selectors.EVENT_READ if self.transfer.wants_to_read else 0
        return reads | (selectors.EVENT_WRITE if self.transfer.wants_to_write else 0)


class AwaitedAnswers:
    """Goes on with transfers as their partners do, and ends those whose time is up; one a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._alarm, self._waker = os.pipe()
        self._selector.register(self._alarm, selectors.EVENT_READ)
        self._awaited: set[Awaited] = set()
        self._looks_at = math.inf
        """When deadlines are looked at next."""
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self) -> None:
        """See to it that answers can be waited for: whatever is sent before is sent for nothing.

        Raises:
            OSError: this is closed.
            RuntimeError: the system has no thread for it.
        """
        with self._lock:
            self._start()

    def add(self, awaited: Awaited) -> None:
        """Wait for an answer; on the thread that does, `done` is called, perhaps before this returns.

        Raises:
            OSError: the connection cannot be watched, or this is closed.
            RuntimeError: the system has no thread for it.
        """
        with self._lock:
            self._start()
            self._selector.register(awaited.connection, awaited.interest, awaited)
            self._awaited.add(awaited)
            if awaited.deadline < self._looks_at:
                self._looks_at = awaited.deadline
                self._wake()

    def _start(self) -> None:
        if self._closed:
            raise OSError("no answers are waited for any more")
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="answers", daemon=True)
            thread.start()
            self._thread = thread

    def close(self) -> None:
        """End when no answer is waited for any more."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._wake()
            thread.join()
        self._selector.close()
        os.close(self._alarm)
        os.close(self._waker)

    def _wake(self) -> None:
        os.write(self._waker, b"\0")

    def _run(self) -> None:
        while self._is_needed():
            self._step_all()
            if time.monotonic() >= self._looks_at:
                self._look_at_deadlines()

    def _step_all(self) -> None:
        for key, ready in self._selector.select(self._seconds_to_look()):
            if key.data is None:
                os.read(self._alarm, 4_096)
            else:
                self._step(key.data, is_readable=bool(ready & selectors.EVENT_READ))

    def _is_needed(self) -> bool:
        with self._lock:
            return bool(self._awaited) or not self._closed

    def _seconds_to_look(self) -> float | None:
        looks_at = self._looks_at
        return None if looks_at == math.inf else max(0.0, looks_at - time.monotonic())

    def _step(self, awaited: Awaited, is_readable: bool) -> None:
        before = awaited.interest
        try:
            awaited.transfer.step(is_readable)
        except (ExchangeFailed, OSError) as error:
            self._end(awaited, error)
            return
        except Exception as error:  # noqa: BLE001 - all other answers would be waited for in vain
            self._end(awaited, ExchangeFailed(f"a mistake of ours: {type(error).__name__}"))
            return
        if awaited.transfer.is_done:
            self._end(awaited, None)
        elif awaited.interest != before:
            self._selector.modify(awaited.connection, awaited.interest, awaited)

    def _look_at_deadlines(self) -> None:
        now = time.monotonic()
        with self._lock:
            late = [awaited for awaited in self._awaited if awaited.deadline <= now]
        for awaited in late:
            try:
                awaited.transfer.run_out()
            except (ExchangeFailed, OSError) as error:
                self._end(awaited, error)
            else:
                self._end(awaited, None)
        with self._lock:
            self._looks_at = min((one.deadline for one in self._awaited), default=math.inf)

    def _end(self, awaited: Awaited, failure: Failure | None) -> None:
        self._selector.unregister(awaited.connection)
        with self._lock:
            self._awaited.discard(awaited)
        try:
            awaited.done(failure)
        except Exception as error:  # noqa: BLE001 - all other answers would be waited for in vain
            _logger.error(
                "a mistake in what was to be done with an answer: %s", type(error).__name__
            )
