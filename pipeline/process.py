"""The beginning and the end of the process: before there is anything to be ended well, and after it was."""

import contextlib
import gc
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

_YOUNG_OBJECTS = 20_000
"""So many come to be before cycles are looked for; a batch makes thousands, none of them in a cycle."""


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import something large.

    Ctrl-C ends the process without a word: in the middle of an import it would be a traceback. What is
    imported stays for good, so the collector does not look through it, now or later.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS)
        gc.enable()
        signal.signal(signal.SIGINT, before)


def end_with(code: int) -> NoReturn:
    """End the process; the code is what counts now, however often Ctrl-C is hit."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)
