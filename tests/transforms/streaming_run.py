"""The streaming graph inside the test's own process, so that a test can break a step."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.graph import Source, build
from runtime.address import AddressPolicy
from runtime.reporting import make_report
from runtime.subscriber import Subscriber
from runtime.worker import Worker, WorkerSettings, close_worker, worker_of
from sandbox.partners import PartnerSandbox
from tests.pipeline.running import SUBSCRIPTION
from transforms.direct_pubsub import read_through
from transforms.engine import Engine


@dataclass
class StreamingRun:
    worker: Worker
    subscriber: Subscriber
    result: Any

    def end(self) -> None:
        """Stop the source and wait until everything that was read has met its end."""
        self.subscriber.stop()
        self.result.wait_until_finish()


def postbacks(partners: PartnerSandbox) -> list[dict[str, Any]]:
    """A connector to each of some partners, which all take postbacks."""
    return [
        {"name": name, "kind": "postback", "url": partners.url(name), "batch_window": "200 ms"}
        for name in partners.names
    ]


@contextlib.contextmanager
def streaming_run(folder: Path, connectors: list[dict[str, Any]]) -> Iterator[StreamingRun]:
    (folder / "connectors.json").write_text(json.dumps({"connectors": connectors}))
    settings = WorkerSettings(
        connectors=str(folder / "connectors.json"),
        hold=str(folder / "held"),
        dead_letters=str(folder / "dead"),
        address_policy=AddressPolicy(allow_local=True),
    )
    worker = worker_of(settings)
    subscriber = Subscriber(SUBSCRIPTION, worker.receipts)
    try:
        read_through(subscriber)
        pipeline = beam.Pipeline(
            options=PipelineOptions(["--runner=BundleBasedDirectRunner", "--streaming"])
        )
        build(pipeline, Source(Engine.DIRECT, SUBSCRIPTION), settings)
        yield StreamingRun(worker, subscriber, pipeline.run())
    finally:
        subscriber.close()
        close_worker(settings)


def balanced(run: StreamingRun) -> dict[str, Any]:
    """What became of the events of each connector, all of them accounted for."""
    config = run.worker.config.current()
    report = make_report(run.worker.ledger.read(), config, run.worker.config.throughout, 0, "test")
    assert report.balanced, report
    return dict(report.connectors)
