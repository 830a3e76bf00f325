"""Telling what a run over files would do: `currents run --dry_run` and `currents check --input`."""

from collections import Counter
from collections.abc import Callable, Iterator

from runtime.forecast import Forecast


def tell_forecast(forecast: Forecast, say: Callable[[str], None]) -> None:
    """Say how many events go where, how many stay here, and what their age means."""
    for line in _lines(forecast):
        say(line)


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
