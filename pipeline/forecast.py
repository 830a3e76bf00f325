"""Telling what a run over files would do: `currents run --dry_run` and `currents check --input`."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.exits import UsageError
from runtime.connectors import Config
from runtime.files import NoSuchInput, expand_patterns
from runtime.forecast import Forecast, make_forecast


def forecast_of(config: Config, patterns: Sequence[str], max_event_bytes: int) -> Forecast:
    """Read and route the events of all files that the patterns match.

    Raises:
        UsageError: a pattern matches nothing that can be read.
    """
    try:
        ranges = expand_patterns(patterns)
    except NoSuchInput as error:
        raise UsageError(str(error)) from None
    return make_forecast(config, ranges, max_event_bytes, time.time())


def forecast_lines(forecast: Forecast) -> Iterator[str]:
    """How many events go where, how many stay here, and what their age means, for people."""
    tally = forecast.tally
    yield f"{tally.received} messages, of which {tally.invalid.total()} are no events"
    yield from _rows(tally.invalid)
    for connector, counts in sorted(tally.connectors.items()):
        yield f"{connector}: {forecast.to_send[connector]} of {counts.offered} would be sent"
        yield from _rows(counts.filtered)
        yield from _rows(_of(connector, forecast.unpackable))
        yield from _rows(_of(connector, forecast.too_old))
    for problem in forecast.unread:
        yield f"not read to its end: {problem}"


def forecast_as_json(forecast: Forecast) -> dict[str, Any]:
    """The same for programs."""
    tally = forecast.tally
    return {
        "received": tally.received,
        "invalid": dict(tally.invalid),
        "connectors": {
            connector: {
                "offered": counts.offered,
                "to_send": forecast.to_send[connector],
                "filtered": dict(counts.filtered),
                "unpackable": dict(_of(connector, forecast.unpackable)),
                "too_old": dict(_of(connector, forecast.too_old)),
            }
            for connector, counts in sorted(tally.connectors.items())
        },
        "unread": forecast.unread,
    }


def _of(connector: str, counts: Counter[tuple[str, str]]) -> Counter[str]:
    return Counter({why: count for (name, why), count in counts.items() if name == connector})


def _rows(counts: Counter[str]) -> Iterator[str]:
    for why, count in sorted(counts.items()):
        yield f"{count:>9}  {why}"
