"""Entering a bundle's counts: into this process's ledger, and into Beam's counters."""

from collections.abc import Iterator

from apache_beam.metrics import Metrics

from runtime import metrics
from runtime.ledger import ConnectorTally, Tally
from runtime.worker import Worker

ENTER_EVERY_SECONDS = 1.0
"""A bounded run is one long bundle: its counts are entered as it goes."""


def enter(worker: Worker, tally: Tally) -> None:
    """Count what a bundle did; called once, when it has done it."""
    worker.ledger.enter(tally)
    _count(metrics.RECEIVED, "", tally.received)
    _count(metrics.INVALID, "", tally.invalid.total())
    connectors = worker.config.current().connectors
    by_kind = len(connectors) > metrics.MAX_CONNECTORS
    for name, counts in tally.connectors.items():
        entry = connectors.get(name)
        label = entry.settings.kind if by_kind and entry else name
        for metric, count in _counts_of(counts):
            _count(metric, label, count)


def _counts_of(counts: ConnectorTally) -> Iterator[tuple[str, int]]:
    yield metrics.OFFERED, counts.offered
    yield metrics.DELIVERED, counts.delivered
    yield metrics.FILTERED, counts.filtered.total()
    yield metrics.DEAD, counts.dead.total()
    yield metrics.HELD, counts.held
    yield metrics.ATTEMPTS, counts.attempts


def _count(metric: str, label: str, count: int) -> None:
    if count:
        name = f"{metric}.{label}" if label else metric
        Metrics.counter(metrics.NAMESPACE, name).inc(count)
