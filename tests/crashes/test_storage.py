"""A disk that is full, and one that becomes read-only, while events stream: loud, and nothing is lost."""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sandbox.partners import Fault
from tests.crashes.moments import IS_LONG
from tests.crashes.mounts import Mounts, NoMounts, mounted
from tests.crashes.world import Seen, World, id_of, kill, wait_for
from tests.pipeline.running import SUBSCRIPTION, eventually, interrupt, report_of

KILOBYTES = 16_384


class Trouble(NamedTuple):
    """What is wrong with a place, and how it is put right."""

    name: str
    begin: Callable[[Mounts, Path], None]
    end: Callable[[Mounts, Path], None]


FULL = Trouble("full", Mounts.fill, Mounts.free)
READ_ONLY = Trouble(
    "read-only",
    lambda mounts, folder: mounts.remount(folder, "ro"),
    lambda mounts, folder: mounts.remount(folder, "rw"),
)

PLACES = ("held", "dead", "lake")
_CASES = [
    ("held", FULL, True),
    ("held", FULL, False),
    ("dead", FULL, True),
    ("lake", FULL, True),
    *((place, READ_ONLY, False) for place in PLACES),
]
"""What cannot be written, and whether the run is killed meanwhile."""


def _name(case: tuple[str, Trouble, bool]) -> str:
    place, trouble, killed = case
    return f"{place}-{trouble.name}-{'killed' if killed else 'alive'}"


@pytest.fixture
def mounts(world: World) -> Iterator[Mounts]:
    """A file system for each place where the world's runs write events."""
    try:
        with mounted([world.folder / place for place in PLACES], KILOBYTES) as made:
            world.inside = made.inside
            world.seen = made.seen(world.folder)
            yield made
    except NoMounts as reason:
        pytest.skip(f"nothing can be mounted here: {reason}")


@pytest.mark.parametrize("case", _CASES if IS_LONG else _CASES[:1], ids=_name)
def test_a_place_that_cannot_be_written_loses_nothing_and_work_goes_on_when_it_can(
    case: tuple[str, Trouble, bool], world: World, mounts: Mounts
) -> None:
    place, trouble, killed = case
    trouble.begin(mounts, world.folder / place)
    events = world.events(300)
    poison = [id_of(one) for one in events if world.due[id_of(one)][0] == "beta"][:5]
    world.fail(Fault(status=503), "alpha")
    world.fail(Fault(reject_ids=frozenset(poison)), "beta")
    with world.running() as process:
        world.publish(events)
        world.publish_invalid(20)
        others = {one for one in world.due if world.due[one][:1] == ("beta",)} - set(poison)
        assert eventually(lambda: others <= set(world.partners.accepted_ids("beta")), 60)
        assert eventually(lambda: _complains(world, place), 60), world.log()
        with world.traffic(portions=20):
            assert eventually(lambda: world.pubsub.outstanding(SUBSCRIPTION) > 300, 60)
        assert process.poll() is None, world.log()
        if killed:
            kill(process)
            stuck = world.look()
            world.check_acknowledged(stuck)
            assert not _written(stuck, place)
        trouble.end(mounts, world.folder / place)
        world.fail(None)
        if killed:
            world.recover()
        else:
            assert eventually(lambda: world.settled, 90), world.log()
            assert interrupt(process) == 0, world.log()
    after = world.look()
    world.check_all(after)
    if killed:
        world.check_twice(stuck, after)
    else:
        assert after.twice == 0
    assert report_of(world.folder)["balanced"]


@pytest.mark.skipif(not IS_LONG, reason="only with ./run_tests.sh --crashes")
def test_a_run_that_may_open_no_file_and_no_connection_for_a_while_loses_nothing(
    world: World,
) -> None:
    world.fail(Fault(status=503), "alpha")
    with world.running() as process:
        with world.traffic():
            assert wait_for(lambda: len(world.held_files()) >= 1, process), world.log()
            limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (10, limits[1]))
            assert eventually(lambda: world.pubsub.outstanding(SUBSCRIPTION) > 300, 60)
            assert process.poll() is None, world.log()
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
        world.fail(None)
        assert wait_for(lambda: world.settled, process), world.log()
        assert interrupt(process) == 0, world.log()
    after = world.look()
    world.check_all(after)
    assert after.twice == 0
    assert report_of(world.folder)["balanced"]


def _written(seen: Seen, place: str) -> int:
    lake = {"lake": seen.delivered["lake"]}
    written = {"held": seen.held, "dead": seen.buried, "lake": lake}[place]
    return sum(ids.total() for ids in written.values())


def _complains(world: World, place: str) -> bool:
    """Whether the log says that something below the place cannot be written, or a status shows it."""
    held = (world.seen / "held" / "status" / "lake.json") if place == "lake" else None
    said = (world.folder / "log").read_text()
    return held.exists() if held else "cannot be written" in said
