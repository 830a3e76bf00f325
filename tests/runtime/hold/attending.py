"""A lane of the hold that is attended on a clock that is moved by hand, with real partners and files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from runtime.address import AddressPolicy
from runtime.hold.attendant import Outcome
from runtime.hold.attendants import attendants_of
from runtime.hold.objects import HeldBatch
from runtime.hold.watch import Failure, Watch, first_watch, noted
from runtime.ledger import Tally
from runtime.worker import Worker, WorkerSettings
from sandbox.partners import PartnerSandbox
from sandbox.samples import sample_events
from tests.pipeline.running import letters_in

HOUR = 3_600_000
MINUTE = 60_000
START = 1_800_000_000_000
EVENTS = list(sample_events(3_000, seed=17))
IDS = [msgspec.json.decode(event)["id"] for event in EVENTS]
_PATIENCE_SECONDS = 60
BUSY = Failure("status_503", "try", 503)


class Held:
    """A worker with the connector `hook`, whose lane is attended on a clock of its own."""

    def __init__(self, sandbox: PartnerSandbox, folder: Path, **changes: Any) -> None:
        self.folder = folder
        self.sandbox = sandbox
        (folder / "token").write_text("right")
        self.connect(**changes)
        self.worker = Worker(
            WorkerSettings(
                str(folder / "connectors.json"),
                str(folder / "held"),
                str(folder / "dead"),
                job="ours",
                address_policy=AddressPolicy(allow_local=True),
            )
        )
        self.now = START
        self.worker.now_ms = lambda: self.now
        self.attendants = attendants_of(self.worker)
        self.watch: Watch | None = None
        self.tally = Tally()
        self.turns = 0
        self.last: Outcome | None = None

    def connect(self, **changes: Any) -> None:
        hook = {
            "name": "hook",
            "kind": "postback",
            "url": self.sandbox.url("hook"),
            "token": f"file:{self.folder / 'token'}",
            "timeout": "1 s",
            **changes,
        }
        self._write_connectors(*([] if changes.get("gone") else [hook]))

    def connect_only(self, connector: dict[str, Any]) -> None:
        """Have another connector in its place, at once."""
        self._write_connectors(connector)
        self.worker.config.refresh()

    def _write_connectors(self, *connectors: dict[str, Any]) -> None:
        text = json.dumps({"connectors": connectors})
        (self.folder / "connectors.json").write_text(text)

    def hold(
        self, first: int, last: int, failure: Failure = BUSY, in_batches_of: int = len(EVENTS)
    ) -> str:
        """Hold the sample events [first, last), published now, as the pipeline does."""
        batches = [
            HeldBatch(
                part="",
                oldest_ms=self.now,
                newest_ms=self.now,
                first_failed_ms=self.now,
                reason=failure.reason,
                blame=failure.blame,
                events=EVENTS[begin : min(begin + in_batches_of, last)],
            )
            for begin in range(first, last, in_batches_of)
        ]
        name = self.worker.hold.put("hook", batches)
        self.tally.of("hook").held += last - first
        self.watch = noted(self.watch, failure, self.now, self.worker.probe_pace)
        self.attendants.wrote("hook")
        return name

    def turn(self) -> None:
        """Have one turn, as the engine's timer does."""
        watch = self.watch or first_watch(self.now)
        self.attendants.begin("hook", watch)
        self.last = self.attendants.outcome("hook", _PATIENCE_SECONDS)
        assert self.last is not None
        self.watch = self.last.merged(watch, self.attendants.has_written("hook"))
        self.tally.add(self.last.tally)
        self.attendants.collect("hook", self.last)
        self.turns += 1

    def leave(self) -> None:
        """End attending, as at the end of the input."""
        assert self.watch is not None
        self.tally.add(self.attendants.leave("hook", self.watch))

    def live(self, ms: int, step_ms: int = 1) -> None:
        """Attend the lane for so long, turn by turn as it asks for them, or less often."""
        end = self.now + ms
        while self.now < end:
            self.turn()
            assert self.last is not None
            if self.watch is None:
                return
            self.now = min(end, max(self.last.next_ms, self.now + step_ms))

    @property
    def requests(self) -> int:
        return self.sandbox.counts("hook").requests

    @property
    def counts(self) -> tuple[int, int, dict[str, int]]:
        hook = self.tally.of("hook")
        return hook.delivered, hook.held, dict(hook.dead)

    def letters(self) -> list[Any]:
        return letters_in(self.folder / "dead")

    def objects(self) -> list[str]:
        return self.worker.hold.objects("hook")


Start = Callable[..., Held]
