"""The program with a time of day that can be made to jump while it runs.

    python -m tests.crashes.wall_clock FILE run --connectors ...

FILE holds the distance to the real one, in seconds. Python's clock is moved, and with it that of the
program, of Beam and of Pub/Sub's client; the monotonic clock, and so what sleeps, is left alone. So is
gRPC, half of which is C and would not agree with the other half. (libfaketime would move that too, but
Python's `time.sleep` fails under its version 0.9.10.)
"""

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path
from types import ModuleType

import grpc._channel

_FORMAT = "<d"


class Distance:
    """How far the time of day is from the real one; shared through a file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(struct.pack(_FORMAT, 0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), struct.calcsize(_FORMAT))

    def set(self, seconds: float) -> None:
        struct.pack_into(_FORMAT, self._shared, 0, seconds)

    def get(self) -> float:
        return float(struct.unpack_from(_FORMAT, self._shared)[0])


def _copy_of(module: ModuleType) -> ModuleType:
    copy = ModuleType(module.__name__)
    copy.__dict__.update(module.__dict__)
    return copy


def move(distance: Distance) -> None:
    """Move this process's time of day."""
    grpc._channel.time = _copy_of(time)
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + distance.get()
    time.time_ns = lambda: nanoseconds() + int(distance.get() * 1e9)


if __name__ == "__main__":
    move(Distance(Path(sys.argv[1])))
    sys.argv = ["currents", *sys.argv[2:]]
    runpy.run_module("pipeline", run_name="__main__")
