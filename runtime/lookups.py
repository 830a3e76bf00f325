"""Looking host names up within an exchange's deadline."""

import functools
import socket
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from runtime.cutoff import Cutoff, DeadlinePassed, ExchangeFailed

MAX_LOOKUPS = 256
"""So many host names are looked up at the same time; one that hangs cannot be ended."""


class Lookups:
    """Looks host names up on threads of their own: a lookup that hangs can only be left alone.

    Who asks for a name that is being looked up waits for the same lookup: so a name that hangs
    costs one thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: dict[tuple[str, int], Future[list[Any]]] = {}

    def find(self, host: str, port: int, cutoff: Cutoff) -> list[Any]:
        """What `socket.getaddrinfo` says; at once where the host is an address.

        Raises:
            OSError: it says nothing.
            ExchangeFailed: the name is none, or there was no time to find it.
        """
        if address := _address(host, port):
            return address
        try:
            return self._begin(host, port, cutoff).result(cutoff.seconds_left())
        except FutureTimeout:
            raise DeadlinePassed from None

    def _begin(self, host: str, port: int, cutoff: Cutoff) -> "Future[list[Any]]":
        name = host, port
        with self._changed:
            if not self._changed.wait_for(
                lambda: name in self._running or len(self._running) < MAX_LOOKUPS,
                cutoff.seconds_left(),
            ):
                raise DeadlinePassed
            if name in self._running:
                return self._running[name]
            found: Future[list[Any]] = Future()
            look = functools.partial(self._look, name, found)
            threading.Thread(target=look, name="lookup", daemon=True).start()
            self._running[name] = found
        return found

    def _look(self, name: tuple[str, int], found: "Future[list[Any]]") -> None:
        try:
            found.set_result(socket.getaddrinfo(*name, type=socket.SOCK_STREAM))
        except ValueError:  # among them all that IDNA has to say
            found.set_exception(ExchangeFailed("the host name is no valid name"))
        except OSError as error:
            found.set_exception(error)
        finally:
            with self._changed:
                del self._running[name]
                self._changed.notify_all()


def _address(host: str, port: int) -> list[Any] | None:
    """What `find` returns for a host that is an address; None for a name."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        return None
