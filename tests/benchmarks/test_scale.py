"""The page on scaling is what its data give, and its model agrees with itself."""

import itertools
import math
from collections.abc import Sequence

import msgspec
import pytest

from benchmarks.scale_lanes import (
    MEAN_EVENT_BYTES,
    START_SECONDS,
    LaneFigures,
    Stream,
    entry_of,
    part_shares,
    pull_seconds,
    run_lanes,
    simulate,
)
from benchmarks.scale_model import CONCURRENCY, HOUR, Load, Model, kept_back, load_model
from benchmarks.scale_page import PAGE, blocks, filled
from runtime.batching import LARGE_BYTES, RATE_LIMIT
from sinks.avro_files import AvroFilesConnector
from transforms.gather_pulls import SHARDS, TARGET_BYTES, WINDOW_SECONDS

KINDS = ("postback", "segment", "mparticle")
SECRETS = {"env:KEY": "key"}


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model()


def test_the_page_is_what_it_is_made_from(model: Model) -> None:
    page = PAGE.read_text("utf-8")
    assert page == filled(page, blocks(model)), "run: python -m benchmarks.scale --write"


def test_every_block_that_is_made_has_its_place(model: Model) -> None:
    page = PAGE.read_text("utf-8")
    for name in blocks(model):
        assert page.count(f"<!-- scale: {name} -->") == 1


# Lanes


@pytest.mark.parametrize(
    "stream",
    [
        Stream("postback", 300),
        Stream("segment", 300, shards=3),
        Stream("mparticle", 60),
        Stream("mparticle", 800),
        Stream("mparticle", 300, users=20, shards=2),
    ],
)
def test_every_simulated_event_leaves_once_and_in_order(stream: Stream) -> None:
    for ran in run_lanes(stream):
        left = [event for batch in (*ran.run.left, *ran.run.at_the_end) for event in batch.events]
        came = [event for arrival in ran.given for event in arrival.fragment.events]
        assert left == came


def test_the_time_in_a_lane_is_no_longer_than_its_window() -> None:
    found = simulate(Stream("postback", 5))
    assert 4 < found.wait_p50 < 6
    assert found.wait_p99 <= 10.01


@pytest.mark.parametrize("rate", [30, 300, 3_000])
def test_a_partner_gets_no_more_than_its_limit(rate: float) -> None:
    stream = Stream("mparticle", rate)
    limit = entry_of(stream).sink.rate_limit
    assert limit == 270
    for ran in run_lanes(stream):
        sink, seconds, share = entry_of(stream).sink, ran.seconds, limit / 4
        delivered = [batch for batch in ran.run.left if not batch.hold_reason]
        units = [sink.rate_units(batch.events) for batch in delivered]
        # A full bucket at the start, and the debt of the last batch.
        assert sum(units) <= share * (seconds + 1) + max(units, default=0)


def test_what_a_limit_does_not_let_through_is_held_and_no_lane_outgrows_its_state() -> None:
    found = simulate(Stream("mparticle", 1_000))
    assert found.held > 0
    assert found.most_lane_bytes < 1.1 * LARGE_BYTES
    assert simulate(Stream("mparticle", 50)).held == 0


def test_only_what_has_no_token_is_held() -> None:
    for ran in run_lanes(Stream("mparticle", 1_000)):
        assert {batch.hold_reason for batch in ran.run.left} <= {"", RATE_LIMIT}


@pytest.mark.parametrize("kind", KINDS)
def test_requests_keep_their_partners_limits(kind: str) -> None:
    sink = entry_of(Stream(kind, 1)).sink
    found = simulate(Stream(kind, 200))
    assert found.events_per_request <= sink.max_events
    assert found.bytes_per_request <= sink.max_request_bytes


def test_a_sample_of_shards_says_what_all_of_them_say() -> None:
    stream = Stream("segment", 16_000, shards=16)
    sample = simulate(stream)
    assert sample.simulated_share < 1
    sink, lanes = entry_of(stream).sink, run_lanes(stream, shards=16)
    batches = [batch.events for ran in lanes for batch in ran.run.left]
    requests = sum(len(sink.pack(events, "", SECRETS).requests) for events in batches)
    assert sample.requests_per_second == pytest.approx(requests / lanes[0].seconds, rel=0.1)


def test_the_same_seed_gives_the_same_figures() -> None:
    assert _told(simulate(Stream("segment", 100))) == _told(simulate(Stream("segment", 100)))
    assert _told(simulate(Stream("segment", 100), 1)) != _told(simulate(Stream("segment", 100), 2))


def _told(found: LaneFigures) -> Sequence[float]:
    return found.arrived, found.delivered, found.wait_p50, found.mean_state_bytes


def test_events_come_at_the_rate_that_was_asked_for() -> None:
    for stream in (Stream("postback", 20), Stream("postback", 500), Stream("mparticle", 500)):
        found = simulate(stream)
        assert found.arrived / found.seconds == pytest.approx(stream.events_per_second, rel=0.05)


def test_a_pull_is_gathered_for_a_second_or_until_it_is_full() -> None:
    assert pull_seconds(1_000, MEAN_EVENT_BYTES) == WINDOW_SECONDS
    fast = 100_000
    size = fast / SHARDS * MEAN_EVENT_BYTES * pull_seconds(fast, MEAN_EVENT_BYTES)
    assert size == pytest.approx(TARGET_BYTES)


def test_fragments_arrive_in_the_order_of_time() -> None:
    for ran in run_lanes(Stream("mparticle", 100)):
        times = [arrival.at for arrival in ran.given]
        assert times == sorted(times)
        assert times[0] >= START_SECONDS


# The model


def test_twice_the_load_takes_twice_as_much(model: Model) -> None:
    once, twice = (model.demand(Load(rate, 3)) for rate in (40_000, 80_000))
    assert twice.vcpus == pytest.approx(2 * once.vcpus, rel=0.05)
    assert twice.shuffled_bytes == once.shuffled_bytes
    costs = [model.dollars(Load(rate, 3), 1e9).by_data for rate in (40_000, 80_000)]
    assert costs[1] == pytest.approx(costs[0], rel=0.05)


def test_a_copy_more_costs_more_and_no_stage_costs_less_than_nothing(model: Model) -> None:
    demands = [model.demand(Load(1_000, copies)) for copies in (3, 30, 300)]
    for fewer, more in itertools.pairwise(demands):
        assert fewer.vcpus < more.vcpus
        assert fewer.engine_bytes < more.engine_bytes
    assert all(us > 0 for demand in demands for us in demand.us_by_stage.values())


def test_an_event_crosses_a_shuffle_once_and_each_copy_once(model: Model) -> None:
    assert model.routed.bytes_per_event == pytest.approx(MEAN_EVENT_BYTES, rel=0.15)
    assert model.routed.bytes_per_copy == pytest.approx(MEAN_EVENT_BYTES, rel=0.05)


def test_the_line_through_few_copies_holds_for_many(model: Model) -> None:
    many = model.measured.routing[2]
    line = model.routed.us_per_event + many.copies * model.routed.us_per_copy
    assert 0.4 < line / many.cpu_us.median < 2.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [10, 1_000, 10_000, 100_000])
def test_a_connector_has_room_for_its_requests_and_their_cpu(
    model: Model, kind: str, rate: int
) -> None:
    tuned = model.tuned(kind, rate)
    places = min(tuned.shards, tuned.processes)
    assert tuned.requests_in_flight <= tuned.concurrency * places
    busiest = rate * max(part_shares(kind).values()) / tuned.shards
    assert busiest <= model.lane_by_cpu(kind) * model.of("busy_share")
    settings = {"name": "one", "path": "lake", "concurrency": tuned.concurrency}
    assert msgspec.convert({**settings, "shards": tuned.shards}, AvroFilesConnector)


def test_the_default_concurrency_is_that_of_the_settings() -> None:
    assert entry_of(Stream("postback", 1)).settings.concurrency == CONCURRENCY


def test_an_outage_holds_what_came_in_it(model: Model) -> None:
    found = model.outage(1_000, 48 * HOUR)
    assert found.bytes == pytest.approx(162e9, rel=0.005)
    assert found.bytes / found.objects == pytest.approx(LARGE_BYTES)
    slow = model.outage(10, 48 * HOUR)
    assert slow.objects == 48 * 60


def test_a_queue_drains_unless_fresh_events_need_its_share(model: Model) -> None:
    assert model.drain_seconds("postback", 1_000, 48 * HOUR) < 48 * HOUR
    assert math.isfinite(model.drain_seconds("mparticle", 90, 48 * HOUR))
    assert math.isinf(model.drain_seconds("mparticle", 110, 48 * HOUR))


def test_what_is_above_a_limit_is_kept_back() -> None:
    assert kept_back("postback", 1e6) == 0
    assert kept_back("mparticle", 90) == 0
    assert kept_back("mparticle", 1_000) == pytest.approx(1 - 270 / 1_000, abs=0.03)


def test_every_assumption_names_its_source(model: Model) -> None:
    for name, one in model.assumed.items():
        assert one.source, name
        assert one.date, name
        assert one.what, name
