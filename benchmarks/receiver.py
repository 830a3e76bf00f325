"""The receiver: partners that judge as fast as they can, in a process of their own.

    .venv/bin/python -m benchmarks.receiver

It prints its address as JSON and serves until its standard input ends. An address is
`/KIND/NAME/...`: any name is a partner of that kind. `GET /counts` tells what each has got,
`GET /totals` the same without percentiles, `GET /arrivals` when each timed event was published and how
long it took.

Every request is judged before it is answered: headers and credentials, the partner's limits, valid
JSON in the partner's own envelope, and of each event its id and what else the partner requires. What
is not so is answered 400 and counted as refused. The check is one typed decode by msgspec, some 1 to
2 µs an event, and runs on the processor that the program under test does not use. It is the short
form of the strict stand-ins in `sandbox.partners`, which look at every field.

An id `at-<nanoseconds of the monotonic clock>-<number>` says when its event was published: from such
ids the receiver has the time from publishing to arrival.
"""

import asyncio
import contextlib
import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPConnection
from typing import Annotated, Any, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from benchmarks.partners import HEADERS
from benchmarks.processes import cpu_seconds_of, serve_module

POLL_SECONDS = 0.02


class Counts(msgspec.Struct):
    """What one partner has got; times are of the monotonic clock, latencies in seconds."""

    requests: int = 0
    events: int = 0
    bytes: int = 0
    ids: int = 0
    """The sum of the checksums of all ids: see `benchmarks.events.sum_of_ids`."""
    refused: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    timed: int = 0
    """Events whose ids say when they were published."""
    p50_seconds: float = 0.0
    p99_seconds: float = 0.0


class Arrival(NamedTuple):
    """An event that says when it was published, on the monotonic clock; both in seconds."""

    published_at: float
    latency: float


ShapeT = TypeVar("ShapeT")


class Receiver:
    """A running receiver, as its clients see it."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self._pid = pid
        address = urlsplit(url)
        self._connection = HTTPConnection(str(address.hostname), address.port or 80)

    def counts(self) -> dict[str, Counts]:
        """What each partner has got so far, by name."""
        return self._get("/counts", dict[str, Counts])

    def totals(self) -> dict[str, Counts]:
        """The same without percentiles, which cost the receiver a moment."""
        return self._get("/totals", dict[str, Counts])

    def arrivals(self) -> dict[str, list[Arrival]]:
        """The timed events of each partner, in the order of their arrival."""
        return self._get("/arrivals", dict[str, list[Arrival]])

    def _get(self, path: str, shape: type[ShapeT]) -> ShapeT:
        self._connection.request("GET", path)
        body = self._connection.getresponse().read()
        return msgspec.json.decode(body, type=shape)

    def cpu_seconds(self) -> float:
        """What the receiver itself has taken so far."""
        return cpu_seconds_of(self._pid)

    def wait_for(
        self, holds: Callable[[Mapping[str, Counts]], bool], timeout_seconds: float
    ) -> bool:
        """Whether a condition on the totals came true in time."""
        until = time.monotonic() + timeout_seconds
        while not holds(self.totals()):
            if time.monotonic() > until:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that has got nothing yet."""
    with serve_module("benchmarks.receiver") as said:
        receiver = Receiver(said["url"], said["pid"])
        try:
            yield receiver
        finally:
            receiver.close()


# What partners require


class Refused(Exception):
    """A request that a partner does not take."""


Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Object(msgspec.Struct):
    """Any JSON object; its fields are parsed, and not kept."""


class _Event(msgspec.Struct, gc=False):
    event_type: Text
    id: Text
    time: int
    user: _Object
    properties: _Object


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    events: Annotated[list[_Event], msgspec.Meta(max_length=100)]


class _Context(msgspec.Struct, gc=False):
    device: _Object
    traits: _Object


class _Track(msgspec.Struct, gc=False, rename="camel"):
    type: Literal["track"]
    event: Text
    message_id: Annotated[str, msgspec.Meta(min_length=1, max_length=99)]
    timestamp: Annotated[str, msgspec.Meta(min_length=20)]
    user_id: Text
    context: _Context
    properties: _Object


class _Tracks(msgspec.Struct, forbid_unknown_fields=True):
    batch: Annotated[list[_Track], msgspec.Meta(max_length=2_500)]


class _Items(msgspec.Struct):
    batch: list[msgspec.Raw]


class _Data(msgspec.Struct, gc=False):
    source_message_id: Text
    timestamp_unixtime_ms: Annotated[int, msgspec.Meta(ge=10**12, lt=10**13)]
    custom_attributes: _Object


class _Of(msgspec.Struct, gc=False):
    event_type: Literal["custom_event", "uninstall"]
    data: _Data


class _Identities(msgspec.Struct, gc=False):
    customerid: Text


class _UserBatch(msgspec.Struct, gc=False):
    environment: Literal["production"]
    user_identities: _Identities
    events: list[_Of]
    source_request_id: Text
    user_attributes: _Object
    device_info: _Object


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_tracks = msgspec.json.Decoder(_Tracks).decode
_decode_items = msgspec.json.Decoder(_Items).decode
_decode_batches = msgspec.json.Decoder(
    Annotated[list[_UserBatch], msgspec.Meta(max_length=100)]
).decode
_decode_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode


def postback_ids(body: bytes) -> list[str]:
    """The ids of a postback's events: at most 100 in 900 KB."""
    _require_size(body, 900_000)
    return [event.id for event in _decode_envelope(body).events]


def segment_ids(body: bytes) -> list[str]:
    """The ids of track calls: at most 2,500 in 500 KB, each of 32 KB."""
    _require_size(body, 500_000)
    ids = [track.message_id for track in _decode_tracks(body).batch]
    if len(body) > 32_000:
        _require_sizes(_decode_items(body).batch, 32_000)
    return ids


def mparticle_ids(body: bytes) -> list[str]:
    """The ids of the events of user batches: at most 100 in 256 KB, a batch of 128 KB."""
    _require_size(body, 256_000)
    batches = _decode_batches(body)
    ids = [event.data.source_message_id for batch in batches for event in batch.events]
    if len(ids) > 100:
        raise Refused(f"{len(ids)} events, at most 100")
    if len(body) > 128_000:
        _require_sizes(_decode_raws(body), 128_000)
    return ids


def _require_size(body: bytes, most: int) -> None:
    if len(body) > most:
        raise Refused(f"{len(body)} bytes, at most {most}")


def _require_sizes(items: Sequence[msgspec.Raw], most: int) -> None:
    largest = max(map(len, items), default=0)
    if largest > most:
        raise Refused(f"an item of {largest} bytes, at most {most}")


_IDS_OF: Mapping[str, Callable[[bytes], list[str]]] = {
    "postback": postback_ids,
    "segment": segment_ids,
    "mparticle": mparticle_ids,
}
_REQUIRED = {
    kind: {name.lower().encode(): value.encode() for name, value in headers.items()}
    for kind, headers in HEADERS.items()
}


# The partners


class _Partner:
    """One partner, and what it has got."""

    def __init__(self, kind: str) -> None:
        self._ids_of = _IDS_OF[kind]
        self._required = _REQUIRED[kind]
        self._success = _answer(202 if kind == "mparticle" else 200, b"{}")
        self._counts = Counts()
        self._arrivals: list[Arrival] = []

    def take(self, headers: Mapping[bytes, bytes], body: bytes) -> bytes:
        """Judge a request and return the answer."""
        now = time.monotonic_ns()
        counts = self._counts
        counts.requests += 1
        try:
            self._check(headers)
            ids = self._ids_of(body)
        except (Refused, msgspec.MsgspecError, UnicodeDecodeError) as error:
            counts.refused += 1
            return _answer(400, json.dumps({"error": str(error)}).encode())
        counts.bytes += len(body)
        counts.events += len(ids)
        counts.ids += sum(map(zlib.crc32, map(str.encode, ids)))
        counts.last_at = now / 1e9
        counts.first_at = counts.first_at or counts.last_at
        if b'"at-' in body:
            self._arrivals.extend(_arrivals(ids, now))
        return self._success

    def _check(self, headers: Mapping[bytes, bytes]) -> None:
        for name, value in self._required.items():
            if headers.get(name) != value:
                raise Refused(f"{name.decode()} is not {value.decode()}")

    def totals(self) -> Counts:
        """The counts without percentiles."""
        self._counts.timed = len(self._arrivals)
        return self._counts

    def counts(self) -> Counts:
        """The counts with the percentiles so far."""
        found = sorted(arrival.latency for arrival in self._arrivals)
        if found:
            self._counts.p50_seconds = found[len(found) // 2]
            self._counts.p99_seconds = found[int(len(found) * 0.99)]
        return self.totals()

    def arrivals(self) -> list[Arrival]:
        return self._arrivals


def _arrivals(ids: Sequence[str], now_ns: int) -> Iterator[Arrival]:
    for event_id in ids:
        if event_id.startswith("at-"):
            published_ns = int(event_id.split("-")[1])
            yield Arrival(published_ns / 1e9, (now_ns - published_ns) / 1e9)


class _Partners:
    """All partners by path; made when they are first asked for."""

    def __init__(self) -> None:
        self._by_path: dict[bytes, _Partner] = {}
        self._by_name: dict[str, _Partner] = {}

    def answer(self, method: bytes, path: bytes, headers: dict[bytes, bytes], body: bytes) -> bytes:
        """The answer to any request."""
        if path == b"/counts":
            counts = {name: partner.counts() for name, partner in self._by_name.items()}
            return _answer(200, msgspec.json.encode(counts))
        if path == b"/totals":
            totals = {name: partner.totals() for name, partner in self._by_name.items()}
            return _answer(200, msgspec.json.encode(totals))
        if path == b"/arrivals":
            arrivals = {name: partner.arrivals() for name, partner in self._by_name.items()}
            return _answer(200, msgspec.json.encode(arrivals))
        partner = self._by_path.get(path) or self._make(path)
        if partner is None or method != b"POST":
            return _answer(404, b"{}")
        return partner.take(headers, body)

    def _make(self, path: bytes) -> _Partner | None:
        parts = path.decode("latin-1").split("/")
        if len(parts) < 3 or parts[1] not in _IDS_OF:
            return None
        partner = self._by_name.setdefault(parts[2], _Partner(parts[1]))
        self._by_path[path] = partner
        return partner


_REASONS = {200: "OK", 202: "Accepted", 400: "Bad Request", 404: "Not Found"}


def _answer(status: int, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


# HTTP


class _Connection(asyncio.Protocol):
    """Keeps one connection alive and answers its requests in order."""

    def __init__(self, partners: _Partners) -> None:
        self._partners = partners
        self._buffer = bytearray()
        self._needed = 0
        """How many bytes the request has that is on its way; 0 while its head is."""
        self._body_at = 0
        self._headers: dict[bytes, bytes] = {}
        self._line = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._has_request():
            body = bytes(self._buffer[self._body_at : self._needed])
            del self._buffer[: self._needed]
            self._needed = 0
            method, path, _ = self._line.split(b" ", 2)
            path = path.partition(b"?")[0]
            self._transport.write(self._partners.answer(method, path, self._headers, body))

    def _has_request(self) -> bool:
        if not self._needed:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._read_head(bytes(self._buffer[:end]))
            self._body_at = end + 4
            self._needed = self._body_at + int(self._headers.get(b"content-length", b"0"))
        return len(self._buffer) >= self._needed

    def _read_head(self, head: bytes) -> None:
        self._line, *lines = head.split(b"\r\n")
        self._headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            self._headers[name.lower()] = value.strip()


async def _serve() -> None:
    partners = _Partners()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(partners), "127.0.0.1", 0, backlog=1_024)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{port}"}) + "\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
