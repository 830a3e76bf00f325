"""The sandbox's server: any number of sites behind one loopback port, on a thread of its own."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, replace
from threading import Thread
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

import msgspec
from aiohttp import web

from sandbox.partners import wire
from sandbox.partners.faults import Fault, FaultSwitch, fault_from_json, fault_to_json
from sandbox.partners.journal import Counts, Journal
from sandbox.partners.site import Arrival, Judgement, Received, Reply, Site

HOST = "127.0.0.1"
# Above every partner's limit, so that the sites decide what is too large.
MAX_BODY_BYTES = 8 * 1_024 * 1_024
# How long a stop waits for answers in flight before it breaks them off.
STOP_SECONDS = 0.2

P = ParamSpec("P")
T = TypeVar("T")


class _Stand:
    """A site at its address: the site, its fault and its journal."""

    def __init__(self, site: Site, journal: Journal) -> None:
        self.site = site
        self.switch = FaultSwitch()
        self.journal = journal

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, or fail as the fault says."""
        if broken := self.switch.take_at_head():
            return await self._break_off(request, broken)
        arrival = _arrival(request, await request.read())
        event_ids = self.site.event_ids(arrival)
        feed = self.site.feed(arrival)
        number = self.journal.open(arrival, event_ids, feed)
        fault = await self._meet_fault(request, event_ids)
        if fault and fault.reset:
            wire.reset(request)
            return web.Response()  # goes nowhere: the connection is gone
        judgement = self._judge(arrival, fault)
        self.journal.settle(number, judgement, feed)
        return await self._reply(request, judgement.reply, fault)

    async def _break_off(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        """Fail before the body has come."""
        number = self.journal.open(_arrival(request, b""), [], None)
        if fault.reply is None:
            return await wire.break_off(request, fault.wire)
        self.journal.settle(number, Judgement(fault.reply, refused=True), None)
        return await wire.answer(request, fault.reply, fault.wire)

    async def _meet_fault(self, request: web.Request, event_ids: list[str]) -> Fault | None:
        """The fault to show, once its wait is over; what hung meets what has come since."""
        while fault := self.switch.take(event_ids):
            wire.begin(request, fault.wire)
            await asyncio.sleep(fault.delay_seconds)
            if not fault.hang or fault.keeps:
                break
            await self.switch.wait_until_set()
        return fault

    def _judge(self, arrival: Arrival, fault: Fault | None) -> Judgement:
        if fault is None or fault.reply is None:
            return self.site.judge(arrival)
        if fault.keeps:
            return replace(self.site.judge(arrival), reply=fault.reply)
        return Judgement(fault.reply, refused=fault.reply.status >= 400)

    async def _reply(
        self, request: web.Request, reply: Reply, fault: Fault | None
    ) -> web.StreamResponse:
        if fault is None:
            return wire.send(reply)
        if fault.hang:  # what was kept was kept before
            await self.switch.wait_until_set()
        if fault.drip:
            await wire.drip(request, reply)
        return await wire.answer(request, reply, fault.wire)

    def state(self) -> dict[str, Any]:
        """For humans: without credentials."""
        return {
            "kind": self.site.kind,
            "counts": asdict(self.journal.counts()),
            "fault": fault_to_json(self.switch.fault),
        }


class PartnerSandbox:
    """Serves each site under `http://127.0.0.1:PORT/<its name>` while the `with` block lasts.

    What was received can still be read after the stop. `GET /_sandbox/state` and
    `PUT /_sandbox/sites/{name}/fault` (fields of `Fault` as JSON) are there for curl.
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
            name: _Stand(site, Journal(keep_bodies, keep_ids)) for name, site in sites.items()
        }
        self._port = port
        self._tls = tls
        self._connections: WeakSet[asyncio.Transport] = WeakSet()
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    def __enter__(self) -> "PartnerSandbox":
        listener = socket.create_server((HOST, self._port))
        self._port = listener.getsockname()[1]
        self._thread = Thread(target=asyncio.run, args=[self._serve(listener)], daemon=True)
        self._thread.start()
        self._loop, self._stop = self._started.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def url(self, name: str) -> str:
        """The base address of a site; the partner's own path follows it."""
        if name not in self._stands:
            raise KeyError(f"no site {name}; there are {', '.join(self._stands)}")
        return f"{'https' if self._tls else 'http'}://{HOST}:{self._port}/{name}"

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
        await web.SockSite(runner, listener, ssl_context=self._tls).start()
        self._started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        await runner.cleanup()
        for connection in self._connections:  # of TLS: it waits for the client's consent to close
            connection.abort()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/_sandbox/state", self._get_state)
        app.router.add_put("/_sandbox/sites/{name}/fault", self._put_fault)
        app.router.add_route("*", "/{name}{path:(/.*)?}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            self._connections.add(request.transport)
        return await self._stand_of(request).answer(request)

    async def _get_state(self, _: web.Request) -> web.Response:
        return _json({name: stand.state() for name, stand in self._stands.items()})

    async def _put_fault(self, request: web.Request) -> web.Response:
        stand = self._stand_of(request)
        try:
            fields = msgspec.json.decode(await request.read(), type=dict[str, Any])
            stand.switch.set(fault_from_json(fields))
        except msgspec.DecodeError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        return _json(stand.state())

    def _stand_of(self, request: web.Request) -> _Stand:
        stand = self._stands.get(request.match_info["name"])
        if stand is None:
            raise web.HTTPNotFound(text=f"no such site; there are {', '.join(self._stands)}\n")
        return stand


def _arrival(request: web.Request, body: bytes) -> Arrival:
    return Arrival(
        method=request.method,
        path=request.match_info["path"],
        query=dict(request.query),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
    )


def _json(value: Any) -> web.Response:
    pretty = msgspec.json.format(msgspec.json.encode(value), indent=2)
    return web.Response(body=pretty + b"\n", content_type="application/json")
