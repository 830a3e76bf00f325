"""What a load takes on Dataflow, by arithmetic: from measured figures, named assumptions, and lanes.

`measured.json` holds what was measured on one machine, `assumed.json` what was not: prices, quotas
and what nobody could measure here, each with its source and date. Nothing else is put in.
"""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.figures import Spread
from benchmarks.scale_lanes import (
    LaneFigures,
    Stream,
    entry_of,
    part_shares,
    pull_seconds,
    simulate,
)
from runtime.batching import LARGE_BYTES, LARGE_WINDOW_SECONDS
from runtime.decoding import MAX_GATHERED_BYTES
from runtime.hold.attendant import STATUS_MS
from runtime.hold.suspensions import LOOK_SECONDS
from runtime.in_flight import MAX_BYTES_IN_FLIGHT
from runtime.secrets import REFRESH_SECONDS
from runtime.token_bucket import lane_share, release_share
from transforms.gather_pulls import SHARDS

FOLDER = Path(__file__).parent
KINDS = ("postback", "segment", "mparticle")
"""That were measured. RudderStack and Treasure Data splice lines as a postback does."""
UNLIMITED = 1e6
"""The highest `rate_limit` that a connector may have."""
CONCURRENCY = 8
"""Requests at a time of a connector (or a feed of it) in a process, by default."""
MOST_CONCURRENCY = 64
GIB = 2**30
TIB = 2**40
HOUR = 3_600
DAY = 24 * HOUR
MONTH = 30 * DAY


class Routing(msgspec.Struct):
    """A case of benchmarks/shuffle.py: per event, with GatherPulls."""

    connectors: int
    copies: int
    bytes: Spread
    elements: Spread
    cpu_us: Spread


class Measured(msgspec.Struct):
    """What `--measure` found; CPU in µs."""

    date: str
    machine: Mapping[str, Any]
    commands: Mapping[str, str]
    event_bytes: float
    routing: list[Routing]
    """A few, more and many copies of an event in large fragments, then small fragments."""
    batch_us: dict[str, Spread]
    """A copy in BatchByLane, by kind."""
    pack_us: dict[str, Spread]
    """A copy, by kind."""
    send_us: dict[str, Spread]
    """A request, by kind."""
    rest_us: Spread
    """A copy: Beam, threads and bookkeeping on FnApiRunner."""
    peak_mb: Spread
    """Of a process that sends to three partners."""
    released_per_second: Spread
    """Events of one lane of the hold."""


class Assumption(msgspec.Struct):
    """A figure that was not measured."""

    value: float
    unit: str
    what: str
    source: str
    date: str


class Routed(NamedTuple):
    """What reading, gathering and routing take: a straight line through the measured cases."""

    us_per_event: float
    us_per_copy: float
    us_per_fragment: float
    bytes_per_event: float
    bytes_per_copy: float


class Load(NamedTuple):
    """A job: events read a second, and how many connectors each event goes to, kinds in equal parts."""

    events_per_second: float
    copies: int


class Demand(NamedTuple):
    """What a load takes."""

    us_by_stage: Mapping[str, float]
    """CPU of an event."""
    vcpus: float
    shuffled_bytes: float
    """Of an event, as the rest: what crosses a shuffle, what Streaming Engine counts, what is sent."""
    engine_bytes: float
    sent_bytes: float
    requests_per_second: float
    state_bytes: float
    """Mean, of all lanes."""
    lanes: float

    @property
    def us_per_event(self) -> float:
        return sum(self.us_by_stage.values())


class Dollars(NamedTuple):
    """What is paid, by what is billed; Streaming Engine is billed in one of two ways."""

    vcpus: float
    memory: float
    engine_by_units: float
    engine_by_data: float
    pubsub: float
    traffic: float

    @property
    def by_units(self) -> float:
        return sum(self) - self.engine_by_data

    @property
    def by_data(self) -> float:
        return sum(self) - self.engine_by_units


class Tuning(NamedTuple):
    """What one connector needs."""

    requests_in_flight: float
    concurrency: int
    shards: int
    processes: int
    """Of the job, at the least; one for each vCPU."""


class Outage(NamedTuple):
    """A partner that is away while events of one lane come."""

    events: float
    bytes: float
    objects: float
    dollars: float


class Model:
    """The figures, and what follows from them."""

    def __init__(self, measured: Measured, assumed: Mapping[str, Assumption]) -> None:
        self.measured = measured
        self.assumed = assumed
        few, more, *_, small = measured.routing
        more_copies = more.copies - few.copies
        us_per_copy = (more.cpu_us.median - few.cpu_us.median) / more_copies
        us_per_event = few.cpu_us.median - few.copies * us_per_copy
        us_of_small = small.cpu_us.median - us_per_event - small.copies * us_per_copy
        bytes_per_copy = (more.bytes.median - few.bytes.median) / more_copies
        self.routed = Routed(
            us_per_event,
            us_per_copy,
            max(0.0, us_of_small / small.elements.median),
            few.bytes.median - few.copies * bytes_per_copy,
            bytes_per_copy,
        )

    def of(self, name: str) -> float:
        """An assumption."""
        return self.assumed[name].value

    # One load

    def demand(self, load: Load) -> Demand:
        """What a load takes while all partners take what they are sent, as if they had no limits."""
        each = load.copies / len(KINDS)
        lanes = {kind: unlimited(kind, load.events_per_second) for kind in KINDS}
        per_event = {
            kind: each * found.requests_per_second / load.events_per_second
            for kind, found in lanes.items()
        }
        fragments = load.copies / self.fragment_events(load.events_per_second)
        routed = self.routed
        us = {
            "read": self.of("element_us") * (1 + 1 / self.of("read_bundle") + fragments),
            "gather, decode, route": routed.us_per_event
            + load.copies * routed.us_per_copy
            + fragments * routed.us_per_fragment,
            "batch": each * sum(found.median for found in self.measured.batch_us.values()),
            "pack": each * sum(found.median for found in self.measured.pack_us.values()),
            "send": sum(per_event[kind] * self.measured.send_us[kind].median for kind in KINDS),
            "Beam, threads, books": load.copies * self.measured.rest_us.median,
        }
        shuffled = routed.bytes_per_event + load.copies * routed.bytes_per_copy
        kept = (1 + load.copies) * self.measured.event_bytes * self.of("state_writes")
        return Demand(
            us,
            self.vcpus(load.events_per_second, sum(us.values())),
            shuffled,
            shuffled + kept,
            sum(per_event[kind] * lanes[kind].bytes_per_request for kind in KINDS),
            sum(per_event.values()) * load.events_per_second,
            each * sum(found.mean_state_bytes for found in lanes.values()),
            each * sum(found.lanes for found in lanes.values()),
        )

    def vcpus(self, events_per_second: float, us_per_event: float) -> float:
        """How many vCPUs are as busy as they should be."""
        cores = events_per_second * us_per_event / 1e6
        return cores / self.of("cores_per_vcpu") / self.of("busy_share")

    def fragment_events(self, events_per_second: float) -> float:
        """How many events of a connector that takes all of them cross the shuffle together."""
        gathers = pull_seconds(events_per_second, self.measured.event_bytes)
        return max(1.0, events_per_second / SHARDS * gathers)

    def dollars(self, load: Load, events: float) -> "Dollars":
        """List prices of so many events at a load, publishing them included."""
        demand = self.demand(load)
        hours = events / load.events_per_second / HOUR
        memory = self.of("memory_gib_per_vcpu")
        engine_gib = events * demand.engine_bytes / GIB
        units = engine_gib / hours / HOUR * self.of("engine_units_per_gib_second")
        return Dollars(
            vcpus=demand.vcpus * hours * self.of("vcpu_hour"),
            memory=demand.vcpus * memory * hours * self.of("memory_gib_hour"),
            engine_by_units=units * hours * self.of("engine_unit_hour"),
            engine_by_data=engine_gib * self.of("streaming_engine_gib"),
            pubsub=2 * events * self.measured.event_bytes / TIB * self.of("pubsub_tib"),
            traffic=events * demand.sent_bytes / GIB * self.of("egress_gib"),
        )

    # One lane

    def lane_us(self, kind: str) -> float:
        """CPU of a copy from the shuffle to the partner, in requests as full as they become."""
        measured, lane = self.measured, unlimited(kind, 1_000)
        send = measured.send_us[kind].median / lane.events_per_request
        return (
            measured.batch_us[kind].median
            + measured.pack_us[kind].median
            + send
            + measured.rest_us.median
        )

    def lane_by_cpu(self, kind: str) -> float:
        """Events a second that one core takes for a lane: one key is one thread of one process."""
        return 1e6 / self.lane_us(kind) * self.of("cores_per_vcpu")

    def lane_by_answers(self, kind: str, answer_seconds: float) -> float:
        """Events a second with as many requests on their way as there may be by default."""
        return CONCURRENCY * unlimited(kind, 1_000).events_per_request / answer_seconds

    def lane_events_per_second(self, kind: str) -> float:
        """What one lane takes at the most, as it is by default."""
        by_answers = self.lane_by_answers(kind, self.of("answer_seconds"))
        return min(self.lane_by_cpu(kind), by_answers)

    def tuned(self, kind: str, events_per_second: float) -> "Tuning":
        """What a connector that takes every event of a job of three copies needs.

        The requests of all its lanes in a process share `concurrency`, so that shards help only as far
        as there are processes; mParticle's feeds have theirs each, and it is the busiest that counts.
        """
        rate = events_per_second * busiest_part(kind) / self.of("busy_share")
        requests = rate / unlimited(kind, 1_000).events_per_request * self.of("answer_seconds")
        there = math.ceil(self.vcpus(events_per_second, self.demand(Load(1_000, 3)).us_per_event))
        concurrency = min(MOST_CONCURRENCY, max(CONCURRENCY, math.ceil(requests / there)))
        shards = max(1, math.ceil(max(requests / concurrency, rate / self.lane_by_cpu(kind))))
        return Tuning(requests, concurrency, shards, max(there, math.ceil(requests / concurrency)))

    # The whole job

    def gather_events_per_second(self, copies: int) -> float:
        """What the shards of GatherPulls take: each is a key, and routing is fused with it."""
        fragments = copies / self.fragment_events(100_000)
        routed = self.routed
        us = (
            routed.us_per_event
            + copies * routed.us_per_copy
            + fragments * routed.us_per_fragment
            + self.of("element_us") * (1 / self.of("read_bundle") + fragments)
        )
        return SHARDS * 1e6 / us * self.of("cores_per_vcpu")

    def process_mb(self) -> float:
        """The most that one SDK process may hold: its bundles, beside what it takes anyway."""
        a_bundle = (MAX_GATHERED_BYTES + 2 * MAX_BYTES_IN_FLIGHT) / 1e6
        return self.measured.peak_mb.median + self.of("bundles_a_process") * a_bundle

    def listings_per_second(self, processes: float) -> float:
        """How often the markers of suspended and of resuming lanes are listed."""
        return 2 * processes / LOOK_SECONDS

    def listing_dollars_a_month(self, processes: float) -> float:
        return self.listings_per_second(processes) * MONTH / 1_000 * self.of("class_a_per_1000")

    def status_dollars_a_day(self, lanes: float) -> float:
        """What is written of lanes that have something held."""
        return lanes * DAY / (STATUS_MS / 1_000) / 1_000 * self.of("class_a_per_1000")

    def held_bytes_a_day(self, events_per_second: float) -> float:
        """What the hold grows by, for what a limit does not let through."""
        return (
            kept_back("mparticle", events_per_second)
            * events_per_second
            * DAY
            * self.measured.event_bytes
        )

    def secret_accesses_per_minute(self, references: float, processes: float) -> float:
        """While a job runs, if every process serves a lane of every connector."""
        return references * processes / (REFRESH_SECONDS / 60)

    # An outage

    def outage(self, events_per_second: float, seconds: float) -> Outage:
        """What lies in the hold after it; each object is as large, or as old, as it may be."""
        events = events_per_second * seconds
        rate = events_per_second * self.measured.event_bytes
        objects = seconds / min(LARGE_WINDOW_SECONDS, LARGE_BYTES / rate)
        size = events * self.measured.event_bytes
        storage = size / 2 / GIB * seconds / MONTH * self.of("storage_gib_month")
        operations = 2 * objects * self.of("class_a_per_1000") / 1_000
        reads = objects * self.of("class_b_per_1000") / 1_000
        return Outage(events, size, objects, storage + operations + reads)

    def release_events_per_second(self, kind: str) -> float:
        """What the queue of one part of a connector loses a second at the most."""
        lane = unlimited(kind, 1_000)
        by_answers = self.lane_by_answers(kind, self.of("answer_seconds"))
        share = release_share(entry_of(Stream(kind, 1)))
        by_limit = math.inf if share is None else share * lane.events_per_unit
        return min(self.measured.released_per_second.median, by_answers, by_limit)

    def drain_seconds(self, kind: str, events_per_second: float, seconds: float) -> float:
        """How long it takes to send what was held of the busiest part, while events come as before.

        Fresh events that their half of the limit does not let through join the queue: it shrinks by
        what is left of the whole limit, and never if nothing is.
        """
        fresh = events_per_second * busiest_part(kind)
        left = part_limit(kind) - fresh
        if left <= 0:
            return math.inf
        return fresh * seconds / min(self.release_events_per_second(kind), left)


def part_limit(kind: str) -> float:
    """Events a second that one part of a connector may send by its partner's limit, as it is by default."""
    share = lane_share(entry_of(Stream(kind, 1)), resuming=False)
    return math.inf if share is None else share * unlimited(kind, 1_000).events_per_unit


def needed_of_limit(kind: str, found: LaneFigures, events_per_second: float) -> float | None:
    """How much of the partner's limit a connector needs, if no part of it were to wait; None: no limit."""
    limit = entry_of(Stream(kind, 1)).sink.rate_limit
    return None if limit is None else events_per_second / found.events_per_unit / limit


def kept_back(kind: str, events_per_second: float) -> float:
    """The share of a connector's events that the default limits of its parts never let through."""
    most = part_limit(kind)
    rates = [events_per_second * share for share in part_shares(kind).values()]
    return sum(max(0.0, rate - most) for rate in rates) / events_per_second


@functools.cache
def unlimited(kind: str, events_per_second: float) -> LaneFigures:
    """The lanes of a connector that takes every event of a job, without a limit of its partner."""
    limit = None if kind == "postback" else UNLIMITED
    rate = events_per_second
    shards = max(1, round(rate / 10_000))
    return simulate(Stream(kind, rate, shards=shards, rate_limit=limit, job_events_per_second=rate))


@functools.cache
def simulated(stream: Stream) -> LaneFigures:
    """The same figures for the same stream, which take a second."""
    return simulate(stream)


def busiest_part(kind: str) -> float:
    """The largest share of a connector's events that goes to one part of it."""
    return max(part_shares(kind).values())


def load_model() -> Model:
    """The model with what lies beside this file."""
    return Model(
        msgspec.json.decode((FOLDER / "measured.json").read_bytes(), type=Measured),
        msgspec.json.decode((FOLDER / "assumed.json").read_bytes(), type=dict[str, Assumption]),
    )
