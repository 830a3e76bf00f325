"""Runs that are asked to end at any moment, and kill -9 of runs over files, replays and second jobs."""

import json
import signal
import subprocess
from collections.abc import Sequence

import pytest

from runtime.dead_letters import write_letters
from sandbox.partners import Fault
from tests.crashes.moments import DAY, FILES, IS_LONG, QUEUE, ROUNDS
from tests.crashes.reading import letters_in
from tests.crashes.table import Moments, unsettled
from tests.crashes.traps import Ambush, Sight, accepted
from tests.crashes.world import GROUPS, World, id_of, kill, wait_for
from tests.pipeline.running import SUBSCRIPTION, eventually, report_of
from tests.runtime.test_dead_letters import letter_of

pytestmark = pytest.mark.skipif(not IS_LONG, reason="only with ./run_tests.sh --crashes")


@pytest.mark.parametrize("number", range(2 * ROUNDS))
def test_sigterm_at_any_moment_leaves_nothing_unsettled(
    number: int, world: World, moments: Moments
) -> None:
    if number % 2:
        world.fail(Fault(status=503), "alpha")
    count = world.chance.randrange(200)
    with world.traffic(), world.running() as process:
        asked = Sight(
            f"{count} messages are leased",
            lambda seen: seen.pubsub.leased(SUBSCRIPTION) >= count,
            world.chance.uniform(0, 2),
        )
        asked.wait(world, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) in (0, 3, -signal.SIGTERM), world.log()
    at_end = world.look()
    world.check_acknowledged(at_end)
    assert unsettled(at_end) == 0
    assert process.returncode == -signal.SIGTERM or report_of(world.folder)["balanced"]
    world.fail(None)
    world.recover()
    after = world.look()
    world.check_all(after)
    assert after.twice == 0
    moments.add(f"SIGTERM, ended with {process.returncode}", str(asked), at_end, after)


# A run over files: the next run over the same files makes all good.

_OF_FILES = [
    Ambush("os.rename", f"{QUEUE}/", 1),
    Ambush("open", f"{QUEUE}$", 1),
    Ambush("tempfile.mkstemp", f"{DAY}/", 1),
    Ambush("open", f"{DAY}$", 1, 0.002),
    Ambush("os.rename", f"{FILES}/", 2),
    Sight("300 have arrived", accepted(300, "beta"), 0.05),
]


@pytest.mark.parametrize("trap", _OF_FILES, ids=str)
def test_kill_9_of_a_run_over_files_and_another_run_lose_nothing(
    trap: Ambush | Sight, world: World, moments: Moments
) -> None:
    events = world.events(3_000)
    poison = [id_of(event) for event in events if world.due[id_of(event)][0] == "beta"][::90]
    invalid = [b"no event %d" % number for number in range(5)]
    world.due.update(dict.fromkeys(map(id_of, invalid), ()))
    source = ("--input", str(world.read_from_file([*events, *invalid])))
    world.fail(Fault(status=503), "alpha")
    world.fail(Fault(reject_ids=frozenset(poison)), "beta")
    with world.started(*source, through=trap.through) as process:
        trap.strike(world, process)
    at_kill = world.look()
    world.fail(None)
    assert _to_its_end(world, *source) == 0
    after = world.look()
    world.check_all(after)
    world.check_twice(at_kill, after)
    moments.add("a run over files", str(trap), at_kill, after)


# A replay: the letters stay until it has ended.

_OF_A_REPLAY = [
    Ambush("os.rename", "/replayed/", 1),
    Sight("200 have arrived", accepted(200)),
    Ambush("os.rename", f"{QUEUE}/", 1),
    Ambush("open", f"{QUEUE}$", 1),
    Ambush("os.rename", "/replayed/", 2),
    Ambush("open", "/replayed$", 2),
]


@pytest.mark.parametrize("trap", _OF_A_REPLAY, ids=str)
def test_kill_9_of_a_replay_and_another_replay_lose_nothing(
    trap: Ambush | Sight, world: World, moments: Moments
) -> None:
    events = world.events(1_000, groups=[GROUPS["alpha"]])
    world.read_from_file(events)
    for event in events:
        world.due[id_of(event)] = ("alpha",)
    write_letters(
        str(world.folder / "dead"), [letter_of(event, connector="alpha") for event in events]
    )
    if QUEUE in str(trap):
        world.fail(Fault(status=503), "alpha")
    with world.started(through=trap.through, verb="replay") as process:
        trap.strike(world, process)
    at_kill = world.look()
    assert len(letters_in(world.folder / "dead")) == len(events)
    world.fail(None)
    assert _to_its_end(world, verb="replay") in (0, 3)
    assert _to_its_end(world) == 0  # a replay leaves the hold alone
    after = world.look()
    assert set(after.delivered["alpha"]) == set(map(id_of, events))
    world.check_twice(at_kill, after)
    moments.add("a replay", str(trap), at_kill, after)
    assert _to_its_end(world, verb="replay") == 0
    assert world.look().twice == after.twice  # what was replayed is not replayed again


# Two jobs on one hold.

_ADOPTING = [
    Ambush("os.rename", "/held/status/alpha", 1),
    Ambush("os.rename", "/held/resuming/alpha", 1),
    Ambush("os.remove", QUEUE, 1),
    Ambush("os.remove", QUEUE, 3, 0.002),
    Ambush("os.remove", "/held/status/alpha", 1),
]


@pytest.mark.parametrize("trap", _ADOPTING, ids=str)
def test_kill_9_of_a_job_and_of_the_next_one_that_adopts_its_lanes_lose_nothing(
    trap: Ambush, world: World, moments: Moments
) -> None:
    world.fail(Fault(status=503), "alpha")
    with world.traffic(), world.running() as process:
        first = Sight("an object is held", lambda seen: len(seen.held_files()) >= 2, 0.3)
        first.strike(world, process)
    world.check_acknowledged(world.look())
    world.hold("alpha", objects=12, size=300)
    world.fail(Fault(delay_seconds=0.3))
    with world.running(through=trap.through) as process:
        trap.strike(world, process)
    at_kill = world.look()
    world.check_acknowledged(at_kill)
    world.fail(None)
    world.recover()
    after = world.look()
    world.check_all(after)
    world.check_twice(at_kill, after)
    moments.add("the next job, adopting", str(trap), at_kill, after)


def test_of_two_jobs_one_is_killed_and_the_other_takes_its_lanes_over(world: World) -> None:
    """The job that attends the lane dies; nobody is started anew."""
    world.fail(Fault(status=503), "alpha")
    with world.running() as one, world.running("--report", str(world.folder / "other.json")) as two:
        with world.traffic(portions=60):
            assert wait_for(lambda: _attending(world, [one, two]) is not None, one), world.log()
        attending = _attending(world, [one, two])
        assert attending is not None
        kill(attending)
        at_kill_held = len(world.held_files())
        survivor = two if attending is one else one
        world.fail(None)
        assert eventually(lambda: world.settled, 150), world.log()
        survivor.send_signal(signal.SIGINT)
        assert survivor.wait(timeout=60) == 0, world.log()
    after = world.look()
    world.check_all(after)
    assert at_kill_held


def _attending(
    world: World, processes: Sequence["subprocess.Popen[bytes]"]
) -> "subprocess.Popen[bytes] | None":
    """The process that says that it attends `alpha`."""
    try:
        status = json.loads((world.folder / "held" / "status" / "alpha.json").read_text())
    except FileNotFoundError:
        return None
    pid = status["attended_by"].split("-")[-2]
    return next((process for process in processes if str(process.pid) == pid), None)


def _to_its_end(world: World, *arguments: str, verb: str = "run") -> int:
    """The exit code."""
    with world.started(*arguments, verb=verb) as process:
        return process.wait(timeout=120)
