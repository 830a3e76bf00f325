"""Ctrl-C while there is nothing that would have to be ended well."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def end_at_once() -> Iterator[None]:
    """Have Ctrl-C end the process without a word: in the middle of an import it would be a traceback."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
