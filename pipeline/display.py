"""Showing how far a run is: a table that stays in place on a terminal, a log line now and then else."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live

from pipeline.progress import Progress
from runtime.repeating import Repeating

TABLE_SECONDS = 1.0
LINE_SECONDS = 5.0

_logger = logging.getLogger(__name__)


class StderrHandler(logging.Handler):
    """Writes log lines to what stderr is by then: while a table is shown, they go above it."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is None:  # it was closed before we began
            return
        try:
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except OSError:
            self.handleError(record)


def showing(
    progress: Progress, look: Callable[[], None]
) -> contextlib.AbstractContextManager[None]:
    """Show a run's progress on stderr until we leave; `look` has it take a look at the books."""
    console = Console(stderr=True, highlight=False)
    if sys.stderr is not None and sys.stderr.isatty() and not console.is_dumb_terminal:
        return _table(console, progress, look)
    return _lines(progress, look)


@contextlib.contextmanager
def _lines(progress: Progress, look: Callable[[], None]) -> Iterator[None]:
    def tell() -> None:
        look()
        _logger.info("%s", progress.line())

    try:
        with _repeating(LINE_SECONDS, tell):
            yield
    finally:
        tell()  # as it ended


@contextlib.contextmanager
def _table(console: Console, progress: Progress, look: Callable[[], None]) -> Iterator[None]:
    live = Live(console=console, auto_refresh=False)
    # The table shows what these lines say, and they would push it down.
    logging.getLogger("runtime.figures").setLevel(logging.WARNING)

    def draw() -> None:
        look()
        live.update(progress.table(console.height), refresh=True)

    live.start()
    try:
        draw()
        with _repeating(TABLE_SECONDS, draw):
            yield
    finally:
        with contextlib.suppress(OSError):  # a terminal that has gone is no reason to fail
            draw()  # as it ended
            live.stop()


@contextlib.contextmanager
def _repeating(every_seconds: float, act: Callable[[], None]) -> Iterator[None]:
    repeating = Repeating("progress", every_seconds, act)
    repeating.start()
    try:
        yield
    finally:
        repeating.close()
