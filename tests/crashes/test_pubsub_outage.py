"""Pub/Sub that is unavailable for a while: the run waits, goes on with what it has, and loses nothing."""

import signal
import time

import pytest

from sandbox.partners import Fault
from tests.crashes.moments import IS_LONG
from tests.crashes.world import CONNECTORS, LEASE_SECONDS, World, id_of, kill
from tests.pipeline.running import SUBSCRIPTION, eventually, interrupt, report_of

OUTAGE_SECONDS = 60 if IS_LONG else 4


def test_an_outage_of_pubsub_ends_and_everything_that_was_published_arrives(world: World) -> None:
    world.fail(Fault(status=503), "alpha")
    with world.running() as process:
        with world.traffic(portions=30):
            assert eventually(lambda: len(world.held_files()) >= 1, 60), world.log()
        world.publish_events(200)
        world.pubsub.fail()
        unsettled = set(map(id_of, world.pubsub.unacknowledged(SUBSCRIPTION)))
        world.fail(None)
        # What is held needs no Pub/Sub to be delivered.
        assert eventually(lambda: not world.held_files(), 60), world.log()
        time.sleep(OUTAGE_SECONDS)  # the outage itself
        assert process.poll() is None, world.log()
        world.pubsub.heal()
        with world.traffic(portions=20):
            assert eventually(lambda: world.partners.counts("beta").accepted >= 200, 60)
        assert eventually(lambda: world.settled, 90), world.log()
        assert interrupt(process) == 0, world.log()
    after = world.look()
    world.check_all(after)
    for name in CONNECTORS:
        again = {one for one, count in after.delivered[name].items() if count > 1}
        assert again <= unsettled
        assert max(after.delivered[name].values()) <= 2
    assert report_of(world.folder)["balanced"]


LONG_ONLY = pytest.mark.skipif(not IS_LONG, reason="only with ./run_tests.sh --crashes")


@LONG_ONLY
def test_a_run_that_is_asked_to_end_in_an_outage_ends_in_time_and_loses_nothing(
    world: World,
) -> None:
    with world.running() as process:
        with world.traffic():
            assert eventually(lambda: world.partners.counts("beta").accepted >= 100, 60)
        world.pubsub.fail()
        process.terminate()
        assert process.wait(timeout=30) == 0, world.log()
        world.pubsub.heal()
    assert "Pub/Sub cannot be reached" in world.log()
    assert "Traceback" not in world.log()
    assert report_of(world.folder)["balanced"]
    at_end = world.look()
    world.check_acknowledged(at_end)
    world.recover()
    after = world.look()
    world.check_all(after)
    world.check_twice(at_end, after)


@LONG_ONLY
def test_a_run_that_stood_still_for_longer_than_its_leases_loses_nothing(world: World) -> None:
    """As a machine that is suspended, or a process that is stopped: others get its messages."""
    world.fail(Fault(delay_seconds=0.1))
    with world.running() as process:
        with world.traffic(portions=60):
            assert eventually(lambda: world.partners.counts("beta").accepted >= 100, 60)
            process.send_signal(signal.SIGSTOP)
            stopped_at = world.look()
            world.check_acknowledged(stopped_at)
            world.clock.skip(LEASE_SECONDS)
            process.send_signal(signal.SIGCONT)
        assert eventually(lambda: world.settled, 90), world.log()
        assert interrupt(process) == 0, world.log()
    after = world.look()
    world.check_all(after)
    for name in CONNECTORS:
        again = {one for one, count in after.delivered[name].items() if count > 1}
        assert again <= stopped_at.unacknowledged | (after.published - stopped_at.published)
        assert max(after.delivered[name].values()) <= 2


@LONG_ONLY
def test_a_run_that_is_killed_and_started_anew_in_an_outage_goes_on_after_it(world: World) -> None:
    with world.running() as process:
        with world.traffic():
            assert eventually(lambda: world.partners.counts("beta").accepted >= 100, 60)
        world.pubsub.fail()
        kill(process)
    world.hold("alpha", objects=2)
    at_kill = world.look()
    world.check_acknowledged(at_kill)
    with world.running() as process:
        assert eventually(lambda: not world.held_files(), 60), world.log()
        world.clock.skip(LEASE_SECONDS)
        world.pubsub.heal()
        assert eventually(lambda: world.settled, 90), world.log()
        assert interrupt(process) == 0, world.log()
    after = world.look()
    world.check_all(after)
    world.check_twice(at_kill, after)
