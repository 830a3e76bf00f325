"""Trying a connector by hand: its partner's harmless probe, and a test event of each of its types."""

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from runtime.address import AddressPolicy
from runtime.answers import sanitise, spelled_out
from runtime.connectors import Config, ConnectorEntry
from runtime.decoding import Decoder
from runtime.exchange import HttpExchange
from runtime.keeping import Letters
from runtime.receipts import Receipts
from runtime.routing import Router
from runtime.secrets import SecretError, SecretStore
from runtime.sending import carry_out
from schemas.batch import Batch
from schemas.catalogue import event_types
from schemas.lane import Lane
from schemas.limits import MAX_EVENT_BYTES
from schemas.placeholder import placeholder_event
from schemas.pull import Pull
from sinks.sink import Answer, Packed, Request, Verdict

_CONNECTIONS = 4


class Probed(msgspec.Struct, frozen=True):
    """What the probe of a connector, or of one of its feeds, has shown."""

    connector: str
    part: str
    result: str
    """`accepted`, `refused`, `no_answer`, or `not_probed` where nothing harmless can be sent."""
    answer: str
    """The status or the error, and what the partner said."""
    proves: str
    """And what it does not prove."""


@dataclass
class Tested:
    """What became of a connector's test events."""

    delivered: Counter[str] = field(default_factory=Counter)
    """Events by type."""
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Events by type and why nothing of them was sent."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Requests that were not accepted: their types, and the answer."""


class Prober:
    """Sends probes and test events; close it in the end."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._exchange = HttpExchange(policy, _CONNECTIONS)
        self._secrets = SecretStore()

    def close(self) -> None:
        self._exchange.close()

    def probe(self, config: Config) -> Iterator[Probed]:
        """Probe all connectors that are enabled, one after the other."""
        for entry in config.connectors.values():
            if entry.settings.enabled:
                for part in entry.sink.probe_parts:
                    yield self._probe(entry, part)

    def send_test(self, config: Config, connector: str) -> Tested:
        """Send an event of each type that the connector takes, marked as a test.

        Raises:
            SecretError: a secret of the connector cannot be read.
        """
        entry = config.connectors[connector]
        tested = Tested()
        for lane, batch in self._route(config, entry, tested):
            part = Lane.of(lane).part
            secrets = self._secrets.resolve(entry.sink.references(part))
            self._deliver(entry, entry.sink.pack(batch.events, part, secrets), secrets, tested)
        return tested

    def _probe(self, entry: ConnectorEntry, part: str) -> Probed:
        name, sink = entry.settings.name, entry.sink
        try:
            secrets = self._secrets.resolve(sink.references(part))
        except SecretError as error:
            return Probed(name, part, "refused", str(error), "a secret cannot be read")
        request = sink.probe(part, secrets)
        if request is None:
            proves = "its secrets can be read; whatever is sent stays there, so nothing is"
            return Probed(name, part, "not_probed", "", proves)
        answer = carry_out(self._exchange, request, sink.timeout_seconds)
        result = _result(sink.judge_probe(answer))
        said = _said(answer, request, secrets)
        if answer.error is not None and result == "no_answer":
            return Probed(name, part, result, said, "nothing: no answer came")
        return Probed(name, part, result, said, sink.what_probe_proves(answer))

    def _route(
        self, config: Config, entry: ConnectorEntry, tested: Tested
    ) -> Iterator[tuple[str, Batch]]:
        """The test events in the connector's lanes; what it filters is counted."""
        only = Config(config.version, {entry.settings.name: entry})
        for event_type in event_types().values():
            if not entry.selects(event_type.name):
                continue
            properties = {
                "app_group_id": (entry.settings.app_group_ids or ["test"])[0],
                "app_id": (entry.settings.app_ids or ["test"])[0],
            }
            event_id = f"currents-test-{uuid.uuid4()}"
            event = placeholder_event(event_type, event_id, int(time.time()), **properties)
            decoder = Decoder(Router(only), Receipts(), MAX_EVENT_BYTES)
            at = int(time.time() * 1_000)
            pull = Pull(at, at, [msgspec.json.encode(event)])
            found = [*decoder.decode(pull), *decoder.flush()]
            yield from (one for one in found if not isinstance(one, Letters))
            for reason in decoder.take_tally().of(entry.settings.name).filtered:
                tested.left_out[event_type.name, reason] += 1

    def _deliver(
        self, entry: ConnectorEntry, packed: Packed, secrets: Mapping[str, str], tested: Tested
    ) -> None:
        for unpackable in packed.unpackable:
            tested.left_out[_type_of(unpackable.event), unpackable.reason] += 1
        for request in packed.requests:
            answer = carry_out(self._exchange, request, entry.sink.timeout_seconds)
            types = [_type_of(event) for event in request.events]
            if entry.sink.judge(answer) is Verdict.DELIVERED:
                tested.delivered.update(types)
            else:
                tested.refused.append((", ".join(types), _said(answer, request, secrets)))


def _result(verdict: Verdict) -> str:
    if verdict is Verdict.DELIVERED:
        return "accepted"
    return "no_answer" if verdict is Verdict.RETRY else "refused"


def _said(answer: Answer, request: Request, secrets: Mapping[str, str]) -> str:
    """The status or the error with what the partner said, without secrets."""
    said = sanitise(answer, [*secrets.values(), *spelled_out(request)])
    known = str(answer.status) if answer.error is None else answer.error
    return f"{known}: {said}" if said else known


class _Header(msgspec.Struct):
    event_type: str


def _type_of(event: bytes) -> str:
    return msgspec.json.decode(event, type=_Header).event_type
