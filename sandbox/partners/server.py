"""The sandbox's server: any number of sites behind one loopback port, on a thread of its own."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import Thread
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from aiohttp import web

from sandbox.partners.control import PREFIX, Control, stand_of
from sandbox.partners.faults import Fault
from sandbox.partners.journal import Counts, Journal
from sandbox.partners.site import Received, Site
from sandbox.partners.stand import Stand

HOST = "127.0.0.1"
# Above every partner's limit, so that the sites decide what is too large.
MAX_BODY_BYTES = 8 * 1_024 * 1_024
# So many connections wait for their turn: those of hundreds of connectors that begin together.
BACKLOG = 4_096
# How long a stop waits for answers in flight before it breaks them off.
STOP_SECONDS = 0.2

P = ParamSpec("P")
T = TypeVar("T")


class PartnerSandbox:
    """Serves each site under `http://127.0.0.1:PORT/<its name>` while the `with` block lasts.

    What was received can still be read after the stop. A page for a browser is at `page_url`; behind
    it, and for curl, are `GET /_sandbox/state` and `PUT /_sandbox/sites/{name}/fault` (fields of
    `Fault` as JSON).
    """

    def __init__(
        self,
        sites: Mapping[str, Site],
        port: int = 0,
        keep_bodies: int = 100,
        keep_ids: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Port 0 takes a free one; `keep_ids=False` bounds the memory of very long runs.

        With `tls` it speaks https, with the certificate that is loaded there.
        """
        self._stands = {
            name: Stand(site, Journal(keep_bodies, keep_ids)) for name, site in sites.items()
        }
        self._port = port
        self._control = Control(self._stands)
        self._tls = tls
        self._connections: WeakSet[asyncio.Transport] = WeakSet()
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    def __enter__(self) -> "PartnerSandbox":
        listener = socket.create_server((HOST, self._port), backlog=BACKLOG)
        self._port = listener.getsockname()[1]
        self._thread = Thread(target=asyncio.run, args=[self._serve(listener)], daemon=True)
        self._thread.start()
        self._loop, self._stop = self._started.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def names(self) -> list[str]:
        return list(self._stands)

    def url(self, name: str) -> str:
        """The base address of a site; the partner's own path follows it."""
        if name not in self._stands:
            raise KeyError(f"no site {name}; there are {', '.join(self._stands)}")
        return f"{'https' if self._tls else 'http'}://{HOST}:{self._port}/{name}"

    @property
    def page_url(self) -> str:
        return f"http://{HOST}:{self._port}/"

    def tell_run(self, tell: Callable[[], Any]) -> None:
        """Have the page tell of a run beside the partners; `tell` gives what can be JSON, or None.

        It is called on the server's thread, for each look that a page takes.
        """
        self._control.tell_run = tell

    def fault(self, name: str) -> Fault | None:
        return self._stands[name].switch.fault

    def set_fault(self, name: str, fault: Fault | None) -> None:
        """Replace a site's fault, or clear it; in force when this returns."""
        self._on_loop(self._stands[name].switch.set, fault)

    def requests(self, name: str) -> list[Received]:
        """The last 10,000 requests of a site, in order of arrival."""
        return self._stands[name].journal.requests()

    def accepted_ids(self, name: str, feed: str | None = None) -> list[str]:
        """Ids of the events that a site (or one of its feeds) accepted, duplicates kept."""
        return self._stands[name].journal.accepted_ids(feed)

    def bodies(self, name: str) -> list[bytes]:
        """The last `keep_bodies` request bodies of a site."""
        return self._stands[name].journal.bodies()

    def counts(self, name: str) -> Counts:
        return self._stands[name].journal.counts()

    def rows(self, name: str) -> list[dict[str, str]]:
        """The last `keep_bodies` rows of a site that stores a request as one row."""
        return self._stands[name].journal.rows()

    def wait_for(
        self, name: str, holds: Callable[[Counts], bool], timeout_seconds: float = 5
    ) -> bool:
        """Whether a condition on a site's counts came true in time."""
        return self._stands[name].journal.wait_for(holds, timeout_seconds)

    def _on_loop(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async def call() -> T:
            return function(*args, **kwargs)

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    async def _serve(self, listener: socket.socket) -> None:
        runner = web.AppRunner(
            self._app(),
            access_log=None,
            handler_cancellation=True,  # a client that leaves ends its hang
            auto_decompress=False,  # no partner documents that it takes compressed bodies
            shutdown_timeout=STOP_SECONDS,
        )
        stop = asyncio.Event()
        await runner.setup()
        await web.SockSite(runner, listener, ssl_context=self._tls, backlog=BACKLOG).start()
        self._started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        await runner.cleanup()
        for connection in self._connections:  # of TLS: it waits for the client's consent to close
            connection.abort()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/", self._go_to_page)
        app.add_subapp(PREFIX, self._control.app())
        app.router.add_route("*", "/{name}{path:(/.*)?}", self._answer)
        return app

    async def _go_to_page(self, _: web.Request) -> web.Response:
        raise web.HTTPFound(f"{PREFIX}/")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            self._connections.add(request.transport)
        return await stand_of(self._stands, request).answer(request)
