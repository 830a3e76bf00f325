"""A time of day that jumps by days under a whole running process: nothing is lost."""

from functools import partial

import pytest

from sandbox.partners import Fault
from tests.crashes.moments import IS_LONG
from tests.crashes.reading import letters_in
from tests.crashes.wall_clock import Distance
from tests.crashes.world import World, wait_for
from tests.pipeline.running import eventually, interrupt, report_of

pytestmark = pytest.mark.skipif(not IS_LONG, reason="only with ./run_tests.sh --crashes")

HOUR = 3_600
JUMPS = {
    "an hour on": [HOUR],
    "an hour back": [-HOUR],
    "three days on": [72 * HOUR],
    "three days on and back again": [72 * HOUR, 0],
}


@pytest.mark.parametrize("jumps", JUMPS.values(), ids=JUMPS)
def test_a_clock_that_jumps_loses_nothing_and_lanes_go_on(jumps: list[int], world: World) -> None:
    distance = world.folder / "distance"
    wall_clock = Distance(distance)
    world.connect(rate_limit=100)
    world.fail(Fault(status=503), "alpha")
    with world.running(through=("tests.crashes.wall_clock", str(distance))) as process:
        with world.traffic(portions=200):
            assert wait_for(lambda: len(world.held_files()) >= 2, process), world.log()
            for seconds in jumps:
                wall_clock.set(seconds)
                more = _ended(world) + 50
                assert eventually(partial(_have_ended, world, more), 40), world.log()
        world.fail(None)
        assert eventually(lambda: world.settled, 60), world.log()
        assert interrupt(process) == 0, world.log()
    after = world.look()
    world.check_all(after)
    assert report_of(world.folder)["balanced"]


def _have_ended(world: World, count: int) -> bool:
    return _ended(world) >= count


def _ended(world: World) -> int:
    """How many events were delivered, or buried because they look too old."""
    letters = [
        letter for letter in letters_in(world.folder / "dead") if letter["connector"] == "beta"
    ]
    return world.partners.counts("beta").accepted + len(letters)
