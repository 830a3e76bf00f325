"""What a worker process owns, made once from the settings that every step carries."""

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runtime.address import PUBLIC_ONLY, AddressPolicy
from runtime.alerts import Alerts
from runtime.background import Background
from runtime.clock import now_ms
from runtime.config_store import ConfigStore
from runtime.dead_letters import redacted, write_letters
from runtime.deadline import Deadlines
from runtime.decoding import Decoder
from runtime.delivery import Deliverer
from runtime.exchange import HttpExchange
from runtime.figures import EVERY_SECONDS, FiguresLog
from runtime.hold.directory import HoldQueue
from runtime.hold.suspensions import Suspensions
from runtime.hold.watch import ProbePace
from runtime.in_flight import Flight, InFlight, take_off
from runtime.input_read import InputRead
from runtime.ledger import Ledger
from runtime.pool import LanePool
from runtime.receipts import Receipts
from runtime.repeating import Repeating
from runtime.routing import Router
from runtime.secrets import SecretStore
from runtime.sending import begin, start
from schemas.batch import Batch
from schemas.dead_letter import DeadLetter
from schemas.limits import MAX_EVENT_BYTES

POOL_THREADS = 256
"""Born when they are needed: a hundred lanes can hang while they connect, and the next one finds a thread."""
BACKGROUND_THREADS = 16
"""For so many lanes at once: a write to an object store takes its time."""


@dataclass(frozen=True)
class WorkerSettings:
    """What a step needs to know of the deployment: addresses and numbers, never a secret."""

    connectors: str
    hold: str
    dead_letters: str
    job: str = ""
    """Names this run to others that share its hold."""
    config_refresh_seconds: float = 30
    max_event_age_seconds: float = 48 * 3_600
    """How long an event may be held, from its publishing, where its connector sets nothing else."""
    late_events: Literal["bury", "deliver"] = "bury"
    """What becomes of an event that is older than that when it arrives."""
    probe_min_seconds: float = 30
    probe_max_seconds: float = 30 * 60
    streaming: bool = False
    """Whether lanes are attended while events come; a bounded run tries every lane at once."""
    alert_webhook: str | None = None
    """Where alerts go besides the log: a URL, or the reference of a secret that holds one."""
    max_event_bytes: int = MAX_EVENT_BYTES
    historical: bool = False
    """Whether partners with a way of their own for old events take them there."""
    redact_dead_letters: bool = False
    """Whether dead letters hide what their connector's partner must not see."""
    address_policy: AddressPolicy = PUBLIC_ONLY


class Worker:
    """The connectors, the connections and the books of one process."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Raises ConfigError where the connectors file cannot be used."""
        self.settings = settings
        self.now_ms: Callable[[], int] = now_ms
        self._ends: list[Callable[[], None]] = []
        self.stopping = threading.Event()
        """Set when a bounded run is to read no further."""
        self.config = ConfigStore(
            settings.connectors,
            settings.address_policy,
            settings.config_refresh_seconds,
            settings.historical,
        )
        self.secrets = SecretStore()
        self.pool = LanePool(POOL_THREADS)
        self.exchange = HttpExchange(settings.address_policy, POOL_THREADS)
        self.suspensions = Suspensions(settings.hold)
        self.deliverer = Deliverer(
            self.pool,
            self.secrets,
            functools.partial(begin, self.exchange),
            functools.partial(start, self.exchange),
            self.suspensions,
            self._clock_ms,
        )
        alerting = HttpExchange(settings.address_policy, 1)  # no run waits for its last answer
        self.alerts = Alerts(settings.alert_webhook, alerting.send)
        self.deadlines = Deadlines(settings.max_event_age_seconds, settings.late_events)
        self.hold = HoldQueue(settings.hold)
        self.background = Background[Any](BACKGROUND_THREADS)
        """Where an engine with one thread has done what waits for storage."""
        self.unwritten: dict[str, int] = {}
        """Bytes that wait to be written there, by the same keys."""
        self.receipts = Receipts()
        self.ledger = Ledger()
        self.input_read = InputRead()
        self._figures = FiguresLog(self.ledger.read, self.config.current)
        self._telling = Repeating("figures", EVERY_SECONDS, self._figures.tell)
        self.in_flight = InFlight()
        self._router = Router(self.config.current())

    def decoder(self) -> Decoder:
        """A decoder for one bundle, with the connectors as they are now."""
        config = self.config.current()
        if self._router.config is not config:
            self._router = Router(config)
        return Decoder(self._router, self.receipts, self.settings.max_event_bytes)

    def take_off(self, key: str, batch: Batch, hold_reason: str = "") -> Flight:
        """Start to deliver a batch of the lane `key`, or hold it for a reason that is not empty."""
        config, now = self.config.current(), self.now_ms()
        return take_off(self.deliverer, self.deadlines, config, key, batch, now, hold_reason)

    def write_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Write dead letters to a file.

        Raises:
            StorageError: it could not be written.
        """
        if self.settings.redact_dead_letters:
            connectors = self.config.current().connectors
            letters = [redacted(letter, connectors.get(letter.connector)) for letter in letters]
        write_letters(self.settings.dead_letters, letters)

    @property
    def probe_pace(self) -> ProbePace:
        """How long suspended lanes wait for their probes."""
        shortest, longest = self.settings.probe_min_seconds, self.settings.probe_max_seconds
        return ProbePace(int(shortest * 1_000), int(longest * 1_000))

    def before_close(self, end: Callable[[], None]) -> None:
        """Have something that uses this worker ended before it is closed."""
        self._ends.append(end)

    def follow(self) -> None:
        """Follow the lanes' states while events stream, and tell figures of what is done."""
        self.suspensions.follow()
        self._telling.start()

    def close(self) -> None:
        self.background.close()  # what is written may tell those that attend lanes
        while self._ends:
            self._ends.pop()()
        if self.settings.streaming:
            self._telling.close()
            self._figures.tell()
        self.suspensions.close()
        self.alerts.close()
        self.config.close()
        self.exchange.close()  # what answers leave to do is the pool's
        self.pool.close()

    def _clock_ms(self) -> int:
        """The time as `now_ms` has it by then: a test may set it."""
        return self.now_ms()


_workers: dict[WorkerSettings, Worker] = {}
_lock = threading.Lock()


def worker_of(settings: WorkerSettings) -> Worker:
    """This process's worker for these settings; made, and its config followed, at the first call."""
    with _lock:
        worker = _workers.get(settings)
        if worker is None:
            worker = _workers[settings] = Worker(settings)
            worker.config.follow()
            if settings.streaming:
                worker.follow()
        return worker


def close_worker(settings: WorkerSettings) -> None:
    """End what this process's worker runs, and forget it."""
    with _lock:
        worker = _workers.pop(settings, None)
    if worker is not None:
        worker.close()
