"""One HTTP exchange with a partner: checked address, one deadline for all of it, bounded answer."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from runtime.address import AddressPolicy, AddressRefused
from runtime.answer_parser import AnswerParser
from runtime.connection import Connection, Dialer
from runtime.cutoff import Cutoff, DeadlinePassed, ExchangeFailed
from runtime.request_head import Origin, head_of
from sinks.sink import Answer, HttpRequest

MAX_ANSWER_BYTES = 65_536
"""What is read of an answer; partners say what they have to say in far less."""

MAX_CONNECTION_SECONDS = 3_600
"""After that, and after an answer that is no success, a new one is made.

Its name is looked up again: partners move ("Resolve DNS at least daily; refresh the address on 5xx":
Segment, "HTTP API source"). And who sends an answer too many after an error must not have it taken for
the next request's: a 200 would lose that request's events.
"""

_MAX_ORIGINS = 1_024
"""So many have connections that are kept; those of the one that was used least recently are closed."""


class HttpExchange:
    """Sends requests over kept-alive connections; one a process, safe to share by threads."""

    def __init__(self, policy: AddressPolicy, connections_per_host: int) -> None:
        self._dialer = Dialer(policy)
        self._kept = _KeptConnections(connections_per_host)

    def send(self, request: HttpRequest, timeout_seconds: float) -> Answer:
        """Make the exchange and say what came back; never raises for what a network does.

        Redirects are not followed, so that no credential goes where it was not meant to go.
        """
        try:
            return self._exchange(request, Cutoff(timeout_seconds))
        except DeadlinePassed:
            return Answer(error="timeout", detail=f"no answer within {timeout_seconds:g} s")
        except AddressRefused as error:
            return Answer(error="address", detail=str(error))
        except ExchangeFailed as error:
            return Answer(error="network", detail=str(error))
        except OSError as error:
            return Answer(error="network", detail=error.strerror or type(error).__name__)

    def close(self) -> None:
        """Close the connections that are kept, and keep none from now on."""
        self._kept.close()

    def _exchange(self, request: HttpRequest, cutoff: Cutoff) -> Answer:
        head = head_of(request.method, request.url, tuple(request.headers.items()))
        parser = AnswerParser(request.method, MAX_ANSWER_BYTES)
        connection = self._kept.take(head.origin) or self._dialer.connect(head.origin, cutoff)
        is_reusable = False
        try:
            connection.exchange(head.of(request.body), request.body, parser, cutoff)
            is_reusable = not parser.is_last and 200 <= parser.status < 300
        finally:
            if is_reusable:
                self._kept.keep(head.origin, connection)
            else:
                connection.close()
        return Answer(parser.status, parser.headers, parser.body)


class _KeptConnections:
    """Connections between exchanges, of each origin the one first that was used last."""

    def __init__(self, most_per_origin: int) -> None:
        self._most_per_origin = most_per_origin
        self._lock = threading.Lock()
        self._by_origin: OrderedDict[Origin, list[Connection]] = OrderedDict()

    def take(self, origin: Origin) -> Connection | None:
        """One that can be used still, if there is one."""
        while True:
            with self._lock:
                kept = self._by_origin.get(origin)
                if not kept:
                    return None
                connection = kept.pop()
            if connection.is_usable(MAX_CONNECTION_SECONDS):
                return connection
            connection.close()

    def keep(self, origin: Origin, connection: Connection) -> None:
        """Keep it for the next exchange, or close it if there are enough."""
        with self._lock:
            surplus = self._add(origin, connection)
        for closing in surplus:
            closing.close()

    def close(self) -> None:
        self._most_per_origin = 0
        with self._lock:
            all_kept, self._by_origin = self._by_origin, OrderedDict()
        for connections in all_kept.values():
            for connection in connections:
                connection.close()

    def _add(self, origin: Origin, connection: Connection) -> Sequence[Connection]:
        """Returns those for which there is no room."""
        kept = self._by_origin.setdefault(origin, [])
        self._by_origin.move_to_end(origin)
        if len(kept) >= self._most_per_origin:
            return [connection]
        kept.append(connection)
        return self._by_origin.popitem(last=False)[1] if len(self._by_origin) > _MAX_ORIGINS else ()
