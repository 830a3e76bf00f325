"""Lanes in simulated time: the real BatchByLane, with arrivals, a clock, state and timers of our own.

What a connector gets is made anew for each lane of it: pulls as GatherPulls would make them, in which
so many events of the connector are as its share of the job says. The step that is tried is the one
that runs on Dataflow, with the sinks' limits, token buckets and requests; only the engine is not
there, and the partner, who answers at once. Seeded, so the same figures come every time.
"""

import bisect
import contextlib
import functools
import itertools
import math
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from runtime.address import PUBLIC_ONLY
from runtime.batching import RATE_LIMIT
from runtime.connectors import ConnectorEntry, parse_config
from runtime.worker import WorkerSettings, close_worker
from sandbox.samples import sample_event, sample_events
from schemas.batch import Batch, encode_batch, make_batch
from schemas.event import decode_header
from schemas.lane import Lane
from sinks.sink import Filtered, HttpRequest
from transforms.batch_by_lane import _BatchFn
from transforms.gather_pulls import SHARDS, TARGET_BYTES, WINDOW_SECONDS

START_SECONDS = 1_760_000_000.0
ID_BYTES = 36
MEAN_EVENT_BYTES = 935
"""Of the samples with their line break; a test of the benchmarks holds it."""
MOST_EVENTS = 10_000
"""That are simulated of one connector; of a faster one only some of its shards are."""
FEEDS = ("ios", "android", "web", "unbound")
TIMERS = 2
"""Of a lane that waits: the end of its window, and the end of input."""


class Stream(NamedTuple):
    """What one connector gets."""

    kind: str
    events_per_second: float
    users: int = 1_000_000
    """Who have events, each as many as the others."""
    shards: int = 1
    rate_limit: float | None = None
    job_events_per_second: float = 1_000
    """What the whole job reads, at the least: it decides how large fragments are."""

    @property
    def read_per_second(self) -> float:
        return max(self.job_events_per_second, self.events_per_second)


class LaneFigures(msgspec.Struct):
    """What became of the events of a connector; all lanes of it together, unless it says otherwise."""

    lanes: float
    """That got events in the time that was simulated."""
    simulated_share: float
    """Of its shards."""
    seconds: float
    arrived: int
    """Events that were simulated; so are those of the next three."""
    delivered: int
    held: int
    """That went to the hold for want of tokens."""
    unpackable: int
    requests_per_second: float
    events_per_request: float
    bytes_per_request: float
    units_per_second: float
    """Of what the partner's limit counts, as the batcher estimates it."""
    wait_p50: float
    wait_p99: float
    """Seconds from the fragment's arrival at its lane to its leaving, of what was delivered."""
    gathered_seconds: float
    """The mean time in GatherPulls, which comes before."""
    mean_state_bytes: float
    most_lane_bytes: float
    """In the state of one lane."""
    timers_per_second: float
    fragments_per_event: float
    cpu_us: float
    """CPU of the batcher for each event on this machine: no figure for a page, it varies."""

    @property
    def delivered_per_second(self) -> float:
        return self.requests_per_second * self.events_per_request

    @property
    def events_per_unit(self) -> float:
        """How many events go with one unit of what the partner's limit counts."""
        return self.delivered_per_second / self.units_per_second


# State and timers


class _Clock:
    now = START_SECONDS


class _Bag:
    def __init__(self) -> None:
        self._items: list[bytes] = []
        self.size = 0

    def add(self, item: bytes) -> None:
        self._items.append(item)
        self.size += len(item)

    def read(self) -> Iterable[bytes]:
        return list(self._items)

    def clear(self) -> None:
        self._items = []
        self.size = 0


class _Value:
    def __init__(self) -> None:
        self._kept: bytes | None = None

    @property
    def size(self) -> int:
        return len(self._kept or b"")

    def read(self) -> bytes | None:
        return self._kept

    def write(self, value: bytes) -> None:
        self._kept = value

    def clear(self) -> None:
        self._kept = None


class _Timer:
    def __init__(self) -> None:
        self.at = math.inf

    def set(self, at: Any) -> None:
        self.at = float(at)

    def clear(self) -> None:
        self.at = math.inf


@dataclass
class _State:
    """What an engine keeps for one key."""

    bag: _Bag = field(default_factory=_Bag)
    waiting: _Value = field(default_factory=_Value)
    bucket: _Value = field(default_factory=_Value)
    window: _Timer = field(default_factory=_Timer)
    drain: _Timer = field(default_factory=_Timer)

    @property
    def size(self) -> int:
        return self.bag.size + self.waiting.size + self.bucket.size

    @property
    def parts(self) -> tuple[_Bag, _Value, _Value, _Timer, _Timer]:
        return self.bag, self.waiting, self.bucket, self.window, self.drain


# One lane


class Arrival(NamedTuple):
    """A fragment that reaches its lane."""

    at: float
    fragment: Batch


class LaneRun:
    """One lane from its first fragment to the end of the simulated time."""

    def __init__(self, step: _BatchFn, clock: _Clock, key: str) -> None:
        self._step = step
        self._clock = clock
        self._key = key
        self._state = _State()
        self._since: deque[tuple[float, int]] = deque()
        """When events came that have not left, and how many of them."""
        self._size_since = START_SECONDS
        self.byte_seconds = 0.0
        self.most_bytes = 0
        self.fired = 0
        self.cpu_seconds = 0.0
        self.waits: list[tuple[float, int]] = []
        self.left: list[Batch] = []
        self.at_the_end: list[Batch] = []

    def run(self, arrivals: Iterable[Arrival], until: float) -> None:
        """Bring fragments in order, and let timers fire between them."""
        for arrival in arrivals:
            self._fire_until(arrival.at)
            self._since.append((arrival.at, arrival.fragment.count))
            element = self._key, encode_batch(arrival.fragment)
            self._let_out(arrival.at, functools.partial(self._step.process, element, *self._parts))
        self._fire_until(until)
        self._weigh(until)
        self.at_the_end = [
            batch for _, batch in self._step.input_has_ended(self._key, *self._parts)
        ]

    @property
    def _parts(self) -> tuple[Any, ...]:
        return self._state.parts

    def _fire_until(self, moment: float) -> None:
        while (at := self._state.window.at) <= moment:
            self._state.window.clear()
            self.fired += 1
            self._let_out(at, functools.partial(self._step.look_after, self._key, *self._parts))

    def _let_out(self, now: float, act: Callable[[], Iterator[tuple[str, Batch]]]) -> None:
        self._clock.now = now
        self._weigh(now)
        begun = time.process_time()
        left = [batch for _, batch in act()]
        self.cpu_seconds += time.process_time() - begun
        self.most_bytes = max(self.most_bytes, self._state.size)
        for batch in left:
            self.left.append(batch)
            self._leave(batch, now)

    def _leave(self, batch: Batch, now: float) -> None:
        """Note how long its events have waited: they leave in the order in which they came."""
        count = batch.count
        while count:
            at, waiting = self._since.popleft()
            gone = min(count, waiting)
            if waiting > gone:
                self._since.appendleft((at, waiting - gone))
            if batch.hold_reason != RATE_LIMIT:
                self.waits.append((now - at, gone))
            count -= gone

    def _weigh(self, now: float) -> None:
        self.byte_seconds += self._state.size * (now - self._size_since)
        self._size_since = now


# Arrivals


class _Samples:
    """Events of users, made once for each of so many; an event's id is put in when it is taken."""

    def __init__(self, kind: str, seed: int) -> None:
        entry = entry_of(Stream(kind, 1))
        self.seed = seed
        chance = random.Random(seed)  # noqa: S311 - a simulation
        types = [
            header.event_type
            for header in map(decode_header, sample_events(4_000, seed, anonymous_share=0))
            if entry.sink.supports(header.event_type)
        ]
        self._by_part: dict[str, list[tuple[bytes, bytes, bytes]]] = {}
        for number in range(2_000):
            event_type = chance.choice(types)
            user = {"external_user_id": "00000000"}
            event = sample_event(event_type, seed=number, user=user)
            encoded = msgspec.json.encode(event)
            header = decode_header(encoded)
            part = entry.sink.place(header, event_type, "2026-01-01-00")
            if isinstance(part, Filtered) or b"external_user_id" not in encoded:
                continue
            before, _, rest = encoded.partition(event["id"].encode())
            middle, _, after = rest.partition(b'"external_user_id":"00000000"')
            self._by_part.setdefault(part, []).append((before, middle, after))

    @property
    def shares(self) -> Mapping[str, float]:
        """What share of the events goes to each part of the connector."""
        whole = sum(map(len, self._by_part.values()))
        return {part: len(found) / whole for part, found in sorted(self._by_part.items())}

    def event(self, part: str, user: int, number: int) -> bytes:
        """An event of a user: of one user the same sample, with an id of its own."""
        found = self._by_part[part]
        before, middle, after = found[user % len(found)]
        named = b'"external_user_id":"%08d"' % user
        return before + b"%0*d" % (ID_BYTES, number) + middle + named + after


@functools.cache
def _samples_of(kind: str, seed: int) -> _Samples:
    return _Samples(kind, seed)


def part_shares(kind: str) -> Mapping[str, float]:
    """What share of the sample events goes to each part of a connector: to each feed of mParticle."""
    return _samples_of(kind, 1).shares


def pull_seconds(events_per_second: float, event_bytes: float) -> float:
    """How long GatherPulls gathers a pull of a job that reads so much."""
    per_shard = events_per_second / SHARDS
    return min(WINDOW_SECONDS, TARGET_BYTES / (per_shard * event_bytes))


def _arrivals(
    rate: float, job_rate: float, seconds: float, chance: random.Random
) -> Iterator[tuple[float, int]]:
    """When pulls leave GatherPulls, and how many events of a lane that gets `rate` are in each."""
    for _ in range(SHARDS):
        gap = SHARDS / job_rate  # from the end of a pull to the next message of its shard
        gathers = pull_seconds(job_rate, MEAN_EVENT_BYTES)
        at = START_SECONDS + chance.random() * (gathers + gap)
        while at < START_SECONDS + seconds:
            count = _poisson(rate / SHARDS * (gathers + gap), chance)
            if count:
                yield at, count
            at += gathers + chance.expovariate(1 / gap)


def _poisson(mean: float, chance: random.Random) -> int:
    """How many of rare things happen, by their gaps."""
    count, passed = 0, chance.expovariate(1)
    while passed < mean:
        count += 1
        passed += chance.expovariate(1)
    return count


# A connector


@contextlib.contextmanager
def _step_of(settings: Mapping[str, Any], clock: _Clock) -> Iterator[_BatchFn]:
    """The step of a worker with one connector, whose config is never read again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "connectors.json").write_bytes(msgspec.json.encode({"connectors": [settings]}))
        worker_settings = WorkerSettings(
            str(folder / "connectors.json"),
            str(folder / "held"),
            str(folder / "dead"),
            config_refresh_seconds=86_400,
        )
        step = _BatchFn(worker_settings, hurries=False, clock=lambda: clock.now)
        step.setup()
        try:
            yield step
        finally:
            close_worker(worker_settings)


def entry_of(stream: Stream) -> ConnectorEntry:
    """The connector that a stream goes to."""
    content = msgspec.json.encode({"connectors": [_settings_of(stream)]})
    (entry,) = parse_config(content, PUBLIC_ONLY)[0].connectors.values()
    return entry


def _settings_of(stream: Stream) -> Mapping[str, Any]:
    own: Mapping[str, Mapping[str, Any]] = {
        "postback": {"url": "https://hooks.example.com/"},
        "rudderstack": {"url": "https://data.example.com/v1/webhook"},
        "treasure_data": {"url": "https://td.example.com/"},
        "segment": {"write_key": "env:KEY"},
        "mparticle": {"feeds": {feed: {"key": "env:KEY", "secret": "env:KEY"} for feed in FEEDS}},
    }
    limit = {} if stream.rate_limit is None else {"rate_limit": stream.rate_limit}
    return {
        "name": "one",
        "kind": stream.kind,
        "shards": stream.shards,
        **own[stream.kind],
        **limit,
    }


class _Plan(NamedTuple):
    """How much of a stream is simulated."""

    shards: int
    seconds: float

    @classmethod
    def of(cls, stream: Stream) -> "_Plan":
        """All shards where that is not too much, else one of them, for as long as is needed."""
        per_shard = stream.events_per_second / stream.shards
        if per_shard <= MOST_EVENTS / 10:
            seconds = min(1_200.0, max(20.0, MOST_EVENTS / per_shard))  # two batch windows
        else:
            seconds = 2 * MOST_EVENTS / per_shard
        most = math.floor(MOST_EVENTS / (per_shard * seconds))
        return cls(min(stream.shards, max(1, most)), seconds)


def simulate(stream: Stream, seed: int = 1) -> LaneFigures:
    """Run the lanes of a connector, or a sample of its shards, and say what became of its events."""
    plan = _Plan.of(stream)
    return _figures(stream, plan, entry_of(stream), run_lanes(stream, seed, plan.shards))


class Ran(NamedTuple):
    """A lane that was run, what it was given, and for how long."""

    lane: Lane
    run: LaneRun
    given: Sequence[Arrival]
    seconds: float


def run_lanes(stream: Stream, seed: int = 1, shards: int = 1) -> list[Ran]:
    """Run the lanes of so many shards of a connector."""
    clock, plan, samples = _Clock(), _Plan.of(stream), _samples_of(stream.kind, seed)
    with _step_of(_settings_of(stream), clock) as step:
        return [
            _run_lane(stream, step, clock, samples, Lane("one", part, shard), plan.seconds)
            for shard in range(min(shards, stream.shards))
            for part in samples.shares
        ]


def _run_lane(
    stream: Stream,
    step: _BatchFn,
    clock: _Clock,
    samples: _Samples,
    lane: Lane,
    seconds: float,
) -> Ran:
    chance = random.Random(f"{stream} {lane.key} {samples.seed}")  # noqa: S311 - a simulation
    rate = stream.events_per_second / stream.shards * samples.shares[lane.part]
    users = max(1, stream.users // stream.shards)
    numbers = itertools.count()
    given = [
        Arrival(at, _fragment(samples, lane.part, users, count, numbers, chance, at))
        for at, count in sorted(_arrivals(rate, stream.read_per_second, seconds, chance))
    ]
    run = LaneRun(step, clock, lane.key)
    run.run(given, START_SECONDS + seconds)
    return Ran(lane, run, given, seconds)


def _fragment(
    samples: _Samples,
    part: str,
    users: int,
    count: int,
    numbers: Iterator[int],
    chance: random.Random,
    at: float,
) -> Batch:
    events = [
        samples.event(part, int(chance.random() * users), number)
        for number in itertools.islice(numbers, count)
    ]
    return make_batch(events, int(at * 1_000), int(at * 1_000))


# Figures


def _figures(
    stream: Stream, plan: _Plan, entry: ConnectorEntry, runs: Sequence[Ran]
) -> LaneFigures:
    delivered = [batch for ran in runs for batch in ran.run.left if not batch.hold_reason]
    held = sum(b.count for ran in runs for b in ran.run.left if b.hold_reason)
    packed = [
        entry.sink.pack(batch.events, ran.lane.part, _SECRETS)
        for ran in runs
        for batch in ran.run.left
        if not batch.hold_reason
    ]
    requests = [request for one in packed for request in one.requests]
    scale = stream.shards / plan.shards / plan.seconds
    arrived = sum(arrival.fragment.count for ran in runs for arrival in ran.given)
    sent = sum(len(request.events) for request in requests)
    size = sum(len(one.body) for one in requests if isinstance(one, HttpRequest))
    waits = sorted(wait for ran in runs for wait in ran.run.waits)
    gathers = pull_seconds(stream.read_per_second, MEAN_EVENT_BYTES)
    return LaneFigures(
        lanes=len([ran for ran in runs if ran.given]) * stream.shards / plan.shards,
        simulated_share=plan.shards / stream.shards,
        seconds=plan.seconds,
        arrived=arrived,
        delivered=sum(batch.count for batch in delivered),
        held=held,
        unpackable=sum(len(one.unpackable) for one in packed),
        requests_per_second=len(requests) * scale,
        events_per_request=sent / max(1, len(requests)),
        bytes_per_request=size / max(1, len(requests)),
        units_per_second=sum(entry.sink.rate_units(b.events) for b in delivered) * scale,
        wait_p50=_quantile(waits, 0.50),
        wait_p99=_quantile(waits, 0.99),
        gathered_seconds=gathers / 2,
        mean_state_bytes=sum(ran.run.byte_seconds for ran in runs) * scale,
        most_lane_bytes=max(ran.run.most_bytes for ran in runs),
        timers_per_second=sum(ran.run.fired for ran in runs) * scale,
        fragments_per_event=sum(len(ran.given) for ran in runs) / max(1, arrived),
        cpu_us=sum(ran.run.cpu_seconds for ran in runs) / max(1, arrived) * 1e6,
    )


_SECRETS = {"env:KEY": "key"}


def _quantile(waits: Sequence[tuple[float, int]], share: float) -> float:
    """Of sorted waits, each of so many events."""
    if not waits:
        return math.nan
    ends = list(itertools.accumulate(count for _, count in waits))
    return waits[bisect.bisect_left(ends, share * ends[-1])][0]
