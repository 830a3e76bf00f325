"""A stand: a site at its address, with its fault and its journal."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from aiohttp import web

from sandbox.partners import wire
from sandbox.partners.faults import Fault, FaultSwitch, fault_to_json
from sandbox.partners.journal import Journal
from sandbox.partners.site import Arrival, Judgement, Reply, Site


class Stand:
    """Answers a site's requests. Used on the server's loop only, but for the journal."""

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
        try:
            fault = await self._meet_fault(request, event_ids)
            if fault and fault.reset:
                wire.reset(request)
                return web.Response()  # goes nowhere: the connection is gone
            judgement = self._judge(arrival, fault)
            self.journal.settle(number, judgement, feed)
            return await self._reply(request, judgement.reply, fault)
        finally:
            self.journal.end(number)

    async def _break_off(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        """Fail before the body has come."""
        number = self.journal.open(_arrival(request, b""), [], None)
        try:
            if fault.reply is None:
                return await wire.break_off(request, fault.wire)
            self.journal.settle(number, Judgement(fault.reply, refused=True), None)
            return await wire.answer(request, fault.reply, fault.wire)
        finally:
            self.journal.end(number)

    async def _meet_fault(self, request: web.Request, event_ids: Sequence[str]) -> Fault | None:
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


def _arrival(request: web.Request, body: bytes) -> Arrival:
    return Arrival(
        method=request.method,
        path=request.match_info["path"],
        query=dict(request.query),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
    )
