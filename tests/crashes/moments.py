"""The moments at which runs are killed: drawn from a seed, and found by what can be seen, not by time.

`CURRENTS_CRASHES=1` (`./run_tests.sh --crashes`) asks for all of them; else there are a few, of phases
that differ. `CURRENTS_CRASH_SEED` is the seed, `CURRENTS_CRASH_ROUNDS` how often each phase comes.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sandbox.partners import Fault
from tests.crashes.traps import Ambush, Sight, accepted
from tests.crashes.world import World, id_of
from tests.pipeline.running import SUBSCRIPTION

IS_LONG = bool(os.environ.get("CURRENTS_CRASHES"))
SEED = int(os.environ.get("CURRENTS_CRASH_SEED") or (random.randrange(10_000) if IS_LONG else 7))
ROUNDS = int(os.environ.get("CURRENTS_CRASH_ROUNDS") or (3 if IS_LONG else 1))

QUEUE = "/held/queue/alpha"
DAY = "/dead/date=[^/]*"
FILES = "/lake/.*/us-01"

ChoiceT = TypeVar("ChoiceT")


@dataclass(frozen=True)
class Moment:
    phase: str
    arrange: Callable[[World], object]
    """What is there, and who fails, when the run starts."""
    trap: Ambush | Sight


class Lot(random.Random):
    """What is drawn for one moment; what is there to choose from takes turns from round to round."""

    def __init__(self, phase: str, number: int) -> None:
        super().__init__(f"{SEED} {phase} {number}")
        self._turn = random.Random(f"{SEED} {phase}").randrange(100) + number

    def take_turns(self, choices: Sequence[ChoiceT]) -> ChoiceT:
        return choices[self._turn % len(choices)]


def moments() -> Iterator[Moment]:
    """All moments of this session."""
    phases = _PHASES if IS_LONG else [_holding, _releasing, _burying_expired, _archiving]
    for number in range(ROUNDS):
        for phase in phases:
            name = phase.__name__.strip("_").replace("_", " ")
            arrange, trap = phase(Lot(name, number))
            yield Moment(name, arrange, trap)


_Made = tuple[Callable[[World], object], Ambush | Sight]


def _nothing(_: World) -> None:
    """All partners work."""


def _writing(chance: Lot, folder: str, most: int = 1) -> Ambush:
    """A step of writing a file whole: begun, made visible, or made to last."""
    return chance.take_turns(_writings(chance, folder, most))


def _writings(chance: Lot, folder: str, most: int = 1) -> Sequence[Ambush]:
    steps = (
        ("tempfile.mkstemp", f"{folder}/"),
        ("os.rename", f"{folder}/"),
        ("open", f"{folder}$"),
    )
    return [
        Ambush(step, place, chance.randint(1, most), _a_little(chance)) for step, place in steps
    ]


def _a_little(chance: Lot) -> float:
    """As often as not just then, else up to 5 ms later."""
    return chance.choice([0, chance.uniform(0.0005, 0.005)])


# The phases. Each has a world of its own, in which events come while the run is killed.


def _adopting(chance: Lot) -> _Made:
    """What an earlier run left in the hold is found."""

    def arrange(world: World) -> None:
        world.hold("alpha", objects=12, size=300)
        world.fail(Fault(delay_seconds=0.3))

    return arrange, _writing(chance, chance.choice(["/held/status", "/held/resuming"]))


def _batching(chance: Lot) -> _Made:
    count = chance.randint(1, 400)
    seen = Sight(
        f"{count} messages are leased",
        lambda world: world.pubsub.leased(SUBSCRIPTION) >= count,
        chance.uniform(0, 0.5),
    )
    return lambda world: world.connect(batch_window="1 h", max_events=100), seen


def _delivering(chance: Lot) -> _Made:
    count = chance.randint(1, 200)
    seen = Sight(f"{count} have arrived", accepted(count), chance.uniform(0, 0.3))
    return _nothing, seen


def _delivering_slowly(chance: Lot) -> _Made:
    """Many requests are under way."""
    count = chance.randint(1, 100)
    fault = Fault(delay_seconds=chance.uniform(0.05, 0.4))
    seen = Sight(f"{count} have arrived", accepted(count), chance.uniform(0, 0.3))
    return lambda world: world.fail(fault), seen


def _acknowledging(chance: Lot) -> _Made:
    count = chance.randint(1, 200)
    seen = Sight(
        f"{count} are acknowledged",
        lambda world: world.pubsub.acknowledged(SUBSCRIPTION) >= count,
        chance.uniform(0, 0.02),
    )
    return _nothing, seen


def _holding(chance: Lot) -> _Made:
    return lambda world: world.fail(Fault(status=503), "alpha"), _writing(chance, QUEUE)


def _suspending(chance: Lot) -> _Made:
    folder = chance.choice(["/held/suspended", "/held/status"])
    return lambda world: world.fail(Fault(status=401), "alpha"), _writing(chance, folder)


def _releasing(chance: Lot) -> _Made:
    number = chance.randint(1, 6)
    return (
        lambda world: world.hold("alpha", objects=8),
        Ambush("os.remove", QUEUE, number, _a_little(chance)),
    )


def _releasing_slowly(chance: Lot) -> _Made:
    count = chance.randint(10, 300)

    def arrange(world: World) -> None:
        world.hold("alpha", objects=8)
        world.fail(Fault(delay_seconds=0.1))

    seen = Sight(f"{count} have arrived", accepted(count), chance.uniform(0, 0.2))
    return arrange, seen


def _putting_back(chance: Lot) -> _Made:
    """Of an object that is released a request fails: what is left of it is written anew."""
    removing = Ambush("os.remove", QUEUE, 1, _a_little(chance))
    trap = chance.take_turns([*_writings(chance, QUEUE), removing])

    def arrange(world: World) -> None:
        last = frozenset(map(id_of, world.hold("alpha", objects=6)))
        world.fail(Fault(status=503, reject_ids=last), "alpha")

    return arrange, trap


def _burying_rejected(chance: Lot) -> _Made:
    return lambda world: _publish_poison(world, 20), _writing(chance, DAY)


def _publish_poison(world: World, count: int) -> None:
    events = world.events(200)
    poison = frozenset(map(id_of, world.chance.sample(events, count)))
    world.fail(Fault(reject_ids=poison))
    world.publish(events)


def _burying_invalid(chance: Lot) -> _Made:
    return lambda world: world.publish_invalid(50), _writing(chance, DAY)


def _burying_expired(chance: Lot) -> _Made:
    """Letters are written before the objects of the hold that they are of are removed."""
    removing = Ambush("os.remove", QUEUE, chance.randint(1, 5), _a_little(chance))
    trap = chance.take_turns([*_writings(chance, DAY), removing])

    def arrange(world: World) -> None:
        world.hold("alpha", objects=6, age_seconds=49 * 3_600)
        world.fail(Fault(status=503), "alpha")

    return arrange, trap


def _archiving(chance: Lot) -> _Made:
    return _nothing, _writing(chance, FILES, most=6)


def _reporting(chance: Lot) -> _Made:
    return _nothing, Ambush("os.rename", "/report[.]json$", chance.randint(1, 2))


def _draining(chance: Lot) -> _Made:
    """It was asked to end, and delivers what it has read."""
    count = chance.randint(1, 100)
    seen = Sight(
        f"{count} have arrived", accepted(count), chance.uniform(0, 0.6), asked_to_end=True
    )
    return lambda world: world.fail(Fault(delay_seconds=0.2)), seen


_PHASES: Sequence[Callable[[Lot], _Made]] = (
    _adopting,
    _batching,
    _delivering,
    _delivering_slowly,
    _acknowledging,
    _holding,
    _suspending,
    _releasing,
    _releasing_slowly,
    _putting_back,
    _burying_rejected,
    _burying_invalid,
    _burying_expired,
    _archiving,
    _reporting,
    _draining,
)
