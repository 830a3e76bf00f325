"""The program with an ambush in it: it kills itself at a chosen step, as kill -9 from outside does.

    python -m tests.crashes.ambush STEP PLACE NUMBER SECONDS run --connectors ...

STEP is the name of an audit event of Python that tells a path (`os.rename`, `os.remove`, `open`,
`tempfile.mkstemp`), PLACE a regular expression that is found in it; the NUMBER-th such step springs the
ambush, SECONDS after it was about to be taken. So the moment does not depend on how fast the machine is.
"""

import itertools
import os
import re
import runpy
import signal
import sys
import threading
from typing import Any

_PATH_AT = {"os.rename": 1, "os.remove": 0, "open": 0, "tempfile.mkstemp": 0}
"""Which argument of the event is the path: of a renaming, where it leads."""


def lay(step: str, place: str, number: int, seconds: float) -> None:
    """Lay the ambush for this process."""
    numbers = itertools.count(1)
    where = re.compile(place)

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event != step or not where.search(str(arguments[_PATH_AT[step]])):
            return
        if next(numbers) == number:
            _spring(seconds)

    sys.addaudithook(look)


def _spring(seconds: float) -> None:
    if seconds:
        threading.Timer(seconds, _die).start()
    else:
        _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    chosen, path, count, wait, *arguments = sys.argv[1:]
    lay(chosen, path, int(count), float(wait))
    sys.argv = ["currents", *arguments]
    runpy.run_module("pipeline", run_name="__main__")
