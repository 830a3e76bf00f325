"""The tables of docs/scaling.md, as Markdown: each a block between two marks of that page."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Spread
from benchmarks.scale_lanes import MEAN_EVENT_BYTES, TIMERS, Stream, entry_of
from benchmarks.scale_model import (
    CONCURRENCY,
    DAY,
    HOUR,
    KINDS,
    UNLIMITED,
    Load,
    Model,
    Routing,
    busiest_part,
    kept_back,
    needed_of_limit,
    simulated,
    unlimited,
)
from transforms.gather_pulls import SHARDS, TARGET_BYTES

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
RATES = (1_000, 100_000)
COPIES = (3, 30, 300)
BILLION = 1e9
LANE_RATES = (1, 10, 100, 1_000, 10_000, 100_000)
ANSWERS = (0.05, 0.2, 1.0)
OUTAGE_SECONDS = 48 * HOUR
_NAMES = {"postback": "postback", "segment": "Segment", "mparticle": "mParticle"}


def blocks(model: Model) -> dict[str, str]:
    """The text of each block by its name."""
    made = {
        "loads": _loads(model),
        "dollars": _dollars(model),
        "stages": _stages(model),
        "connectors": _connectors(model),
        "jobs": _jobs(model),
        "shards": _shards(model),
        "tuning": _tuning(model),
        "outages": _outages(model),
        "breaks": _breaks(model),
        "measured": _measured(model),
        "assumed": _assumed(model),
    }
    return {name: "\n".join(lines) for name, lines in made.items()}


_BLOCK = re.compile(r"(<!-- scale: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str, made: Mapping[str, str]) -> str:
    """The page with each block as it was made; raises KeyError where one is of no known name."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n\n{found[3]}", page)


# Loads


def _loads(model: Model) -> Iterator[str]:
    heads = ["events/s", "copies", "CPU µs an event", "vCPUs", "shuffled", "requests/s"]
    rows = []
    for rate in RATES:
        for copies in COPIES:
            load = Load(rate, copies)
            demand = model.demand(load)
            a_day = model.dollars(load, rate * DAY)
            rows.append(
                [
                    *(f"{rate:,}", str(copies), _figure(demand.us_per_event)),
                    _whole(demand.vcpus),
                    _bytes(rate * demand.shuffled_bytes) + "/s",
                    _figure(demand.requests_per_second),
                    _bytes(demand.state_bytes),
                    f"${_figure(a_day.by_units)} to {_figure(a_day.by_data)}",
                ]
            )
    return _table([*heads, "in lanes", "a day"], rows)


def _dollars(model: Model) -> Iterator[str]:
    costs = [model.dollars(Load(RATES[0], copies), BILLION) for copies in COPIES]
    rows = [
        [name, *("$" + _figure(one) for one in found)]
        for name, found in zip(_PARTS, zip(*costs, strict=True), strict=True)
    ]
    rows.append(["**all, at least once**", *(f"**${_figure(cost.by_units)}**" for cost in costs)])
    rows.append(["**all, exactly once**", *(f"**${_figure(cost.by_data)}**" for cost in costs)])
    return _table(["a billion events", *(f"{copies} copies" for copies in COPIES)], rows)


_PARTS = (
    *("vCPUs", "memory", "Streaming Engine by compute units, if at least once"),
    *("Streaming Engine by data, if exactly once", "Pub/Sub", "traffic to partners"),
)


def _stages(model: Model) -> Iterator[str]:
    demands = [model.demand(Load(RATES[0], copies)) for copies in COPIES]
    rows = [
        [stage, *(_figure(demand.us_by_stage[stage]) for demand in demands)]
        for stage in demands[0].us_by_stage
    ]
    rows.append(["**all**", *(f"**{_figure(demand.us_per_event)}**" for demand in demands)])
    yield from _table(["CPU µs an event", *(f"{copies} copies" for copies in COPIES)], rows)
    third = model.measured.routing[2]
    line = model.routed.us_per_event + third.copies * model.routed.us_per_copy
    yield ""
    yield f"Routing is a straight line through {model.measured.routing[0].copies} and"
    yield f"{model.measured.routing[1].copies} copies; at {third.copies} it says {_figure(line)} µs, and"
    yield f"{_spread(third.cpu_us)} were measured."


# Connectors


def _connectors(model: Model) -> Iterator[str]:
    heads = ["", "events/s", "shards", "events a request", "requests/s", "needs of the limit"]
    rows = []
    for kind in KINDS:
        for rate in LANE_RATES:
            stream = _stream(model, kind, rate, max(RATES[0], rate))
            found = simulated(stream)
            needed = needed_of_limit(kind, found, rate)
            rows.append(
                [
                    *(_NAMES[kind], f"{rate:,}", str(stream.shards)),
                    _figure(found.events_per_request),
                    _figure(found.requests_per_second),
                    "no limit" if needed is None else f"{_figure(100 * needed)}%",
                    f"{_figure(100 * kept_back(kind, rate))}%",
                    f"{found.wait_p50:.2f} / {found.wait_p99:.2f} s",
                    _bytes(found.most_lane_bytes),
                ]
            )
    yield from _table([*heads, "kept back", "wait p50 / p99", "most in a lane"], rows)
    yield ""
    yield from _limited()


def _stream(model: Model, kind: str, rate: float, job_rate: float) -> Stream:
    """A connector with as many shards as it needs, and a limit that it does not meet."""
    limit = None if kind == "postback" else UNLIMITED
    shards = model.tuned(kind, rate).shards
    return Stream(kind, rate, shards=shards, rate_limit=limit, job_events_per_second=job_rate)


def _limited() -> Iterator[str]:
    """What the real batcher does with a limit that is too low."""
    found = simulated(Stream("mparticle", 1_000))
    yield "Simulated with the default limit, an mParticle connector of 1,000 events/s delivers"
    yield f"{_figure(found.units_per_second)} user batches/s in its first {found.seconds:g} s, for buckets are"
    yield f"full at the start, and {found.held / found.arrived:.0%} of its events have gone to the hold by"
    yield f"then; no lane has more than {_bytes(found.most_lane_bytes)}."


# Jobs


class _Job(NamedTuple):
    """A job whose tenants have a connector of each kind."""

    name: str
    events_per_second: float
    tenants: int
    shares: Sequence[float]
    """Of the events, by tenant."""


def _jobs(model: Model) -> Iterator[str]:
    heads = ["events/s", "connectors", "shares", "lanes", "requests/s", "events a request"]
    rows = [_job_row(model, job) for job in _all_jobs()]
    return _table([*heads, "p99 in a lane", "state", "timers set", "fired/s"], rows)


def _all_jobs() -> Iterator[_Job]:
    for rate, tenants in ((RATES[0], 10), (RATES[0], 100), (RATES[1], 100)):
        yield _Job("even", rate, tenants, [1 / tenants] * tenants)
        zipf = [1 / rank for rank in range(1, tenants + 1)]
        yield _Job("Zipf", rate, tenants, [one / sum(zipf) for one in zipf])
        others = [0.1 / (tenants - 1)] * (tenants - 1)
        yield _Job("one has 90 %", rate, tenants, [0.9, *others])


def _job_row(model: Model, job: _Job) -> list[str]:
    """Tenants of like shares are simulated once."""
    found = [
        (
            many,
            simulated(_stream(model, kind, job.events_per_second * share, job.events_per_second)),
        )
        for share, many in _strata(job.shares)
        for kind in KINDS
    ]
    requests = sum(many * one.requests_per_second for many, one in found)
    lanes = sum(many * one.lanes for many, one in found)
    delivered = sum(many * one.delivered_per_second for many, one in found)
    return [
        *(f"{job.events_per_second:,}", str(job.tenants * len(KINDS)), job.name),
        _whole(lanes),
        _figure(requests),
        _figure(delivered / requests),
        _figure(max(one.wait_p99 for _, one in found)) + " s",
        _bytes(sum(many * one.mean_state_bytes for many, one in found)),
        _whole(TIMERS * lanes),
        _figure(sum(many * one.timers_per_second for many, one in found)),
    ]


def _strata(shares: Sequence[float]) -> Iterator[tuple[float, int]]:
    """Mean shares of runs of like ones, each at least half of the first of its run, and how many."""
    run: list[float] = []
    for share in shares:
        if run and share < run[0] / 2:
            yield sum(run) / len(run), len(run)
            run = []
        run.append(share)
    yield sum(run) / len(run), len(run)


# One lane


def _shards(model: Model) -> Iterator[str]:
    heads = ["", "CPU µs a copy", "by CPU"]
    heads += [f"answers in {seconds:g} s" for seconds in ANSWERS]
    rows = [
        [
            *(_NAMES[kind], _figure(model.lane_us(kind)), _figure(model.lane_by_cpu(kind))),
            *(_figure(model.lane_by_answers(kind, seconds)) for seconds in ANSWERS),
        ]
        for kind in KINDS
    ]
    return _table(heads, rows)


def _tuning(model: Model) -> Iterator[str]:
    heads = ["", "events/s", "requests on their way", "`concurrency`", "`shards`", "vCPUs at least"]
    rows = []
    for kind in KINDS:
        for rate in LANE_RATES[3:]:
            tuned = model.tuned(kind, rate)
            rows.append(
                [
                    *(_NAMES[kind], f"{rate:,}", _figure(tuned.requests_in_flight)),
                    *(str(tuned.concurrency), str(tuned.shards), str(tuned.processes)),
                ]
            )
    return _table(heads, rows)


def _outages(model: Model) -> Iterator[str]:
    heads = ["a connector of", "held in 48 h", "objects", "stored for", "drained: postback"]
    rows = []
    for rate in (10, 100, 1_000, 10_000):
        outage = model.outage(rate, OUTAGE_SECONDS)
        rows.append(
            [
                *(f"{rate:,} events/s", _bytes(outage.bytes), _whole(outage.objects)),
                "$" + _figure(outage.dollars),
                *(_duration(model.drain_seconds(kind, rate, OUTAGE_SECONDS)) for kind in KINDS),
            ]
        )
    return _table([*heads, "Segment", "mParticle"], rows)


# Where it breaks


class _Break(NamedTuple):
    """A limit: what it is, the load at which it is reached, what happens then, what to do."""

    what: str
    at: str
    then: str
    remedy: str


def _breaks(model: Model) -> Iterator[str]:
    rows = [*_partner_breaks(model), *_engine_breaks(model), *_hold_breaks(model)]
    return _table(["what", "breaks at", "then", "what to do"], rows)


def _partner_breaks(model: Model) -> Iterator[_Break]:
    sink = entry_of(Stream("mparticle", 1)).sink
    units = unlimited("mparticle", 1_000).events_per_unit
    limit, parts, busiest = sink.rate_limit or 0, sink.rate_parts, busiest_part("mparticle")
    a_feed = limit / parts * units
    yield _Break(
        f"mParticle: {limit:,.0f} user batches/s, in {parts} equal parts for {parts} feeds",
        f"{_figure(a_feed / busiest)} events/s of a connector ({busiest:.0%} in one feed); "
        f"{_figure(limit * units)} with one feed",
        "lanes fill to 8 MB, then the rest is held as `rate_limit`: at 1,000 events/s the hold "
        f"grows by {_bytes(model.held_bytes_a_day(1_000))} a day, and nothing of it expires",
        "ask mParticle for a higher limit and set `rate_limit`: "
        f"{_figure(1_000 * busiest * parts / units)} for 1,000 events/s. Name no feeds that get nothing; shards divide it further",
    )
    yield _Break(
        f"Segment: {model.of('segment_events_per_second'):,.0f} events/s of a workspace",
        f"{model.of('segment_events_per_second'):,.0f} events/s",
        "Segment may queue; it answers 200",
        "ask Segment. `rate_limit` counts requests, at "
        f"{_figure(unlimited('segment', 1_000).events_per_request)} events each: it never holds here",
    )


def _engine_breaks(model: Model) -> Iterator[_Break]:
    lanes = ", ".join(
        f"{_NAMES[kind]} {_figure(model.lane_events_per_second(kind))}" for kind in KINDS
    )
    yield _Break(
        f"a lane is one key: one thread, {CONCURRENCY} requests at a time",
        f"{lanes} events/s",
        "its backlog and its state grow; others are not touched",
        "`concurrency` first, then `shards`: see below",
    )
    engine = [f"{_figure(_engine_rate(model, copies))} events/s at {copies}" for copies in COPIES]
    yield _Break(
        f"Streaming Engine: {model.of('engine_gb_per_minute'):g} GB a minute (quota)",
        ", ".join(engine) + " copies",
        "the job is throttled",
        "raise the quota; a job for each group of tenants, in other regions",
    )
    gathers = [
        f"{_figure(model.gather_events_per_second(copies))} events/s at {copies}"
        for copies in COPIES
    ]
    yield _Break(
        f"GatherPulls: {SHARDS} keys, which decode and route too",
        ", ".join(gathers) + " copies",
        "the subscription's backlog grows though workers are idle",
        "`SHARDS` in `transforms/gather_pulls.py`; a job for each group of tenants",
    )
    most = model.of("commit_mb") * 1e6 / TARGET_BYTES
    full = SHARDS * TARGET_BYTES / MEAN_EVENT_BYTES
    yield _Break(
        f"a pull of {TARGET_BYTES / 1e6:g} MB is committed with all copies of it at once",
        f"{most:,.0f} copies an event, from {_figure(full)} events/s on, where pulls are full",
        "the service refuses it and divides what came in, which a pull in state may not be: the job "
        "may stand still; not tried",
        "fewer connectors that take every event in one job",
    )
    yield _Break(
        "memory of a process",
        f"{_figure(model.process_mb() / 1e3)} GB if all of its "
        f"{model.of('bundles_a_process'):g} bundles are full at the same time",
        "a worker of less memory restarts; work is done again",
        f"{model.of('memory_gib_per_vcpu'):g} GiB a vCPU",
    )


def _engine_rate(model: Model, copies: int) -> float:
    a_second = model.of("engine_gb_per_minute") * 1e9 / 60
    return a_second / model.demand(Load(RATES[0], copies)).engine_bytes


def _hold_breaks(model: Model) -> Iterator[_Break]:
    most = model.of("bucket_reads_per_second") / model.listings_per_second(1)
    yield _Break(
        "markers of the hold: 2 lists a process each 3 s",
        f"{_whole(most)} processes ({model.of('bucket_reads_per_second'):,.0f} reads/s of a bucket)",
        "suspensions are seen late",
        f"it costs ${_figure(model.listing_dollars_a_month(1))} a month and process: "
        f"${_figure(model.listing_dollars_a_month(100))} at 100",
    )
    yield _Break(
        "status of a lane that has something held, written every 10 s",
        f"{model.of('bucket_writes_per_second') * 10:,.0f} lanes "
        f"({model.of('bucket_writes_per_second'):,.0f} writes/s of a bucket)",
        "`currents status` is late",
        f"300 lanes cost ${_figure(model.status_dollars_a_day(300))} a day",
    )
    quota = model.of("secret_accesses_per_minute")
    references = 1_000
    steady = quota / model.secret_accesses_per_minute(references, 1)
    yield _Break(
        f"Secret Manager: {quota:,.0f} accesses a minute; each process reads a secret once an hour",
        f"{references:,} secrets: {_whole(steady)} processes, or "
        f"{_whole(quota / references)} that start in the same minute",
        "what cannot be read is held, and read again after 30 s",
        "more workers step by step; a project for each job",
    )


# What it is made from


def _measured(model: Model) -> Iterator[str]:
    measured = model.measured
    machine = ", ".join(f"{name} {value}" for name, value in measured.machine.items())
    yield f"Measured on {measured.date} ({machine}); median and range."
    yield ""
    rows = [
        *(
            [f"BatchByLane, a copy: {_NAMES[kind]}", f"{_spread(found)} µs"]
            for kind, found in measured.batch_us.items()
        ),
        *(
            [f"packing, a copy: {_NAMES[kind]}", f"{_spread(found)} µs"]
            for kind, found in measured.pack_us.items()
        ),
        *(
            [f"sending, a request: {_NAMES[kind]}", f"{_spread(found)} µs"]
            for kind, found in measured.send_us.items()
        ),
        ["Beam, threads, books: a copy", f"{_spread(measured.rest_us)} µs"],
        *(
            [
                f"routing, {case.connectors:,} connectors, {case.copies} copies: an event",
                _routing(case),
            ]
            for case in measured.routing
        ),
        ["peak memory of a process", f"{_spread(measured.peak_mb)} MB"],
        ["release from the hold, a lane", f"{_spread(measured.released_per_second)} events/s"],
    ]
    yield from _table(["what", "measured"], rows)
    yield ""
    yield "By: " + "; ".join(f"{what}: `{how}`" for what, how in measured.commands.items()) + "."


def _routing(case: Routing) -> str:
    return f"{_spread(case.cpu_us)} µs, {_spread(case.bytes)} B, {_spread(case.elements)} elements"


def _assumed(model: Model) -> Iterator[str]:
    rows = [
        [one.what, f"{one.value:g} {one.unit}", one.source, one.date]
        for one in model.assumed.values()
    ]
    return _table(["what", "taken as", "from", "of"], rows)


# Text


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _spread(found: Spread) -> str:
    median, low, high = map(_figure, (found.median, found.low, found.high))
    return median if low == high else f"{median} ({low} to {high})"


def _figure(value: float) -> str:
    """Three digits, which is more than anything here is known to."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(0, min(digits, 2))}f}"


def _whole(value: float) -> str:
    """What there is no part of: rounded up."""
    return f"{math.ceil(value):,}"


def _bytes(size: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if size >= unit:
            return f"{_figure(size / unit)} {name}"
    return f"{_figure(size)} B"


def _duration(seconds: float) -> str:
    if math.isinf(seconds):
        return "never"
    for unit, name in ((DAY, "d"), (HOUR, "h"), (60, "min")):
        if seconds >= unit:
            return f"{_figure(seconds / unit)} {name}"
    return f"{_figure(seconds)} s"
