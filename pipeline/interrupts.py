"""Ctrl-C before a run has anything that would have to be ended well, and after it has ended so."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn


@contextlib.contextmanager
def end_at_once() -> Iterator[None]:
    """Have Ctrl-C end the process without a word: in the middle of an import it would be a traceback."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_with(code: int) -> NoReturn:
    """End the process; the code is what counts now, however often Ctrl-C is hit."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)
