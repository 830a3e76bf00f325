"""What is below `/_sandbox`: the page, what it shows, and the switches of the faults.

It shows what was sent by whom it does not know, and it changes what partners do. So it answers this
machine's browser on its own address only (no other site, no other name for this address), runs no
script but its own, and shows no secret.
"""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from sandbox.partners.faults import fault_from_json
from sandbox.partners.journal import Exchange
from sandbox.partners.masking import Masking
from sandbox.partners.stand import Stand

PREFIX = "/_sandbox"
LATEST = 12
"""So many exchanges of each site are shown."""

_ASSETS = Path(__file__).with_name("page")
_NAMES = ("127.0.0.1", "localhost")
_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control:
    """The routes below `PREFIX`. Used on the server's loop only."""

    def __init__(self, stands: Mapping[str, Stand]) -> None:
        self.tell_run: Callable[[], Any] = lambda: None
        """What the page tells of a run beside the partners."""
        self._stands = stands
        self._masking = Masking(
            credential for stand in stands.values() for credential in stand.site.credentials
        )

    def app(self) -> web.Application:
        """An application to mount at `PREFIX`."""
        app = web.Application(middlewares=[_guard])
        app.router.add_get("/", _asset("index.html"))
        for asset in _ASSETS.iterdir():
            app.router.add_get(f"/{asset.name}", _asset(asset.name))
        app.router.add_get("/state", self._get_state)
        app.router.add_get(r"/sites/{name}/requests/{number:\d{1,15}}", self._get_exchange)
        app.router.add_put("/sites/{name}/fault", self._put_fault)
        return app

    async def _get_state(self, _: web.Request) -> web.Response:
        sites = {name: self._site(stand) for name, stand in self._stands.items()}
        state = {"now": _ms(time.time()), "sites": sites, "run": self.tell_run()}
        return _json(self._masking.hidden(state))

    def _site(self, stand: Stand) -> dict[str, Any]:
        latest = [_summary(exchange) for exchange in stand.journal.latest(LATEST)]
        return {**stand.state(), "requests": latest}

    async def _get_exchange(self, request: web.Request) -> web.Response:
        journal = stand_of(self._stands, request).journal
        exchange = journal.exchange(int(request.match_info["number"]))
        if exchange is None:
            raise web.HTTPNotFound(text="this request is not remembered\n")
        return _json({**_summary(exchange), **self._masking.shown(exchange)})

    async def _put_fault(self, request: web.Request) -> web.Response:
        stand = stand_of(self._stands, request)
        try:
            fields = msgspec.json.decode(await request.read(), type=dict[str, Any])
            stand.switch.set(fault_from_json(fields))
        except msgspec.DecodeError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        return _json(stand.state())


def stand_of(stands: Mapping[str, Stand], request: web.Request) -> Stand:
    """The stand that a request's path names.

    Raises:
        web.HTTPNotFound: there is none.
    """
    stand = stands.get(request.match_info["name"])
    if stand is None:
        raise web.HTTPNotFound(text=f"no such site; there are {', '.join(stands)}\n")
    return stand


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer nobody but a browser that shows our own page, and what is no browser."""
    if not _is_ours(request):
        raise web.HTTPForbidden(text="only this sandbox's own page may ask this\n")
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(_SECURITY)
        raise
    response.headers.update(_SECURITY)
    return response


def _is_ours(request: web.Request) -> bool:
    """Whether the address is our own, and the request was not made by another site's page."""
    if request.host.partition(":")[0] not in _NAMES:
        return False
    origin = request.headers.get("Origin", f"http://{request.host}")
    from_where = request.headers.get("Sec-Fetch-Site", "none")
    is_visit = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
    return origin == f"http://{request.host}" and (
        from_where in ("none", "same-origin") or is_visit
    )


def _asset(name: str) -> Handler:
    async def get(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(_ASSETS / name)

    return get


def _summary(exchange: Exchange) -> dict[str, Any]:
    """What a line of a list says of an exchange."""
    received = exchange.received
    seconds = None if received.ended_at is None else received.ended_at - received.at
    return {
        "number": exchange.number,
        "at": _ms(time.time() - (time.monotonic() - received.at)),
        "events": received.events,
        "body_bytes": received.body_bytes,
        "feed": received.feed,
        "status": received.status,
        "took_ms": None if seconds is None else round(seconds * 1_000),
    }


def _ms(seconds: float) -> int:
    return int(seconds * 1_000)


def _json(value: Any) -> web.Response:
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    # A header or a file's name may be no UTF-8: what is none is escaped, as JSON does.
    body = text.encode(errors="backslashreplace")
    return web.Response(body=body, content_type="application/json")
