"""Carrying out a request, of whichever sort it is: an HTTP exchange, or a file made visible."""

from collections.abc import Callable

from runtime.exchange import HttpExchange
from runtime.storage import StorageError, write_whole
from sinks.sink import Answer, FileWrite, HttpRequest, Request


def carry_out(exchange: HttpExchange, request: Request, timeout_seconds: float) -> Answer:
    """Make the exchange, or write the file, and say what came back; raises for neither."""
    if isinstance(request, HttpRequest):
        return exchange.send(request, timeout_seconds)
    return _write(request)


def begin(
    exchange: HttpExchange,
    request: Request,
    timeout_seconds: float,
    done: Callable[[Answer | None], None],
) -> bool:
    """Begin what needs no waiting, and have `done` told what came back; False for all else.

    It is told None where nothing came and the request is to be sent again, by `start`.
    """
    return isinstance(request, HttpRequest) and exchange.begin(request, timeout_seconds, done)


def start(
    exchange: HttpExchange,
    request: Request,
    timeout_seconds: float,
    done: Callable[[Answer], None],
) -> None:
    """Wait for a connection and begin the exchange over it, or write the file; `done` is told what came back."""
    if isinstance(request, HttpRequest):
        exchange.dial(request, timeout_seconds, done)
    else:
        done(_write(request))


def _write(request: FileWrite) -> Answer:
    try:
        write_whole(request.path, request.body, request.credentials)
    except StorageError as error:
        return Answer(error=error.fault, detail=error.detail)
    return Answer(status=200)
