"""Carrying out a request, of whichever sort it is: an HTTP exchange, or a file made visible."""

from collections.abc import Callable

from runtime.exchange import HttpExchange
from runtime.storage import StorageError, write_whole
from sinks.sink import Answer, HttpRequest, Request


def carry_out(exchange: HttpExchange, request: Request, timeout_seconds: float) -> Answer:
    """Make the exchange, or write the file, and say what came back; raises for neither."""
    if isinstance(request, HttpRequest):
        return exchange.send(request, timeout_seconds)
    try:
        write_whole(request.path, request.body, request.credentials)
    except StorageError as error:
        return Answer(error=error.fault, detail=error.detail)
    return Answer(status=200)


def begin(
    exchange: HttpExchange,
    request: Request,
    timeout_seconds: float,
    done: Callable[[Answer | None], None],
) -> bool:
    """Begin what needs no thread to wait for it, and have `done` told what came back; False for all else."""
    return isinstance(request, HttpRequest) and exchange.begin(request, timeout_seconds, done)
