"""The whole pipeline on a Flink cluster: its promises hold there, and when its processes are killed."""

import contextlib
import itertools
import logging
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from google.cloud import pubsub_v1

from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.pubsub import EmbeddedPubSub
from sandbox.samples import sample_events
from tests.flink.cluster import Cluster
from tests.pipeline.running import (
    command,
    dead_letters,
    eventually,
    held_events,
    ids_of,
    interrupt,
    report_of,
    write_connectors,
)

START_SECONDS = 120
WINDOW_SECONDS = 2.0

_logger = logging.getLogger(__name__)
_numbers = itertools.count()


@dataclass
class Stream:
    """A topic of one test's own, and what was published to it."""

    server: EmbeddedPubSub
    topic: str
    subscription: str
    publisher: pubsub_v1.PublisherClient = field(default_factory=pubsub_v1.PublisherClient)
    published: list[bytes] = field(default_factory=list)

    def publish(self, events: list[bytes]) -> None:
        futures = [self.publisher.publish(self.topic, event) for event in events]
        for future in futures:
            future.result(timeout=30)
        self.published += events

    @property
    def outstanding(self) -> int:
        return self.server.outstanding(self.subscription)


@pytest.fixture
def stream(server: EmbeddedPubSub) -> Iterator[Stream]:
    number = next(_numbers)
    made = Stream(
        server,
        f"projects/sandbox/topics/events-{number}",
        f"projects/sandbox/subscriptions/events-{number}",
    )
    made.publisher.create_topic(name=made.topic)
    with pubsub_v1.SubscriberClient() as subscriber:
        subscriber.create_subscription(
            name=made.subscription, topic=made.topic, ack_deadline_seconds=10
        )
    yield made
    made.publisher.stop()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite(), "other": PostbackSite()}) as running:
        write_postbacks(tmp_path, running, WINDOW_SECONDS)
        yield running


def write_postbacks(folder: Path, sandbox: PartnerSandbox, window_seconds: float) -> None:
    window = {"kind": "postback", "batch_window": f"{window_seconds:g} s"}
    names = ("hook", "other")
    write_connectors(folder, [{**window, "name": name, "url": sandbox.url(name)} for name in names])


def start(folder: Path, stream: Stream, *options: str) -> "subprocess.Popen[bytes]":
    arguments = ["--subscription", stream.subscription, "--probe_min", "1", "--probe_max", "2"]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command(folder, *arguments, *options), stdout=log, stderr=log)


def lateness(sandbox: PartnerSandbox, stream: Stream, event: bytes) -> float:
    """How long after the end of its batch window an event arrives on a stream that is idle."""
    before = sandbox.counts("other").accepted
    published = time.monotonic()
    stream.publish([event])
    assert sandbox.wait_for("other", lambda counts: counts.accepted > before, 30)
    return sandbox.requests("other")[-1].at - published - WINDOW_SECONDS


def test_every_event_arrives_on_time_what_fails_is_held_and_the_books_balance(
    cluster: Cluster, stream: Stream, sandbox: PartnerSandbox, tmp_path: Path
) -> None:
    """The engine's worker is the process that we start, so that its report tells of everything."""
    events = list(sample_events(3_010, seed=31))
    options = (*cluster.options, "--environment_type", "LOOPBACK", "--job_name", "books")
    process = start(tmp_path, stream, *options)
    try:
        stream.publish(events[:1])
        for name in ("hook", "other"):
            assert sandbox.wait_for(name, lambda counts: counts.accepted == 1, START_SECONDS)
        late = [lateness(sandbox, stream, event) for event in events[1:10]]
        _logger.info("batch windows ended late by %s ms", [round(one * 1_000) for one in late])
        assert min(late) > -0.01
        assert max(late) < 1.5

        assert sandbox.wait_for("hook", lambda counts: counts.accepted == 10, 30)
        sandbox.set_fault("hook", Fault(status=503))
        stream.publish([*events[10:2_010], b"no event"])
        assert sandbox.wait_for("other", lambda counts: counts.accepted >= 2_010, 30)
        assert eventually(lambda: len(held_events(tmp_path, "hook")) == 2_000)
        stream.publish(events[2_010:])
        assert sandbox.wait_for("other", lambda counts: counts.accepted >= 3_010, 30)
        assert sandbox.counts("hook").accepted == 10
        healed = time.monotonic()
        sandbox.set_fault("hook", None)
        assert sandbox.wait_for("hook", lambda counts: counts.accepted >= 3_010, 90)
        _logger.info(
            "what was held had arrived %.1f s after the partner was back", time.monotonic() - healed
        )
        assert eventually(lambda: stream.outstanding == 0)
        assert interrupt(process) == 0
    finally:
        process.kill()
        process.wait()
        for job in cluster.jobs():
            cluster.cancel(job)
    for name in ("hook", "other"):
        assert sorted(sandbox.accepted_ids(name)) == sorted(ids_of(events))
    report = report_of(tmp_path)
    assert (report["received"], report["invalid"], report["balanced"]) == (3_011, 1, True)
    assert [letter["event"] for letter in dead_letters(tmp_path)] == [b"no event"]


def test_a_job_that_was_cancelled_goes_on_from_its_last_checkpoint(
    cluster: Cluster, stream: Stream, sandbox: PartnerSandbox, tmp_path: Path
) -> None:
    """What waits for its batch window is acknowledged, and is in that checkpoint alone."""
    write_postbacks(tmp_path, sandbox, window_seconds=45)
    options = (*cluster.options, *cluster.worker_options)
    assert start(tmp_path, stream, *options, "--job_name", "first").wait(START_SECONDS) == 0
    job = cluster.job("first")
    stream.publish(list(sample_events(30, seed=33)))
    assert eventually(lambda: stream.outstanding == 0, 40)
    cluster.cancel(job)
    assert [sandbox.counts(name).requests for name in ("hook", "other")] == [0, 0]

    checkpoint = ("--savepoint_path", cluster.last_checkpoint(job))
    assert start(tmp_path, stream, *options, *checkpoint, "--job_name", "second").wait(60) == 0
    job = cluster.job("second")
    try:
        check_nothing_is_lost(stream, sandbox)
    finally:
        cluster.cancel(job)


@contextlib.contextmanager
def feeding(stream: Stream, rate: int, seconds: float) -> Iterator[threading.Thread]:
    """Events come at this rate, for so long, or until we leave."""
    left = threading.Event()
    events = sample_events(int(rate * seconds), seed=32)

    def feed() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not left.wait(0.1):
            stream.publish(list(itertools.islice(events, rate // 10)))

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        left.set()
        thread.join()


@pytest.mark.parametrize(("killed", "times"), [("taskmanager", 1), ("worker", 3)])
def test_kill_9_recovers_from_the_checkpoint_and_loses_nothing(
    killed: str,
    times: int,
    cluster: Cluster,
    stream: Stream,
    sandbox: PartnerSandbox,
    tmp_path: Path,
) -> None:
    name = f"kill-{killed}"
    options = (*cluster.options, *cluster.worker_options, "--job_name", name)
    assert start(tmp_path, stream, *options).wait(START_SECONDS) == 0
    job = cluster.job(name)
    try:
        feed_and_kill(cluster, job, stream, sandbox, tmp_path, [killed] * times)
        check_nothing_is_lost(stream, sandbox)
    finally:
        cluster.cancel(job)


def test_a_worker_that_outlives_its_taskmanager_loses_nothing(
    cluster: Cluster, stream: Stream, sandbox: PartnerSandbox, tmp_path: Path
) -> None:
    """It has taken messages then of which the checkpoint knows nothing, and must not vouch for them."""
    options = (*cluster.options, "--environment_type", "LOOPBACK", "--job_name", "outlives")
    process = start(tmp_path, stream, *options)
    try:
        job = cluster.job("outlives")
        feed_and_kill(cluster, job, stream, sandbox, tmp_path, ["taskmanager"] * 2)
        check_nothing_is_lost(stream, sandbox)
    finally:
        process.kill()
        process.wait()
        cluster.cancel(job)


def feed_and_kill(
    cluster: Cluster,
    job: str,
    stream: Stream,
    sandbox: PartnerSandbox,
    folder: Path,
    killed: Sequence[str],
) -> None:
    """One of the partners is down meanwhile: what is held is part of what must not be lost."""
    with feeding(stream, rate=300, seconds=25 * len(killed) + 10) as feeder:
        assert sandbox.wait_for("hook", lambda counts: counts.accepted > 500, START_SECONDS)
        sandbox.set_fault("hook", Fault(status=503))
        assert eventually(lambda: len(held_events(folder, "hook")) > 0)
        for what in killed:
            kill(cluster, what, job)
            at = sandbox.counts("other").accepted
            assert sandbox.wait_for("other", lambda counts, at=at: counts.accepted > at + 500, 60)
        sandbox.set_fault("hook", None)
        feeder.join()


def check_nothing_is_lost(stream: Stream, sandbox: PartnerSandbox) -> None:
    assert eventually(lambda: stream.outstanding == 0, 90)
    expected = set(ids_of(stream.published))
    for site in ("hook", "other"):
        accepted = ids_at(sandbox, site, expected)
        _logger.info(
            "%s got %d of %d events, and %d again",
            *(site, len(set(accepted)), len(expected), len(accepted) - len(set(accepted))),
        )
        assert set(accepted) == expected


def ids_at(sandbox: PartnerSandbox, site: str, expected: set[str]) -> list[str]:
    """What a site has accepted, once it has all that is expected or nothing new comes."""
    eventually(lambda: set(sandbox.accepted_ids(site)) >= expected, 90)
    return sandbox.accepted_ids(site)


def kill(cluster: Cluster, what: str, job: str) -> None:
    """Kill it once a checkpoint is complete, and wait until the job has gone on from one."""
    done = cluster.completed(job)
    assert eventually(lambda: cluster.completed(job) > done, 30)
    before = cluster.restored_at(job)
    if what == "worker":
        cluster.kill_worker()
    else:
        cluster.kill(what)
        cluster.start(what)
    killed = time.monotonic()
    assert eventually(lambda: cluster.restored_at(job) > before and cluster.is_running(job), 90)
    _logger.info("%s: runs again %.1f s after the kill", what, time.monotonic() - killed)
