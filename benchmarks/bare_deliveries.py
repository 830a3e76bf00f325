"""The deliveries of the bars: events to three partners with nothing in between.

There is no Beam and no promise: nothing is held, nothing is tried again, a refusal ends the program,
and settings, app groups and redaction do not exist. It is written to win:

- an event is decoded once, by msgspec, and its two other shapes are made of the same dict;
- they are encoded by orjson, which does so faster than msgspec, and at once, while they are in the
  processor's cache: a request's items in one call take a tenth longer;
- postback bodies are spliced of the lines as they came, undecoded, and made once for all postbacks;
- connections are raw sockets, kept alive; a request is one system call, and the answer to it is not
  waited for before the connection's next request is there, so that the partner works meanwhile and
  no thread is needed;
- the limits of the partners are kept, for the receiver checks them.
"""

import socket
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import orjson

from benchmarks.partners import FEEDS, HEADERS, url_of
from benchmarks.shapes import feed_of, plan_of, track_of, user_batch_of
from schemas.event import decode_header

POSTBACK_EVENTS = 100
POSTBACK_BYTES = 900_000
_SEND_BUFFER_BYTES = 4_000_000


class Event(msgspec.Struct, gc=False):
    """What is read of an event."""

    event_type: str
    id: str
    time: int
    user: dict[str, Any]
    properties: dict[str, Any]


_decode = msgspec.json.Decoder(Event).decode


class Connection:
    """One kept-alive connection to one address of a partner."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        address = urlsplit(url)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect((address.hostname, address.port))
        lines = [f"POST {address.path} HTTP/1.1", f"Host: {address.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = ("\r\n".join(lines) + "\r\nContent-Length: ").encode()
        self._is_owed = False

    def post(self, body: bytes) -> None:
        """Send a request, once the answer to the one before is there."""
        self.settle()
        head = b"%b%d\r\n\r\n" % (self._head, len(body))
        sent = self._socket.sendmsg((head, body))
        if sent < len(head) + len(body):
            self._socket.sendall((head + body)[sent:])
        self._is_owed = True

    def settle(self) -> None:
        """Wait for the answer that is due; raises SystemExit where it is no success."""
        if not self._is_owed:
            return
        answer = self._socket.recv(65_536)
        while b"\r\n\r\n" not in answer or not _is_whole(answer):
            more = self._socket.recv(65_536)
            if not more:
                break
            answer += more
        if not answer.startswith(b"HTTP/1.1 20"):
            raise SystemExit(f"a partner answered {answer[:500]!r}")
        self._is_owed = False

    def close(self) -> None:
        """Wait for the answer that is due, and end the connection."""
        self.settle()
        self._socket.close()


def _is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
    return len(body) >= int(length or 0)


class Postbacks:
    """The same events to each of some postbacks; a body is made once and sent to all."""

    def __init__(self, receiver: str, names: Sequence[str]) -> None:
        self._connections = [_connect(receiver, "postback", name) for name in names]
        self._lines: list[bytes] = []

    def add(self, lines: list[bytes]) -> None:
        lines = self._lines + lines if self._lines else lines
        full = len(lines) - len(lines) % POSTBACK_EVENTS
        for start in range(0, full, POSTBACK_EVENTS):
            self._post(lines[start : start + POSTBACK_EVENTS])
        self._lines = lines[full:]

    def flush(self) -> None:
        if self._lines:
            self._post(self._lines)
        self._lines = []

    def settle(self) -> None:
        for connection in self._connections:
            connection.settle()

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def _post(self, lines: list[bytes]) -> None:
        body = b'{"events":[%b]}' % b",".join(lines)
        if len(body) > POSTBACK_BYTES:
            middle = len(lines) // 2
            self._post(lines[:middle])
            self._post(lines[middle:])
            return
        for connection in self._connections:
            connection.post(body)


class CheckedPostbacks(Postbacks):
    """The same for events that are checked first: each is decoded as far as routing reads it."""

    def add(self, lines: list[bytes]) -> None:
        for line in lines:
            decode_header(line)
        super().add(lines)


class ThreeKinds:
    """The same events to a postback, to Segment and to mParticle."""

    def __init__(self, receiver: str, names: Mapping[str, str]) -> None:
        """`names` are kinds by name, one of each kind."""
        by_kind = {kind: name for name, kind in names.items()}
        self._postback = Postbacks(receiver, [by_kind["postback"]])
        self._segment = _Items(receiver, "segment", by_kind["segment"], SEGMENT)
        name = by_kind["mparticle"]
        self._feeds = {feed: _Items(receiver, "mparticle", name, MPARTICLE) for feed in FEEDS}

    def add(self, lines: list[bytes]) -> None:
        self._postback.add(lines)
        dumps, add_track, feeds = orjson.dumps, self._segment.add, self._feeds
        for line in lines:
            event = _decode(line)
            plan = plan_of(event.event_type)
            fields = (plan, event.id, event.time, event.user, event.properties)
            if plan.track_name:
                add_track(dumps(track_of(*fields)))
            if plan.event_name:
                feed = feed_of(plan, event.properties)
                feeds[feed].add(dumps(user_batch_of(*fields)))

    def flush(self) -> None:
        self._postback.flush()
        for items in (self._segment, *self._feeds.values()):
            items.flush()

    def settle(self) -> None:
        self._postback.settle()
        for items in (self._segment, *self._feeds.values()):
            items.connection.settle()

    def close(self) -> None:
        self._postback.close()
        for items in (self._segment, *self._feeds.values()):
            items.connection.close()


class _Shape(NamedTuple):
    """How a request is put together of encoded items."""

    prefix: bytes
    suffix: bytes
    most_items: int
    most_bytes: int


SEGMENT = _Shape(b'{"batch":[', b"]}", 2_500, 500_000)
MPARTICLE = _Shape(b"[", b"]", 100, 256_000)


class _Items:
    """Encoded items on their way to one address."""

    def __init__(self, receiver: str, kind: str, name: str, shape: _Shape) -> None:
        self.connection = _connect(receiver, kind, name)
        self._shape = shape
        self._most_items = shape.most_items
        self._room = shape.most_bytes - len(shape.prefix) - len(shape.suffix)
        self._items: list[bytes] = []
        self._size = 0

    def add(self, item: bytes) -> None:
        size = len(item) + 1
        if self._size + size > self._room or len(self._items) == self._most_items:
            self.flush()
        self._items.append(item)
        self._size += size

    def flush(self) -> None:
        if self._items:
            prefix, suffix, *_ = self._shape
            self.connection.post(b"%b%b%b" % (prefix, b",".join(self._items), suffix))
            self._items = []
            self._size = 0


def _connect(receiver: str, kind: str, name: str) -> Connection:
    return Connection(url_of(receiver, kind, name), HEADERS[kind])
