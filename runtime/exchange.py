"""One HTTP exchange with a partner: checked address, one deadline for all of it, bounded answer."""

import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, cast

from runtime.address import AddressPolicy, AddressRefused
from runtime.answer_parser import AnswerParser
from runtime.awaited import Awaited, AwaitedAnswers, Failure
from runtime.connection import Connection, Dialer
from runtime.cutoff import Cutoff, DeadlinePassed, ExchangeFailed
from runtime.request_head import Origin, RequestHead, head_of
from runtime.transfer import Transfer
from sinks.sink import Answer, HttpRequest

MAX_ANSWER_BYTES = 65_536
"""What is read of an answer; partners say what they have to say in far less."""

MAX_CONNECTION_SECONDS = 3_600
"""After that, and after an answer that is no success, a new one is made.

Its name is looked up again: partners move ("Resolve DNS at least daily; refresh the address on 5xx":
Segment, "HTTP API source"). And who sends an answer too many after an error must not have it taken for
the next request's: a 200 would lose that request's events.
"""

MAX_SILENCE_SECONDS = 1.0
"""Who ends a connection later than that has had the request, and thought about it."""

_MAX_ORIGINS = 1_024
"""So many have connections that are kept; those of the one that was used least recently are closed."""


class HttpExchange:
    """Sends requests over kept-alive connections; one a process, safe to share by threads.

    Redirects are not followed, so that no credential goes where it was not meant to go.
    """

    def __init__(self, policy: AddressPolicy, connections_per_host: int) -> None:
        self._dialer = Dialer(policy)
        self._kept = _KeptConnections(connections_per_host)
        self._answers = AwaitedAnswers()

    def send(self, request: HttpRequest, timeout_seconds: float) -> Answer:
        """Make the exchange, wait for it and say what came back; never raises for what a network does.

        Where a connection was kept, and ends without a word, the request is sent once more over a new one:
        partners end connections when they like.
        """
        answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        begun = self.begin(request, timeout_seconds, answers.put)
        answer = answers.get() if begun else None
        if answer is None:
            self.dial(request, timeout_seconds, answers.put)
            answer = cast("Answer", answers.get())
        return answer

    def begin(
        self, request: HttpRequest, timeout_seconds: float, done: Callable[[Answer | None], None]
    ) -> bool:
        """Make the exchange without waiting, if a connection is kept for it; False where none is.

        What came back is told to `done`, on the one thread that waits for all answers mostly, and perhaps
        before this returns: None where the connection ended without a word, so that the
        request is to be sent once more, by `dial`.
        """
        try:
            head = head_of(request.method, request.url, tuple(request.headers.items()))
            self._answers.start()
        except (ExchangeFailed, OSError, RuntimeError):  # `dial` tells it
            return False
        kept = self._kept.take(head.origin)
        if kept is None:
            return False
        self._exchange_over(kept, head, request, Cutoff(timeout_seconds), done, is_kept=True)
        return True

    def dial(
        self, request: HttpRequest, timeout_seconds: float, done: Callable[[Answer], None]
    ) -> None:
        """Make the exchange over a new connection, for which alone is waited here.

        What came back is told to `done`, as by `begin`; or what else ended it.
        """
        cutoff = Cutoff(timeout_seconds)
        try:
            head = head_of(request.method, request.url, tuple(request.headers.items()))
            self._answers.start()
            connection = self._dialer.connect(head.origin, cutoff)
        except (ExchangeFailed, OSError) as failure:
            done(_answer_for(failure, timeout_seconds))
        except RuntimeError as failure:  # the system has no thread for its name or its answer
            done(_answer_for(ExchangeFailed(str(failure)), timeout_seconds))
        else:
            self._exchange_over(connection, head, request, cutoff, done, is_kept=False)

    def close(self) -> None:
        """Wait for the last answers; nothing is begun and no connection kept from now on."""
        self._kept.close()
        self._answers.close()

    def _exchange_over(
        self,
        connection: Connection,
        head: RequestHead,
        request: HttpRequest,
        cutoff: Cutoff,
        done: Callable[[Any], None],
        *,
        is_kept: bool,
    ) -> None:
        begun = time.monotonic()
        parser = AnswerParser(request.method, MAX_ANSWER_BYTES)
        transfer = connection.begin(head.of(request.body), request.body, parser)

        def end(failure: Failure | None) -> None:
            self._put_back(head.origin, connection, transfer)
            if failure is None:
                done(_answer_of(transfer))
            elif is_kept and _is_silence(transfer, failure, time.monotonic() - begun):
                done(None)
            else:
                done(_answer_for(failure, cutoff.seconds))

        try:
            self._answers.add(Awaited(connection, transfer, cutoff.deadline, end))
        except (OSError, RuntimeError) as failure:
            end(ExchangeFailed(f"its answer cannot be waited for: {failure}"))

    def _put_back(self, origin: Origin, connection: Connection, transfer: Transfer) -> None:
        """Keep the connection for the next exchange, if it can be used again."""
        parser = transfer.parser
        if transfer.is_done and not parser.is_last and 200 <= parser.status < 300:
            self._kept.keep(origin, connection)
        else:
            connection.close()


def _answer_of(transfer: Transfer) -> Answer:
    parser = transfer.parser
    return Answer(parser.status, parser.headers, parser.body)


def _is_silence(transfer: Transfer, failure: Failure, seconds: float) -> bool:
    """Whether the connection ended without a word, and as soon as one does that had ended before."""
    if transfer.is_answered or isinstance(failure, DeadlinePassed):
        return False
    return seconds <= MAX_SILENCE_SECONDS


def _answer_for(failure: Failure, timeout_seconds: float) -> Answer:
    """What is said of an exchange that ended without an answer."""
    match failure:
        case DeadlinePassed():
            return Answer(error="timeout", detail=f"no answer within {timeout_seconds:g} s")
        case AddressRefused():
            return Answer(error="address", detail=str(failure))
        case ExchangeFailed():
            return Answer(error="network", detail=str(failure))
        case _:
            return Answer(error="network", detail=failure.strerror or type(failure).__name__)


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
