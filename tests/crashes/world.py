"""A world to crash in: Pub/Sub that knows what was acknowledged, partners with journals, and a folder.

Three connectors take what is published: `alpha` the events of one app group, `beta` those of another,
`lake` all of them, as Avro files. So each event is due at two places, and is foreign at the third.
"""

import contextlib
import itertools
import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from google.cloud import pubsub_v1

from runtime.hold.directory import HoldQueue
from runtime.hold.objects import HeldBatch
from sandbox.partners import Fault, PartnerSandbox
from sandbox.pubsub import EmbeddedPubSub
from sandbox.samples import sample_events
from tests.crashes.reading import Ids, archived_in, held_in, letters_in
from tests.pipeline.running import (
    SUBSCRIPTION,
    command,
    eventually,
    interrupt,
    publish,
    report_of,
    write_connectors,
)

GROUPS = {"alpha": "brand-a", "beta": "brand-b"}
CONNECTORS = (*GROUPS, "lake")
PACE = ("--probe_min", "200 ms", "--probe_max", "400 ms", "--config_refresh", "200 ms")
PROGRAM = ("pipeline",)
LEASE_SECONDS = 60
"""More than a lease lasts: so far the broker's clock is put on after a crash."""

_EVENT_TYPES = (
    "users.messages.email.Open",
    "users.messages.email.Click",
    "users.behaviors.CustomEvent",
)


class SkippingClock:
    """A monotonic clock that can be put on, for leases to end without waiting for them."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def skip(self, seconds: float) -> None:
        self._ahead += seconds


@dataclass(frozen=True)
class Seen:
    """What is where at one moment, by connector and event id; of letters each counts once."""

    delivered: Ids
    held: Ids
    buried: Ids
    unacknowledged: frozenset[str]
    published: frozenset[str]

    def places_of(self, connector: str) -> set[str]:
        """The ids that are delivered, held or buried."""
        kinds = (self.delivered, self.held, self.buried)
        return {event_id for ids in kinds for event_id in ids.get(connector, ())}

    @property
    def twice(self) -> int:
        """How many deliveries repeated one that had been made."""
        return sum(ids.total() - len(ids) for ids in self.delivered.values())


@dataclass
class World:
    """The folder of a run, and all that is around it."""

    folder: Path
    pubsub: EmbeddedPubSub
    clock: SkippingClock
    publisher: pubsub_v1.PublisherClient
    partners: PartnerSandbox
    chance: random.Random
    due: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By id, the connectors that are to get an event; none for a message that is no event."""
    published: set[str] = field(default_factory=set)
    in_file: frozenset[str] = frozenset()
    inside: Callable[[list[str]], list[str]] = list
    """Makes of a command one that runs where this world's file systems are."""
    _seeds: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.seen = self.folder
        """The folder as we see it, where the runs see it in a place of their own."""

    def connect(self, batch_window: str = "300 ms", max_events: int = 20, **of_hooks: Any) -> None:
        """Write the connectors file, with these settings."""
        common = {"batch_window": batch_window, "max_events": max_events}
        hooks = [
            {"name": name, "kind": "postback", "url": self.partners.url(name), **common, **of_hooks}
            for name in GROUPS
        ]
        lake = {"name": "lake", "kind": "avro_files", "path": str(self.folder / "lake"), **common}
        groups = {name: [group] for name, group in GROUPS.items()}
        connectors = [
            {**one, "app_group_ids": groups.get(one["name"], list(GROUPS.values()))}
            for one in (*hooks, lake)
        ]
        write_connectors(self.folder, connectors)

    # What comes in

    def events(self, count: int, **choice: Any) -> list[bytes]:
        """New events, half of them of each app group."""
        seed = self.chance.randrange(1 << 30) + next(self._seeds)
        groups = tuple(choice.pop("groups", GROUPS.values()))
        events = list(
            sample_events(count, seed, _EVENT_TYPES, app_groups=groups, anonymous_share=0)
        )
        for event in events:
            known = json.loads(event)
            group = known["properties"]["app_group_id"]
            hook = next(name for name, theirs in GROUPS.items() if theirs == group)
            self.due[known["id"]] = (hook, "lake")
        return events

    def publish(self, messages: Sequence[bytes]) -> None:
        publish(self.publisher, list(messages))
        self.published.update(map(id_of, messages))

    def publish_events(self, count: int) -> None:
        self.publish(self.events(count))

    def publish_invalid(self, count: int) -> None:
        """Publish messages that are no events."""
        messages = [b"no event %d" % self.chance.randrange(1 << 40) for _ in range(count)]
        self.due.update(dict.fromkeys(map(id_of, messages), ()))
        self.publish(messages)

    def read_from_file(self, messages: Sequence[bytes]) -> Path:
        """A file of messages: nobody acknowledges them, so that the next run reads all again."""
        path = self.folder / "events.ndjson"
        path.write_bytes(b"\n".join(messages))
        self.in_file = frozenset(map(id_of, messages))
        self.published.update(self.in_file)
        return path

    @contextlib.contextmanager
    def traffic(self, portions: int | None = None, size: int = 15) -> Iterator[None]:
        """Events that come in small portions, until the block is left or so many have come."""
        over = threading.Event()

        def flow() -> None:
            for _ in itertools.count() if portions is None else range(portions):
                self.publish_events(size)
                if over.wait(0.08):
                    return

        thread = threading.Thread(target=flow)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def hold(
        self, connector: str, objects: int, size: int = 60, age_seconds: float = 0
    ) -> list[bytes]:
        """Leave events in the hold, as a run that has ended does; oldest first.

        Returns the last event of each object.
        """
        last: list[bytes] = []
        queue = HoldQueue(str(self.folder / "held"))
        for number in range(objects):
            events = self.events(size, groups=[GROUPS[connector]])
            for event in events:
                self.due[id_of(event)] = (connector,)
            self.published.update(map(id_of, events))
            at_ms = int((time.time() - age_seconds) * 1_000) - 1_000 * (objects - number)
            batch = HeldBatch(
                part="",
                oldest_ms=at_ms,
                newest_ms=at_ms,
                first_failed_ms=at_ms,
                reason="status_503",
                blame="try",
                events=events,
            )
            queue.put(connector, [batch])
            last.append(events[-1])
        return last

    def fail(self, fault: Fault | None, *names: str) -> None:
        for name in names or GROUPS:
            self.partners.set_fault(name, fault)

    # What runs

    def launch(
        self, *arguments: str, through: Sequence[str] = PROGRAM, verb: str = "run"
    ) -> "subprocess.Popen[bytes]":
        """Start `currents run`, or another command, as it is or through a module that arms it."""
        line = command(self.folder, *PACE, *arguments)
        line[line.index("run")] = verb
        line[2:3] = through
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(self.inside(line), stdout=log, stderr=log)

    @contextlib.contextmanager
    def started(
        self, *arguments: str, through: Sequence[str] = PROGRAM, verb: str = "run"
    ) -> "Iterator[subprocess.Popen[bytes]]":
        """The same, killed if it still runs when we leave."""
        process = self.launch(*arguments, through=through, verb=verb)
        try:
            yield process
        finally:
            kill(process)

    @contextlib.contextmanager
    def running(
        self, *arguments: str, through: Sequence[str] = PROGRAM
    ) -> "Iterator[subprocess.Popen[bytes]]":
        """A streaming run, killed if it still runs when we leave."""
        with self.started("--subscription", SUBSCRIPTION, *arguments, through=through) as process:
            yield process

    def recover(self, *arguments: str) -> None:
        """End all leases, and run until nothing is left to do; the books of that run balance."""
        self.clock.skip(LEASE_SECONDS)
        self.publish_events(5)  # so that there is something to do
        with self.running(*arguments) as process:
            assert eventually(lambda: self.settled or process.poll() is not None, 150), self.log()
            assert interrupt(process) == 0, self.log()
        assert report_of(self.folder)["balanced"]

    @property
    def settled(self) -> bool:
        """Whether every message is acknowledged and nothing is held."""
        return self.pubsub.outstanding(SUBSCRIPTION) == 0 and not self.held_files()

    def held_files(self) -> list[Path]:
        return list((self.seen / "held" / "queue").glob("*/[0-9]*"))

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-4_000:]

    # What is where

    def look(self) -> Seen:
        """Read what is where; to be called when nothing runs.

        Raises:
            Torn: a file is neither whole nor absent.
        """
        # First what was acknowledged: what it stands for must be there already.
        waiting = frozenset(map(id_of, self.pubsub.unacknowledged(SUBSCRIPTION)))
        waiting |= self.in_file
        report = self.folder / "report.json"
        if report.exists():
            json.loads(report.read_bytes())
        delivered = {name: Counter(self.partners.accepted_ids(name)) for name in GROUPS}
        delivered["lake"] = archived_in(self.seen / "lake")
        buried: dict[str, Counter[str]] = {}
        for letter in letters_in(self.seen / "dead"):
            buried.setdefault(letter["connector"], Counter())[id_of(letter["event"])] += 1
        held = held_in(self.seen / "held")
        return Seen(delivered, held, buried, waiting, frozenset(self.published))

    def check_acknowledged(self, seen: Seen) -> None:
        """What was acknowledged has had its effect, at each connector that is due it."""
        self._check_due(seen, seen.published - seen.unacknowledged)

    def check_all(self, seen: Seen) -> None:
        """Every event is delivered, held or buried at each connector that is due it."""
        self._check_due(seen, seen.published)

    def _check_due(self, seen: Seen, ids: frozenset[str]) -> None:
        for name in CONNECTORS:
            theirs = {event_id for event_id in ids if name in self.due[event_id]}
            missing = theirs - seen.places_of(name)
            assert not missing, f"{name}: {len(missing)} of {len(theirs)} are nowhere: {missing}"
        invalid = {event_id for event_id in ids if not self.due[event_id]}
        assert invalid <= set(seen.buried.get("", ()))
        self._check_foreign(seen)

    def _check_foreign(self, seen: Seen) -> None:
        for name in CONNECTORS:
            foreign = [one for one in seen.places_of(name) if name not in self.due[one]]
            assert not foreign, f"{name} has got events of others: {foreign}"

    def check_twice(self, before: Seen, after: Seen) -> None:
        """A delivery was repeated only where the crash left its event unsettled, and once for each.

        What was not acknowledged is read once more, and each copy in the hold is sent once.
        """
        for name in CONNECTORS:
            made, held = before.delivered[name], before.held.get(name, Counter())
            for event_id, count in after.delivered[name].items():
                again = (event_id in before.unacknowledged) + held[event_id]
                most = made[event_id] + again if event_id in before.published else 1
                assert count <= max(1, most), f"{name}: {event_id} was sent {count} times"


def id_of(message: bytes) -> str:
    """The id of an event; a message that is none stands for itself."""
    try:
        return str(msgspec.json.decode(message)["id"])
    except msgspec.DecodeError:
        return message.decode()


def kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> bool:
    """Whether the condition came true before the program ended by itself."""
    return eventually(lambda: condition() or process.poll() is not None, 90) and condition()
