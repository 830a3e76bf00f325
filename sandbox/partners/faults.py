"""Faults: the ways in which a partner can be told to fail, and when a fault applies."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast, get_args

import msgspec

from sandbox.partners.site import Reply
from sandbox.partners.wire import AtHead, Wire


class Fault(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """How a site fails. What is left out stays as ever, so a delay alone is a slow success."""

    status: int | None = None
    """Answered without a look at the request."""
    retry_after: str | None = None
    headers: Mapping[str, str] = {}
    """Of the answer, beside those that every answer has."""
    body: bytes = b""
    keeps: bool = False
    """The site looks at the request and keeps its events all the same, before it fails."""
    delay_seconds: float = 0.0
    """Waited before the request is judged; a client that leaves meanwhile has sent nothing."""
    hang: bool = False
    """No answer until the fault is replaced or cleared, the client leaves or the server stops."""
    reset: bool = False
    """The connection is reset once the body has been read."""
    drip: bool = False
    """The answer, from its status line on, leaves at one byte a second."""
    wire: Wire | None = None
    """What goes wrong with the connection itself."""
    reject_ids: frozenset[str] = frozenset()
    """Only requests that hold one of these ids fail, with `status` or else 400."""
    reject_next: bool = False
    """The first event that arrives is the one that fails from then on."""
    times: int | None = None
    """The fault clears itself after so many requests have met it."""
    every: int = 1
    """Only the first request and each so many later one meet it."""

    def __post_init__(self) -> None:
        if self.status is not None and not (self.status == 101 or 200 <= self.status <= 999):
            raise ValueError(f"status is 101, or 200 to 999; found {self.status}")
        if (self.times is not None and self.times < 1) or self.every < 1:
            raise ValueError(f"times and every are 1 or more; found {self.times}, {self.every}")
        if not 0 <= self.delay_seconds < float("inf"):
            raise ValueError(f"delay_seconds is 0 or more; found {self.delay_seconds}")
        if (self.body or self.retry_after or self.headers) and self.reply is None:
            raise ValueError("body, headers and retry_after need a status to go with")
        if self.wire == "early_answer" and self.status is None:
            raise ValueError("early_answer needs a status to go with")
        if self.keeps and self.reply is None and not self.hang:
            raise ValueError("keeps needs a status or a hang to go with")

    @property
    def reply(self) -> Reply | None:
        """What is answered in place of the site's own judgement, if anything."""
        rejects = self.reject_ids or self.reject_next
        status = 400 if rejects and self.status is None else self.status
        if status is None:
            return None
        asked = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        return Reply(status, self.body, {**self.headers, **asked})

    @property
    def at_head(self) -> AtHead | None:
        """What happens to a request before its body has come."""
        return cast("AtHead", self.wire) if self.wire in get_args(AtHead) else None

    def applies_to(self, event_ids: Iterable[str]) -> bool:
        if self.reject_next:  # no event has come yet
            return False
        return not self.reject_ids or not self.reject_ids.isdisjoint(event_ids)


def fault_from_json(fields: Mapping[str, Any]) -> Fault | None:
    """The fault that a JSON object describes, `body` being text; None for an empty object.

    Raises:
        msgspec.ValidationError: it describes none.
    """
    if not fields:
        return None
    body = fields.get("body", "")
    known = {**fields, "body": body.encode() if isinstance(body, str) else body}
    return msgspec.convert(known, Fault, builtin_types=(bytes,))


def fault_to_json(fault: Fault | None) -> dict[str, Any]:
    """The fields of a fault that differ from their defaults."""
    fields = msgspec.to_builtins(fault, builtin_types=(bytes,), order="deterministic") or {}
    if "body" in fields:
        fields["body"] = fields["body"].decode(errors="replace")
    return fields


class FaultSwitch:
    """The fault that a site has at the moment. Used on the server's loop only."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self._left: int | None = None
        self._seen = 0
        self._changed = asyncio.Event()

    def set(self, fault: Fault | None) -> None:
        """Replace the fault and release what hangs."""
        self.fault = fault
        self._left = fault.times if fault else None
        self._seen = 0
        self._changed.set()
        self._changed = asyncio.Event()

    def take(self, event_ids: Sequence[str]) -> Fault | None:
        """The fault that a request with these events meets; counts towards its `times`."""
        fault = self.fault
        if fault and fault.reject_next and event_ids:
            chosen = frozenset(event_ids[:1])
            fault = msgspec.structs.replace(fault, reject_next=False, reject_ids=chosen)
            self.fault = fault
        if fault is None or fault.at_head or not fault.applies_to(event_ids):
            return None
        return self._meet(fault)

    def take_at_head(self) -> Fault | None:
        """The fault that a request meets when its head has come; counts towards its `times`."""
        fault = self.fault
        return self._meet(fault) if fault is not None and fault.at_head else None

    def _meet(self, fault: Fault) -> Fault | None:
        self._seen += 1
        if (self._seen - 1) % fault.every:
            return None
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.fault = None
        return fault

    async def wait_until_set(self) -> None:
        await self._changed.wait()
