"""A stand: a site at its address, with its fault and its journal."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from aiohttp import web

from sandbox.partners import wire
from sandbox.partners.faults import Fault, FaultSwitch, fault_to_json
from sandbox.partners.journal import Journal
from sandbox.partners.site import Arrival, Judgement, Site


class Stand:
    """Answers a site's requests. Used on the server's loop only, but for the journal."""

    def __init__(self, site: Site, journal: Journal) -> None:
        self.site = site
        self.switch = FaultSwitch()
        self.journal = journal

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, or fail as the fault says."""
        arrival = await _read(request)
        event_ids = self.site.event_ids(arrival)
        feed = self.site.feed(arrival)
        number = self.journal.open(arrival, event_ids, feed)
        try:
            fault = await self._meet_fault(event_ids)
            if fault and fault.reset:
                wire.reset(_transport(request))
                return web.Response()  # goes nowhere: the connection is gone
            judgement = self._judge(arrival, fault)
            self.journal.settle(number, judgement, feed)
            if fault and fault.drip:
                await wire.drip(_transport(request), judgement.reply)
            return wire.send(judgement.reply)
        finally:
            self.journal.end(number)

    async def _meet_fault(self, event_ids: Sequence[str]) -> Fault | None:
        """The fault to show, once its wait is over; what hung meets what has come since."""
        while fault := self.switch.take(event_ids):
            await asyncio.sleep(fault.delay_seconds)
            if not fault.hang:
                break
            await self.switch.wait_until_set()
        return fault

    def _judge(self, arrival: Arrival, fault: Fault | None) -> Judgement:
        if fault and fault.reply:
            return Judgement(fault.reply, refused=fault.reply.status >= 400)
        return self.site.judge(arrival)

    def state(self) -> dict[str, Any]:
        """For humans: without credentials."""
        return {
            "kind": self.site.kind,
            "counts": asdict(self.journal.counts()),
            "fault": fault_to_json(self.switch.fault),
        }


async def _read(request: web.Request) -> Arrival:
    return Arrival(
        method=request.method,
        path=request.match_info["path"],
        query=dict(request.query),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.read(),
    )


def _transport(request: web.Request) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError("the client has left")
    return request.transport
