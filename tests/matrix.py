"""Every event type at every kind of partner: `python -m tests.matrix`.

Each cell says what becomes of one event: `accepted`, by the partner's strict stand-in over loopback
(or, of a file, read back from disk with the schema of the catalogue), or why it was filtered. Any
other text is a defect, and the command then ends with 1.
"""

import contextlib
import io
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import fastavro
import msgspec

from runtime.address import AddressPolicy
from runtime.connectors import Config, ConnectorEntry, parse_config
from runtime.decoding import Decoder
from runtime.exchange import HttpExchange
from runtime.keeping import Letters
from runtime.receipts import Receipts
from runtime.routing import Router
from runtime.storage import write_whole
from sandbox.partners import (
    MParticleSite,
    PartnerSandbox,
    PostbackSite,
    RudderStackSite,
    SegmentSite,
    TreasureDataSite,
)
from sandbox.partners.site import Site
from sandbox.samples import sample_event
from schemas.batch import Batch
from schemas.catalogue import StorageField, event_types
from schemas.lane import Lane
from schemas.limits import MAX_EVENT_BYTES
from schemas.pull import Pull
from sinks.sink import FileWrite, Filtered, HttpRequest, Request, Verdict

ACCEPTED = "accepted"
UNKNOWN = "users.messages.survey.Response"
"""Announced by the platform for a later version ("Currents changelogs", v11)."""
KINDS = ("postback", "rudderstack", "treasure_data", "segment", "mparticle", "avro_files")

UnnamedEvents = Literal["skip", "raw"]
Row = Mapping[str, str]
"""What becomes of a type, by kind."""

FEEDS = ("ios", "android", "web", "unbound")
SITES: Mapping[str, Site] = {
    "postback": PostbackSite(token="matrix-token"),
    "rudderstack": RudderStackSite(write_key="matrix-key"),
    "treasure_data": TreasureDataSite(write_key="1/matrix-key"),
    "segment": SegmentSite(write_key="matrix-key"),
    "mparticle": MParticleSite(feeds={feed: (f"{feed}-key", f"{feed}-secret") for feed in FEEDS}),
}

_PUBLISHED_MS = 1_769_903_999_000
_EXCHANGE_SECONDS = 10
_DOCUMENTED = {ACCEPTED} | {reason.value for reason in Filtered}
_OF_UNKNOWN_TYPES = [
    StorageField("id", "string", False),
    StorageField("user_id", "string", True),
    StorageField("external_user_id", "string", True),
    StorageField("time", "long", False),
    StorageField("app_group_id", "string", True),
    StorageField("app_id", "string", True),
    StorageField("event", "string", False),
]
_ARRAYS: Mapping[str, Any] = {
    "array<string>": {"type": "array", "items": "string"},
    "array<null|string>": {"type": "array", "items": ["null", "string"]},
}


def fill(
    unnamed_events: UnnamedEvents = "skip", sites: Mapping[str, Site] = SITES
) -> Mapping[str, Row]:
    """Deliver an event of every type to every kind, and say what became of each."""
    with _partners(unnamed_events, sites) as partners:
        return {event_type: partners.row_of(event_type) for event_type in [*event_types(), UNKNOWN]}


@contextlib.contextmanager
def _partners(unnamed_events: UnnamedEvents, sites: Mapping[str, Site]) -> "Iterator[_Partners]":
    policy = AddressPolicy(allow_local=True)
    exchange = HttpExchange(policy, connections_per_host=1)
    with PartnerSandbox(sites) as sandbox, tempfile.TemporaryDirectory() as lake:
        connectors = [
            {"name": _name(kind), "kind": kind, "unnamed_events": unnamed_events, **settings}
            for kind, settings in _settings(sandbox, lake).items()
        ]
        content = msgspec.json.encode({"connectors": connectors})
        config, problems = parse_config(content, policy)
        if problems:
            raise ValueError(str(problems[0]))
        try:
            yield _Partners(config, exchange, sandbox, _secrets(sandbox))
        finally:
            exchange.close()


def _name(kind: str) -> str:
    return kind.replace("_", "-")


def _settings(sandbox: PartnerSandbox, lake: str) -> Mapping[str, Any]:
    """What each connector has besides name and kind; the stand-ins in place of the partners."""
    feeds = {feed: {"key": f"env:{feed}_KEY", "secret": f"env:{feed}_SECRET"} for feed in FEEDS}
    return {
        "postback": {"url": f"{sandbox.url('postback')}/in?group=Brand%20A", "token": "env:TOKEN"},
        "rudderstack": {"url": "env:RUDDERSTACK_URL"},
        "treasure_data": {"url": "env:TREASURE_DATA_URL"},
        "segment": {"write_key": "env:SEGMENT_KEY", "endpoint": sandbox.url("segment")},
        "mparticle": {"feeds": feeds, "endpoint": sandbox.url("mparticle")},
        "avro_files": {"path": lake},
    }


def _secrets(sandbox: PartnerSandbox) -> Mapping[str, str]:
    table = f"{sandbox.url('treasure_data')}/postback/v3/event/currents/events"
    return {
        "env:TOKEN": "matrix-token",
        "env:RUDDERSTACK_URL": f"{sandbox.url('rudderstack')}/v1/webhook?writeKey=matrix-key",
        "env:TREASURE_DATA_URL": f"{table}?td_write_key=1%2Fmatrix-key",
        "env:SEGMENT_KEY": "matrix-key",
        **{f"env:{feed}_KEY": f"{feed}-key" for feed in FEEDS},
        **{f"env:{feed}_SECRET": f"{feed}-secret" for feed in FEEDS},
    }


@dataclass(frozen=True)
class _Partners:
    """A connector of every kind, whose partners answer."""

    config: Config
    exchange: HttpExchange
    sandbox: PartnerSandbox
    secrets: Mapping[str, str]

    def row_of(self, event_type: str) -> Row:
        event = _event_of(event_type)
        decoder = Decoder(Router(self.config), Receipts(), MAX_EVENT_BYTES)
        pull = Pull(_PUBLISHED_MS, _PUBLISHED_MS, [msgspec.json.encode(event)])
        cells: dict[str, str] = {}
        for output in [*decoder.decode(pull), *decoder.flush()]:
            if isinstance(output, Letters):
                return dict.fromkeys(KINDS, f"invalid: {output.letters[0].detail}")
            lane, batch = Lane.of(output[0]), output[1]
            entry = self.config.connectors[lane.connector]
            cells[entry.settings.kind] = self._deliver(entry, lane, batch, event)
        tally = decoder.take_tally()
        for entry in self.config.connectors.values():
            for reason in tally.of(entry.settings.name).filtered:
                cells[entry.settings.kind] = reason
        return {kind: cells.get(kind, "lost") for kind in KINDS}

    def _deliver(
        self, entry: ConnectorEntry, lane: Lane, batch: Batch, event: Mapping[str, Any]
    ) -> str:
        packed = entry.sink.pack(batch.events, lane.part, self.secrets)
        if packed.unpackable:
            return f"{packed.unpackable[0].reason}: {packed.unpackable[0].detail}"
        (request,) = packed.requests
        return self._try(entry, request, event)

    def _try(self, entry: ConnectorEntry, request: Request, event: Mapping[str, Any]) -> str:
        if isinstance(request, FileWrite):
            return _write(request, event)
        return self._post(entry, request, event["id"])

    def _post(self, entry: ConnectorEntry, request: HttpRequest, event_id: str) -> str:
        answer = self.exchange.send(request, _EXCHANGE_SECONDS)
        if entry.sink.judge(answer) is not Verdict.DELIVERED:
            return f"refused: {answer.status or answer.error} {answer.body.decode()}"
        kept = self.sandbox.accepted_ids(entry.settings.kind)
        return ACCEPTED if event_id in kept else f"dropped, though answered {answer.status}"


def _event_of(event_type: str) -> Mapping[str, Any]:
    """A sample of the type; one of an unknown type has fields that nobody knows."""
    seed = zlib.crc32(event_type.encode())
    if event_type in event_types():
        return sample_event(event_type, seed)
    survey = {"survey_id": "survey-1", "answers": ["yes", "no"]}
    like = sample_event("users.messages.email.Open", seed, properties=survey)
    return {**like, "event_type": event_type}


def _write(file: FileWrite, event: Mapping[str, Any]) -> str:
    write_whole(file.path, file.body, file.credentials)
    return _read_back(Path(file.path).read_bytes(), event)


def _read_back(content: bytes, event: Mapping[str, Any]) -> str:
    """What a reader finds who knows the schemas of the catalogue."""
    reader = fastavro.reader(io.BytesIO(content))
    lacking = {name for record in reader for name, value in record.items() if value is None}
    documented = _documented_schema(event["event_type"], lacking)
    written: Any = reader.writer_schema
    if (written["name"], written["fields"]) != (documented["name"], documented["fields"]):
        return f"written as {written['name']} {written['fields']}"
    records = list(fastavro.reader(io.BytesIO(content), documented))
    found = [record["id"] for record in records]
    return ACCEPTED if found == [event["id"]] else f"holds {found}"


def _documented_schema(event_type: str, lacking: Collection[str]) -> Mapping[str, Any]:
    """The catalogue's schema; what storage requires may be null where the event lacks it."""
    known = event_types().get(event_type)
    described: list[Mapping[str, Any]] = []
    for name, field_type, nullable in known.storage_fields if known else _OF_UNKNOWN_TYPES:
        avro_type = _ARRAYS.get(field_type, field_type)
        if nullable or name in lacking:
            described.append({"name": name, "type": ["null", avro_type], "default": None})
        else:
            described.append({"name": name, "type": avro_type})
    return {"type": "record", "name": f"dataexport.LOCAL.inner.{event_type}", "fields": described}


def render(matrix: Mapping[str, Row]) -> Iterator[str]:
    """The matrix as lines of text, a row for each type, and the sums of each kind."""
    width = max(map(len, matrix))
    columns = {kind: max(len(kind), *(len(row[kind]) for row in matrix.values())) for kind in KINDS}
    yield "  ".join([" " * width, *(kind.ljust(columns[kind]) for kind in KINDS)]).rstrip()
    for event_type, row in matrix.items():
        cells = [row[kind].ljust(columns[kind]) for kind in KINDS]
        yield "  ".join([event_type.ljust(width), *cells]).rstrip()
    yield ""
    yield from _sums(matrix)


def _sums(matrix: Mapping[str, Row]) -> Iterator[str]:
    for kind in KINDS:
        counts = Counter(row[kind] for row in matrix.values())
        said = ", ".join(f"{count} {cell}" for cell, count in sorted(counts.items()))
        yield f"{kind}: {said}"


def defects(matrix: Mapping[str, Row]) -> list[str]:
    """The cells that are neither accepted nor filtered for a documented reason."""
    return [
        f"{event_type} at {kind}: {cell}"
        for event_type, row in matrix.items()
        for kind, cell in row.items()
        if cell not in _DOCUMENTED
    ]


def main() -> int:
    """Print the matrix with unnamed events skipped, and its sums with them sent raw."""
    skipped, raw = fill("skip"), fill("raw")
    lines = [*render(skipped), "", "With unnamed_events: raw", *_sums(raw)]
    found = defects(skipped) + defects(raw)
    lines += ["", *(found or ["Every event is accepted, or filtered for a documented reason."])]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
