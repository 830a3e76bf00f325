"""Telling what a run over files would do: `currents run --dry_run` and `currents check --input`."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from runtime.connectors import Config
from runtime.files import FileRange
from runtime.forecast import Forecast, make_forecast


def tell_forecast(
    config: Config, ranges: Sequence[FileRange], max_event_bytes: int, say: Callable[[str], None]
) -> bool:
    """Say how many events go where, how many stay here, and what their age means.

    Returns whether all could be read.
    """
    forecast = make_forecast(config, ranges, max_event_bytes, time.time())
    for line in _lines(forecast):
        say(line)
    return not forecast.unread


def _lines(forecast: Forecast) -> Iterator[str]:
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


def _of(connector: str, counts: Counter[tuple[str, str]]) -> Counter[str]:
    return Counter({why: count for (name, why), count in counts.items() if name == connector})


def _rows(counts: Counter[str]) -> Iterator[str]:
    for why, count in sorted(counts.items()):
        yield f"{count:>9}  {why}"
