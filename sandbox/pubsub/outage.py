"""An outage: the server's failing on demand, which ends the pulls that are open."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from threading import Lock
from time import monotonic

from sandbox.pubsub.refusals import Unavailable


class Outage:
    """Whether calls are refused at the moment, and what to tell when that begins."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._until = -inf
        self._open: dict[object, Callable[[Unavailable], None]] = {}

    def begin(self, seconds: float | None) -> None:
        """Refuse every call for so long, or until the end is declared."""
        with self._lock:
            self._until = inf if seconds is None else monotonic() + seconds
            closers = list(self._open.values())
        for close in closers:
            close(_refusal())

    def end(self) -> None:
        with self._lock:
            self._until = -inf

    def check(self) -> None:
        """Raise Unavailable while it lasts."""
        with self._lock:
            self._check()

    @contextmanager
    def watch(self, close: Callable[[Unavailable], None]) -> Iterator[None]:
        """Have a call closed by an outage that begins within this block."""
        key = object()
        with self._lock:
            self._check()
            self._open[key] = close
        try:
            yield
        finally:
            with self._lock:
                del self._open[key]

    def _check(self) -> None:
        if monotonic() < self._until:
            raise _refusal()


def _refusal() -> Unavailable:
    return Unavailable("the server was told to fail")
