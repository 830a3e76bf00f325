"""Our unbounded read on an engine with bundle finalizers, in this process: Beam's FnApiRunner."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from google.cloud import pubsub_v1

from runtime.pull_leases import close_leases, stop_reading
from runtime.worker import WorkerSettings, close_worker, worker_of
from sandbox.pubsub import EmbeddedPubSub
from sandbox.samples import sample_events
from schemas.batch import decode_batch
from schemas.pull import decode_pull
from tests.pipeline.running import SUBSCRIPTION, eventually, publish, write_connectors
from transforms.decode_and_route import FRAGMENTS, DecodeAndRoute
from transforms.engine import Engine
from transforms.pull_from_pubsub import _ENDED, PullFromPubSub, _EndlessTracker
from transforms.read_events import ReadEvents

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")


@dataclass
class Seen:
    """What came out of the read, in this process."""

    messages: list[bytes] = field(default_factory=list)
    poison: bytes | None = None


SEEN = Seen()


@pytest.fixture(autouse=True)
def seen() -> Iterator[Seen]:
    SEEN.messages, SEEN.poison = [], None
    yield SEEN
    stop_reading()
    close_leases()


def note(pull: bytes) -> None:
    found = decode_pull(pull)
    if SEEN.poison in found.messages:
        raise ValueError("broken on purpose")
    assert found.receipt == 0
    SEEN.messages += found.messages


class Running:
    """A pipeline on a thread of its own, for it ends only when its source does."""

    def __init__(self, pipeline: beam.Pipeline) -> None:
        self.error: Exception | None = None
        self._pipeline = pipeline
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._pipeline.run().wait_until_finish()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def join(self, seconds: float = 30) -> bool:
        """Whether it has ended in time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()


def new_pipeline() -> beam.Pipeline:
    return beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner", "--streaming"]))


def reading() -> Running:
    pipeline = new_pipeline()
    _ = pipeline | PullFromPubSub(SUBSCRIPTION) | beam.Map(note)
    return Running(pipeline)


def test_every_message_comes_out_once_and_is_acknowledged(
    pubsub: EmbeddedPubSub, publisher: pubsub_v1.PublisherClient, seen: Seen
) -> None:
    messages = [b"%d" % number for number in range(2_500)]
    publish(publisher, messages[:1_500])
    running = reading()
    assert eventually(lambda: len(seen.messages) >= 1_500)
    publish(publisher, messages[1_500:])
    assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 2_500)
    assert sorted(seen.messages) == sorted(messages)
    assert eventually(stop_reading)
    assert running.join()
    assert running.error is None


def test_what_a_failed_bundle_had_pulled_is_there_again_at_once(
    pubsub: EmbeddedPubSub, publisher: pubsub_v1.PublisherClient, seen: Seen
) -> None:
    """The subscription's own deadline of ten seconds would give it back too, but later."""
    seen.poison = b"3"
    publish(publisher, [b"%d" % number for number in range(5)])
    running = reading()
    assert running.join()
    assert "broken on purpose" in str(running.error)
    assert pubsub.acknowledged(SUBSCRIPTION) == 0
    with pubsub_v1.SubscriberClient() as client:

        def waiting() -> int:
            request = {"subscription": SUBSCRIPTION, "max_messages": 9, "return_immediately": True}
            return len(client.pull(request=request).received_messages)

        assert eventually(lambda: waiting() == 5, 5)


def test_an_endless_restriction_is_split_into_now_and_later() -> None:
    tracker = _EndlessTracker(7)
    assert tracker.try_claim(0)
    assert tracker.try_split(0) == (_ENDED, 8)
    assert (tracker.current_restriction(), tracker.try_claim(1)) == (_ENDED, False)
    assert tracker.try_split(0) is None
    assert _EndlessTracker(8).try_claim(0)


def note_fragment(fragment: tuple[str, bytes]) -> None:
    batch = decode_batch(fragment[1])
    assert not batch.tokens
    SEEN.messages += batch.events


def test_what_is_read_so_is_routed_without_receipts(
    pubsub: EmbeddedPubSub, publisher: pubsub_v1.PublisherClient, seen: Seen, tmp_path: Path
) -> None:
    """The engine acknowledges; receipts that nobody settles would make lanes hurry."""
    hook = {"name": "hook", "kind": "postback", "url": "https://hooks.example.com"}
    settings = WorkerSettings(
        connectors=str(write_connectors(tmp_path, [hook])),
        hold=str(tmp_path / "held"),
        dead_letters=str(tmp_path / "dead"),
    )
    events = list(sample_events(300, seed=21))
    publish(publisher, events)
    try:
        pipeline = new_pipeline()
        pulls = pipeline | ReadEvents(settings, Engine.PORTABLE, SUBSCRIPTION, ())
        _ = (pulls | DecodeAndRoute(settings, Engine.PORTABLE))[FRAGMENTS] | beam.Map(note_fragment)
        running = Running(pipeline)
        assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 300)
        assert eventually(stop_reading)
        assert running.join()
        assert worker_of(settings).receipts.outstanding == 0
    finally:
        close_worker(settings)
    assert running.error is None
    assert sorted(seen.messages) == sorted(events)
