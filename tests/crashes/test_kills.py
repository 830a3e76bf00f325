"""kill -9 of a streaming run, at moments that a seed chooses: nothing is lost, and nothing is torn."""

import pytest

from tests.crashes.moments import Moment, moments
from tests.crashes.table import Moments
from tests.crashes.world import World


def _name(moment: Moment) -> str:
    return moment.phase.replace(" ", "-")


@pytest.mark.parametrize("moment", list(moments()), ids=_name)
def test_after_kill_9_nothing_is_lost_or_torn_and_no_more_than_what_was_unsettled_comes_twice(
    moment: Moment, world: World, moments: Moments
) -> None:
    moment.arrange(world)
    with world.traffic(), world.running(through=moment.trap.through) as process:
        moment.trap.strike(world, process)
    at_kill = world.look()
    world.check_acknowledged(at_kill)
    world.fail(None)
    world.connect()
    world.recover()
    after = world.look()
    world.check_all(after)
    world.check_twice(at_kill, after)
    moments.add(moment.phase, str(moment.trap), at_kill, after)
