"""What a run over files would send and leave out, found without sending anything."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from runtime.connectors import Config
from runtime.decoding import Decoder
from runtime.files import DamagedInput, FileRange, read_range
from runtime.keeping import Letters
from runtime.ledger import Tally
from runtime.receipts import Receipts
from runtime.routing import Router
from runtime.showing import placeholders
from schemas.batch import Batch
from schemas.event import decode_header
from schemas.lane import Lane
from schemas.pull import Pull


@dataclass
class Forecast:
    """What would become of the events of some files, as far as partners do not decide it."""

    tally: Tally = field(default_factory=Tally)
    """What was received, is invalid, and is offered to and filtered by each connector."""
    to_send: Counter[str] = field(default_factory=Counter)
    """Events by connector."""
    unpackable: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Events by connector and why they would become dead letters when they are packed."""
    too_old: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Those to be sent whose partner says something of their age, by connector and what it says."""
    unread: list[str] = field(default_factory=list)
    """What could not be read, in words."""


def make_forecast(
    config: Config, ranges: Sequence[FileRange], max_event_bytes: int, now_seconds: float
) -> Forecast:
    """Read and route all events of the ranges."""
    forecast = Forecast()
    decoder = Decoder(Router(config), Receipts(), max_event_bytes)
    for pull in _pulls(ranges, forecast):
        for found in decoder.decode(pull):
            if not isinstance(found, Letters):
                _count(forecast, config, found, now_seconds)
    for found in decoder.flush():
        _count(forecast, config, found, now_seconds)
    forecast.tally.add(decoder.take_tally())
    return forecast


def _pulls(ranges: Sequence[FileRange], forecast: Forecast) -> Iterable[Pull]:
    for part in ranges:
        try:
            yield from read_range(part)
        except DamagedInput as error:
            forecast.unread.append(str(error))


def _count(
    forecast: Forecast, config: Config, found: tuple[str, Batch], now_seconds: float
) -> None:
    key, batch = found
    lane = Lane.of(key)
    connector, entry = lane.connector, config.connectors[lane.connector]
    sink = entry.sink
    packed = sink.pack(batch.events, lane.part, placeholders(entry.references))
    for unpackable in packed.unpackable:
        forecast.unpackable[connector, unpackable.reason] += 1
    forecast.to_send[connector] += batch.count - len(packed.unpackable)
    if not sink.age_limits:
        return
    for event in itertools.chain.from_iterable(request.events for request in packed.requests):
        advice = sink.age_advice(now_seconds - decode_header(event).time)
        if advice:
            forecast.too_old[connector, advice] += 1
