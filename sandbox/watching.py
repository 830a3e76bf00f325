"""Watching a run from outside: its report, its hold and its partners, and what changed in them.

All that is known comes from the files that a run writes for any tool to read (`report.json`; in the
hold `status/<lane>.json`, and `queue/<lane>/` whose names tell times and number of events) and from
what arrived at the partners. None of them need be there, or whole, at any time.
"""

import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from sandbox.feed import Feed
from sandbox.partners import PartnerSandbox
from sandbox.partners.faults import fault_to_json
from schemas.lane import connector_of, lane_of_file
from schemas.lane_status import LaneStatus
from schemas.report import ConnectorReport, Report

LOOK_SECONDS = 0.2
SAMPLE_SECONDS = 1.0
KEEP_SAMPLES = 180
RATE_SECONDS = 4.0
"""Batches come once a second or so: over a few of them a steady flow is a flat line."""
KEEP_NEWS = 100
OPEN_SECONDS = 5.0
"""A page that asked for nothing for so long is not open."""

State = Literal["healthy", "holding", "resuming", "suspended"]
Phase = Literal["starting", "running", "stopping", "ended"]

_WORST_LAST: tuple[State, ...] = ("healthy", "holding", "resuming", "suspended")
_LETTERS: Mapping[State, str] = {"healthy": "-", "holding": "h", "resuming": "r", "suspended": "s"}
_HELD_NAME = re.compile(r"(\d+)-\d+-(\d+)-[0-9a-f]+")


class Depth(NamedTuple):
    """What lies in a lane's queue."""

    events: int = 0
    oldest_ms: int | None = None


@dataclass(frozen=True)
class Hold:
    """What a hold has at a moment, by lane."""

    queues: Mapping[str, Depth] = field(default_factory=dict)
    statuses: Mapping[str, LaneStatus] = field(default_factory=dict)

    def lanes_of(self, connector: str) -> list[str]:
        """Its lanes that have something held or a status."""
        lanes = {lane for lane, depth in self.queues.items() if depth.events} | {*self.statuses}
        return sorted(lane for lane in lanes if connector_of(lane) == connector)

    def state_of(self, lane: str) -> State:
        status = self.statuses.get(lane)
        return status.state if status else "holding"

    def state(self, connector: str) -> State:
        """The worst that one of its lanes is in."""
        states = map(self.state_of, self.lanes_of(connector))
        return max(states, key=_WORST_LAST.index, default="healthy")

    def held(self, connector: str) -> int:
        return sum(self.queues.get(lane, Depth()).events for lane in self.lanes_of(connector))


def read_hold(folder: Path) -> Hold:
    """What the hold has now; what vanishes while we look was delivered meanwhile."""
    queues = {lane_of_file(queue.name): _depth(queue) for queue in _in(folder / "queue")}
    statuses = {
        status.lane: status
        for path in _in(folder / "status")
        if path.suffix == ".json" and (status := _read_as(LaneStatus, path)) is not None
    }
    return Hold(queues, statuses)


def read_report(path: Path) -> Report | None:
    """The report of a run; None where there is none yet."""
    return _read_as(Report, path)


def _depth(queue: Path) -> Depth:
    names = [found for path in _in(queue) if (found := _HELD_NAME.fullmatch(path.name))]
    oldest_ms = min((int(name[1]) for name in names), default=None)
    return Depth(sum(int(name[2]) for name in names), oldest_ms)


def _in(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError:  # it is not there, or not any more
        return


ShapeT = TypeVar("ShapeT")


def _read_as(shape: type[ShapeT], path: Path) -> ShapeT | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Sample(NamedTuple):
    """A connector in one second."""

    delivered: float
    """Events a second that its partner took."""
    held: int
    state: State


class Rate:
    """How fast a number grows, over the last few seconds or since it was told before."""

    def __init__(self) -> None:
        self._told: deque[tuple[float, int]] = deque()
        self._rate = 0.0

    def a_second(self, number: int, at: float) -> float:
        """The rate when the number is told at a moment; told again for the same one, it stays."""
        if not self._told or at > self._told[-1][0]:
            self._told.append((at, number))
            while len(self._told) > 2 and at - self._told[0][0] > RATE_SECONDS:
                self._told.popleft()
            (first_at, first), (last_at, last) = self._told[0], self._told[-1]
            self._rate = max(0, last - first) / (last_at - first_at) if last_at > first_at else 0.0
        return self._rate


class _Track:
    """What is remembered of one connector."""

    def __init__(self, name: str, kind: str, site: str | None) -> None:
        self.name = name
        self.kind = kind
        self.site = site
        self.state: State = "healthy"
        self.fault: Mapping[str, Any] = {}
        self.dead: Mapping[str, int] = {}
        self.samples: deque[Sample] = deque(maxlen=KEEP_SAMPLES)
        self.rate = Rate()


class RunWatch:
    """Follows one run on a thread of its own while the `with` block lasts."""

    def __init__(
        self,
        folder: Path,
        partners: PartnerSandbox,
        connectors: Sequence[Mapping[str, Any]],
        feed: Feed,
    ) -> None:
        """Connectors are those of the connectors file; that of a site has the site's name."""
        self._folder = folder
        self._partners = partners
        self._feed = feed
        sites = set(partners.names)
        self._tracks = [
            _Track(c["name"], c["kind"], c["name"] if c["name"] in sites else None)
            for c in connectors
        ]
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._told = threading.Event()
        self._asked_at = -OPEN_SECONDS
        self._thread = threading.Thread(target=self._follow, name="run-watch", daemon=True)
        self._hold = Hold()
        self._report: Report | None = None
        self._reported_at = 0.0
        self._phase: Phase = "starting"
        self._exit_code: int | None = None
        self._started_ms = _now_ms()
        self._news: deque[dict[str, Any]] = deque(maxlen=KEEP_NEWS)
        self._number = 0

    def __enter__(self) -> "RunWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def enter(self, phase: Phase, exit_code: int | None = None) -> None:
        """Say how far the run is."""
        self._look()
        with self._lock:
            self._enter(phase, exit_code)

    def _enter(self, phase: Phase, exit_code: int | None = None) -> None:
        if phase == self._phase:
            return
        self._phase, self._exit_code = phase, exit_code
        self._tell(None, phase, "" if exit_code is None else f"exit code {exit_code}")

    @property
    def phase(self) -> Phase:
        return self._phase

    def wait_until_told(self, seconds: float) -> None:
        """Wait until a page has seen the last phase; at the most so long, and not where none is open."""
        if time.monotonic() - self._asked_at < OPEN_SECONDS:
            self._told.wait(seconds)

    def state(self) -> dict[str, Any]:
        """All that a page shows, as JSON."""
        with self._lock:
            self._asked_at = time.monotonic()
            if self._phase == "ended":
                self._told.set()
            report = self._report
            return {
                "phase": self._phase,
                "exit_code": self._exit_code,
                "started": self._started_ms,
                "published": self._feed.published,
                "invalid": report.invalid if report else 0,
                "balanced": report.balanced if report else None,
                "reported": int(self._reported_at * 1_000) or None,
                "connectors": [self._connector(track, report) for track in self._tracks],
                "news": list(self._news),
            }

    def _follow(self) -> None:
        sample_at = time.monotonic()
        while not self._ended.wait(LOOK_SECONDS):
            self._look()
            if time.monotonic() >= sample_at:
                sample_at += SAMPLE_SECONDS
                with self._lock:
                    self._sample()

    def _look(self) -> None:
        """Read the files anew, and note what is another than before."""
        hold = read_hold(self._folder / "held")
        report = read_report(self._folder / "report.json")
        with self._lock:
            self._hold = hold
            if self._phase == "starting" and self._has_arrived():
                self._enter("running")
            if report is not None and report != self._report:
                self._report, self._reported_at = report, time.time()
            for track in self._tracks:
                self._compare(track)

    def _has_arrived(self) -> bool:
        """Whether something has come to a partner."""
        return any(self._partners.counts(name).requests for name in self._partners.names)

    def _compare(self, track: _Track) -> None:
        if track.site is not None:
            fault = fault_to_json(self._partners.fault(track.site))
            if _is_other_fault(fault, track.fault):
                self._tell(track, "fault" if fault else "repaired", fault=fault)
            track.fault = fault
        state = self._hold.state(track.name)
        if state != track.state:
            track.state = state
            self._tell(track, state, self._why(track))
        dead = self._report_of(track).dead
        for reason, count in dead.items():
            more = count - track.dead.get(reason, 0)
            if more > 0:
                self._tell(track, "buried", f"{more:,} {reason}")
        track.dead = dead

    def _why(self, track: _Track) -> str:
        """What the lane in the connector's state says of it."""
        hold = self._hold
        for lane in hold.lanes_of(track.name):
            if hold.state_of(lane) == track.state and lane in hold.statuses:
                return hold.statuses[lane].reason
        return ""

    def _tell(
        self,
        track: _Track | None,
        what: str,
        detail: str = "",
        fault: Mapping[str, Any] | None = None,
    ) -> None:
        self._number += 1
        self._news.append(
            {
                "number": self._number,
                "at": _now_ms(),
                "connector": track and track.name,
                "what": what,
                "detail": detail,
                "fault": fault,
                "held": self._hold.held(track.name) if track else 0,
            }
        )

    def _sample(self) -> None:
        for track in self._tracks:
            if track.site is None:
                rate = track.rate.a_second(self._report_of(track).delivered, self._reported_at)
            else:
                accepted = self._partners.counts(track.site).accepted
                rate = track.rate.a_second(accepted, time.monotonic())
            held = self._hold.held(track.name)
            track.samples.append(Sample(round(rate, 1), held, track.state))

    def _report_of(self, track: _Track) -> ConnectorReport:
        report = self._report.connectors.get(track.name) if self._report else None
        return report or ConnectorReport(track.kind, "healthy", proves_delivery=False)

    def _connector(self, track: _Track, report: Report | None) -> dict[str, Any]:
        counts = self._report_of(track)
        hold = self._hold
        return {
            "name": track.name,
            "kind": track.kind,
            "site": track.site,
            "state": track.state,
            "held": hold.held(track.name),
            "lanes": [self._lane(lane) for lane in hold.lanes_of(track.name)],
            "counts": msgspec.to_builtins(counts) if report else None,
            "delivered": [sample.delivered for sample in track.samples],
            "holding": [sample.held for sample in track.samples],
            "states": "".join(_LETTERS[sample.state] for sample in track.samples),
        }

    def _lane(self, lane: str) -> dict[str, Any]:
        depth = self._hold.queues.get(lane, Depth())
        status = self._hold.statuses.get(lane)
        return {
            "lane": lane,
            "state": self._hold.state_of(lane),
            "held": depth.events,
            "oldest": depth.oldest_ms,
            "status": status and msgspec.to_builtins(status),
        }


def _is_other_fault(fault: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether somebody has set it: a fault that has found out whom it rejects is the same one."""
    return fault != before and not (before.get("reject_next") and "reject_ids" in fault)


def _now_ms() -> int:
    return int(time.time() * 1_000)
