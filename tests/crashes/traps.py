"""Traps: how the moment is found at which a run is killed."""

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.crashes.world import PROGRAM, World, wait_for
from tests.pipeline.running import eventually


@dataclass(frozen=True)
class Ambush:
    """The program kills itself at a step of its own: the `number`-th of this kind at this place."""

    step: str
    place: str
    """A regular expression."""
    number: int = 1
    seconds: float = 0

    @property
    def through(self) -> Sequence[str]:
        """What the program is started through."""
        number, seconds = str(self.number), f"{self.seconds:.4f}"
        return "tests.crashes.ambush", self.step, self.place, number, seconds

    def __str__(self) -> str:
        when = f" + {self.seconds * 1_000:.1f} ms" if self.seconds else ""
        return f"{self.step} {self.place} #{self.number}{when}"

    def strike(self, world: World, process: "subprocess.Popen[bytes]") -> None:
        """Wait until it has happened."""
        assert eventually(lambda: process.poll() is not None, 90), f"never: {self}\n{world.log()}"
        assert process.returncode == -signal.SIGKILL, f"never: {self}\n{world.log()}"


@dataclass(frozen=True)
class Sight:
    """We kill the program so many seconds after something was seen."""

    what: str
    holds: Callable[[World], bool]
    seconds: float = 0
    through: Sequence[str] = PROGRAM
    asked_to_end: bool = False
    """Whether it gets a SIGTERM when the thing is seen."""

    def __str__(self) -> str:
        asked = " + SIGTERM" if self.asked_to_end else ""
        return f"{self.what}{asked} + {self.seconds * 1_000:.0f} ms"

    def wait(self, world: World, process: "subprocess.Popen[bytes]") -> None:
        """Wait until the moment has come."""
        assert wait_for(lambda: self.holds(world), process), f"never: {self}\n{world.log()}"
        if self.asked_to_end:
            process.terminate()
        time.sleep(self.seconds)  # drawn by lot: nothing is waited for

    def strike(self, world: World, process: "subprocess.Popen[bytes]") -> None:
        """Kill it when the moment has come."""
        self.wait(world, process)
        process.kill()
        process.wait()


def accepted(count: int, name: str = "alpha") -> Callable[[World], bool]:
    """Whether a partner has accepted so many events."""
    return lambda world: world.partners.counts(name).accepted >= count
