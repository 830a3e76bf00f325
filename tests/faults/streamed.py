"""The matrix while events stream: a run on DirectRunner in which all partners work, fail and work again."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.cloud import pubsub_v1

from sandbox.pubsub import EmbeddedPubSub
from tests.faults.cases import Case
from tests.faults.judging import Trial
from tests.faults.partners import EVENTS, REQUESTS_AT_ONCE, Cell
from tests.faults.stage import Stage, peak_megabytes
from tests.pipeline.running import (
    SUBSCRIPTION,
    eventually,
    interrupt,
    make_subscription,
    publish,
    streaming,
)

PACE = ("--probe_min", "2 s", "--probe_max", "4 s", "--config_refresh", "1 s")
FIRST = slice(0, 1)
"""The events by which it shows that the run has begun."""
CALM = slice(1, 11)
"""Those that come while all partners work."""
FAILING = slice(11, EVENTS)
"""Those that come while the others fail."""
PATIENCE_SECONDS = 240

Waits = Sequence[float]
"""How long events were on their way to partners that work, in seconds."""


@dataclass(frozen=True)
class Streamed:
    """What a run has shown."""

    trials: Sequence[Trial]
    calm: Waits
    disturbed: Waits
    """While the other partners failed."""
    peak_megabytes: float
    """The most memory that the run had."""

    @property
    def delay(self) -> float:
        """By how much the others' failing has delayed events, in seconds, by the median."""
        return statistics.median(self.disturbed) - statistics.median(self.calm)


def run_streamed(cases: Sequence[Case], folder: Path, *, settle: bool) -> Streamed:
    """Run every case at every kind, all together, in one process.

    With `settle` the faults last until every event is on disk: a lane that is suspended gathers for
    a minute.
    """
    with Stage(cases, folder) as stage, _pubsub() as (pubsub, publisher):
        run = _Run(stage, pubsub, publisher)
        with streaming(folder, *PACE, environment=stage.environment) as process:
            run.publish(FIRST)
            run.wait_until_all_has_come(FIRST)
            calm = run.publish(CALM)
            run.wait_until_all_has_come(CALM)
            stage.fail(FAILING)
            disturbed = run.publish(FAILING)
            run.wait_until_each_lane_shows_its_fault()
            if settle:
                run.wait_until_all_is_acknowledged()
            before = stage.find()
            stage.mend(_changes(stage.cells))
            run.wait_until_all_has_come(FAILING)
            run.wait_until_all_is_acknowledged()
            peak = peak_megabytes(process.pid)
            assert interrupt(process) == 0
        after, books = stage.find(), stage.books()
        assert stage.trapped == 0
        trials = [
            Trial(
                cell=cell,
                ids=cell.ids[FAILING],
                fate=cell.case.fate_streamed,
                before=before[cell.name],
                is_settled=settle,
                after=after[cell.name],
                books=(books[cell.name],),
                most_copies=None if cell.case.keeps else 1,
                # What had left already, and a second try of it, are all that may still come.
                most_refused=2 * REQUESTS_AT_ONCE if cell.case.asks_to_wait else None,
            )
            for cell in stage.cells
        ]
        return Streamed(trials, run.waits(calm), run.waits(disturbed), peak)


class _Run:
    """What is published, and what has become of it."""

    def __init__(
        self, stage: Stage, pubsub: EmbeddedPubSub, publisher: pubsub_v1.PublisherClient
    ) -> None:
        self._stage = stage
        self._pubsub = pubsub
        self._publisher = publisher

    def publish(self, part: slice) -> Mapping[str, float]:
        """Publish an event of each cell after the other; says when, by id, of those that never fail."""
        at: dict[str, float] = {}
        cells = self._stage.cells
        for number in range(*part.indices(EVENTS)):
            now = time.monotonic()
            at.update((cell.ids[number], now) for cell in self._stage.calm)
            publish(self._publisher, [cell.events[number] for cell in cells])
        return at

    def wait_until_all_has_come(self, part: slice) -> None:
        """Every event is at its partner, or buried where that is its fate."""
        _until_none(lambda: self._missing(part), "events have not come")

    def wait_until_each_lane_shows_its_fault(self) -> None:
        """In the status of the hold, where everything is held, or among the dead letters."""
        _until_none(self._unshown, "the fault does not show")

    def wait_until_all_is_acknowledged(self) -> None:
        """Every event is delivered, held on disk or buried."""
        assert eventually(lambda: self._pubsub.outstanding(SUBSCRIPTION) == 0, PATIENCE_SECONDS)

    def waits(self, published: Mapping[str, float]) -> Waits:
        """How long those events took that were published then."""
        arrived: dict[str, float] = {}
        for cell in self._stage.calm:
            for request in self._stage.door(cell).sandbox.requests(cell.name):
                for event_id in request.event_ids:
                    arrived.setdefault(event_id, request.at)
        return [arrived[event_id] - at for event_id, at in published.items()]

    def _missing(self, part: slice) -> list[str]:
        """The cells that lack events."""
        found = self._stage.find()
        return [
            cell.name
            for cell in self._stage.cells
            if not set(cell.ids[part]) <= {*found[cell.name].accepted, *found[cell.name].dead_ids}
        ]

    def _unshown(self) -> list[str]:
        found = self._stage.find()
        return [
            cell.name
            for cell in self._stage.cells
            if not self._shows(cell, len(found[cell.name].dead_ids))
        ]

    def _shows(self, cell: Cell, dead: int) -> bool:
        case = cell.case
        if case.fate_streamed == "buried":
            return dead == (1 if case.poisoned else len(cell.ids[FAILING]))
        if case.fate_streamed != "held":
            return True
        status = self._status(cell)
        states = ("holding", "suspended") if case.asks_to_wait else ("suspended",)
        return status.get("state") in states and status.get("reason") == case.reason

    def _status(self, cell: Cell) -> Mapping[str, Any]:
        path = self._stage.folder / "held" / "status" / f"{cell.lane}.json"
        return json.loads(path.read_bytes()) if path.exists() else {}


def _changes(cells: Sequence[Cell]) -> Mapping[str, Mapping[str, Any]]:
    """Settings when faults are lifted: as they were, but where a lane would wait for hours."""
    return {
        cell.name: {
            "timeout": cell.case.timeout,
            **({"contact": "ops@example.com"} if cell.case.asks_to_wait else {}),
        }
        for cell in cells
    }


@contextmanager
def _pubsub() -> Iterator[tuple[EmbeddedPubSub, pubsub_v1.PublisherClient]]:
    """Pub/Sub for this process and those that it starts."""
    with EmbeddedPubSub() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", server.address)
        publisher = make_subscription()
        try:
            yield server, publisher
        finally:
            publisher.stop()
            publisher.transport.close()


def _until_none(left: Callable[[], list[str]], what: str) -> None:
    """Wait until nothing is left."""
    assert eventually(lambda: not left(), PATIENCE_SECONDS), f"{what}: {', '.join(left())}"
