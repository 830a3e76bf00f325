"""The platform's own envelope `{"events":[…]}`, which three partners take unchanged.

Bodies are spliced from the original event bytes, so what leaves is what came (Braze, "Custom
Currents Export": one JSON object with the key `events`).
"""

from collections.abc import Mapping, Sequence

from sinks.packing import Envelope, fill
from sinks.sink import HttpRequest, Packed, Unpackable

EVENTS = Envelope(prefix=b'{"events":[', suffix=b"]}")

HEADERS: Mapping[str, str] = {
    "Content-Type": "application/json",
    # Sent with every request, always 1; there is no X- in front (Braze, "Versioning").
    "Braze-Currents-Version": "1",
}


def pack_events(
    events: Sequence[bytes],
    url: str,
    headers: Mapping[str, str],
    max_bytes: int,
    max_events: int,
) -> Packed:
    """Splice events into as few requests as the limits allow, in order."""
    most = max_bytes - EVENTS.weigh(0, 1)
    fitting: Sequence[bytes] = events
    large: Sequence[bytes] = ()
    if max(map(len, events), default=0) > most:
        fitting = [event for event in events if len(event) <= most]
        large = [event for event in events if len(event) > most]
    runs = fill(map(len, fitting), EVENTS, max_bytes, max_events)
    return Packed(
        [_request(fitting[start:end], url, headers) for start, end in runs],
        [_too_large(event, max_bytes) for event in large],
    )


def empty_request(url: str, headers: Mapping[str, str]) -> HttpRequest:
    """A POST of zero events: a receiver must check the credentials and do nothing else."""
    return _request([], url, headers)


def _request(events: Sequence[bytes], url: str, headers: Mapping[str, str]) -> HttpRequest:
    return HttpRequest("POST", url, headers, EVENTS.wrap(events), events)


def _too_large(event: bytes, max_bytes: int) -> Unpackable:
    size = EVENTS.weigh(len(event), 1)
    detail = f"{size} bytes with its envelope, a request takes {max_bytes}"
    return Unpackable(event, "too_large", detail, size, max_bytes)
