"""The report of a run, made from the ledger and the connectors."""

import datetime
from collections.abc import Set

from runtime.connectors import Config, ConnectorEntry
from runtime.ledger import ConnectorTally, Tally
from schemas.report import ConnectorReport, Latency, Report


def make_report(
    tally: Tally, config: Config, throughout: Set[str], started: float, runner: str
) -> Report:
    """The books as they stand.

    Args:
        tally: what was counted.
        config: the connectors as they are now.
        throughout: the connectors that were offered all that was read, for they have been there, for
            all app groups, since the start.
        started: in seconds since the epoch.
        runner: the engine's name.
    """
    names = [*config.connectors, *(tally.connectors.keys() - config.connectors.keys())]
    connectors = {
        name: _connector_report(config.connectors.get(name), tally.of(name)) for name in names
    }
    invalid = tally.invalid.total()
    return Report(
        started=_utc(started),
        finished=_utc(datetime.datetime.now(datetime.timezone.utc).timestamp()),
        runner=runner,
        received=tally.received,
        invalid=invalid,
        connectors=connectors,
        balanced=all(report.balanced for report in connectors.values())
        and all(
            _received_for(name, tally) == invalid + connectors[name].offered for name in throughout
        ),
    )


def _received_for(name: str, tally: Tally) -> int:
    """The messages that were read, without those that were for another connector alone."""
    addressed = {other: counts.addressed for other, counts in tally.connectors.items()}
    return tally.received - sum(addressed.values()) + addressed.get(name, 0)


def _connector_report(entry: ConnectorEntry | None, tally: ConnectorTally) -> ConnectorReport:
    return ConnectorReport(
        kind=entry.settings.kind if entry else "removed",
        state=_state(entry, tally),
        proves_delivery=bool(entry and entry.sink.proves_delivery),
        offered=tally.offered,
        adopted=tally.adopted,
        delivered=tally.delivered,
        filtered=dict(tally.filtered),
        dead=dict(tally.dead),
        held=tally.held,
        requests=tally.requests,
        attempts=tally.attempts,
        bytes=tally.bytes,
        latency_ms=Latency(tally.latency_ms(0.5), tally.latency_ms(0.99)),
    )


def _state(entry: ConnectorEntry | None, tally: ConnectorTally) -> str:
    if entry is None:
        return "removed"
    if not entry.settings.enabled:
        return "disabled"
    if entry.settings.paused:
        return "paused"
    return "holding" if tally.held else "healthy"


def _utc(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
