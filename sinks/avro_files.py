"""Avro files in a bucket or folder, laid out as the platform's storage connectors lay them out."""

import hashlib
import io
import re
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import quote

import fastavro
import msgspec

from schemas.catalogue import CURRENTS_VERSION
from schemas.connector import Connector
from schemas.event import EventHeader
from schemas.secret import SecretRef, Secrets
from sinks.avro_record import Record, Unwritable, lacking_fields, schema_of, to_record
from sinks.packing import Envelope, fill, fits_alone
from sinks.sink import FileWrite, Filtered, Limits, Packed, Sink, Unpackable

MAX_NAME_CHARS = 120
"""Of an event type in a path: file systems take 255 bytes a name, and types come from messages."""

_STORAGES = {"gs": "GCS", "s3": "S3", "az": "AzureBlob"}
_PATH = re.compile(r"(?:gs|s3|az)://[^/]+.*|(?!.*://).+", re.DOTALL)
_HOUR = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{2}")
_LINES = Envelope(prefix=b"", suffix=b"", separator=b"")

PathWord = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{1,63}$")]


class AvroFilesConnector(Connector, frozen=True, kw_only=True):
    """Settings of a storage connector; `cluster` and `environment` are words of its paths."""

    kind: Literal["avro_files"] = "avro_files"
    path: str
    """The folder below which files are laid out: `gs://bucket/…`, `s3://…`, `az://…` or local."""
    credentials: SecretRef | None = None
    """A Google service account's JSON, for `gs://`; elsewhere, and by default, the worker's own."""
    cluster: PathWord = "prod-01"
    """A word of the path, as the platform's `dataexport.<cluster>…`."""
    environment: PathWord = "us-01"
    """A word of the path, after its version."""
    codec: Literal["deflate", "none"] = "deflate"
    """How blocks are compressed; what the platform uses is not published, its samples are not."""

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise ValueError("a path is a local folder, or gs://bucket/…, s3://… or az://…")
        if "\n" in self.cluster + self.environment:
            raise ValueError("cluster and environment are words of a path")
        if self.credentials and not self.path.startswith("gs://"):
            raise ValueError(
                "credentials are a Google service account's, for gs:// paths; elsewhere the worker's "
                "own are used"
            )

    def storage_places(self) -> Sequence[str]:
        return [self.path]

    @property
    def storage(self) -> str:
        """The kind of storage, as paths and record names call it."""
        return _STORAGES.get(self.path.partition("://")[0], "LOCAL")


class AvroFilesSink(Sink[AvroFilesConnector]):
    """Writes one event type and UTC hour of publishing to a file (Braze, "Event delivery semantics").

    A file takes 15,000 events, or 16 MB of them. Its name follows from its events, so that a batch
    that is tried again writes the file that is there already.
    """

    kind = "avro_files"
    settings_type = AvroFilesConnector
    needs_external_user_id = False
    proves_delivery = True
    rate_unit = None  # event types and hours make lanes, and how many cannot be foreseen
    limits = Limits(
        max_events=15_000,
        max_request_bytes=16_000_000,
        most_request_bytes=16_000_000,
        batch_window_seconds=300,
    )

    def __init__(self, settings: AvroFilesConnector) -> None:
        super().__init__(settings)
        self._codec = "null" if settings.codec == "none" else settings.codec
        self._redacted = settings.redact.fields if settings.redact else frozenset()

    def place(self, header: EventHeader, event_type: str, hour: str) -> str | Filtered:  # noqa: ARG002
        return f"{event_type}/{hour}"

    def has_part(self, part: str) -> bool:
        event_type, _, hour = part.rpartition("/")
        return bool(event_type) and _HOUR.fullmatch(hour) is not None

    def hold_part(self, part: str) -> str:  # noqa: ARG002
        """All that is held of a connector is one queue: types and hours would make thousands."""
        return ""

    def encode(self, events: Sequence[bytes], part: str, secrets: Secrets) -> Packed:
        event_type, _, hour = part.rpartition("/")
        written, unpackable = self._to_records(events, event_type)
        runs = fill(
            (len(event) for event, _ in written), _LINES, self.max_request_bytes, self.max_events
        )
        files = [self._file(written[start:end], event_type, hour, secrets) for start, end in runs]
        return Packed(files, unpackable)

    def probe(self, part: str, secrets: Secrets) -> None:
        """Return None: every file that is written stays for the partner's readers to find."""

    def _to_records(
        self, events: Sequence[bytes], event_type: str
    ) -> tuple[list[tuple[bytes, Record]], list[Unpackable]]:
        written, unpackable = [], []
        for event in events:
            if not fits_alone(len(event), _LINES, self.max_request_bytes):
                unpackable.append(_too_large(event, self.max_request_bytes))
                continue
            try:
                written.append((event, to_record(event, event_type, self._redacted)))
            except Unwritable as error:
                unpackable.append(Unpackable(event, "unencodable", str(error)))
        return written, unpackable

    def _file(
        self, written: Sequence[tuple[bytes, Record]], event_type: str, hour: str, secrets: Secrets
    ) -> FileWrite:
        events = [event for event, _ in written]
        digest = hashlib.sha256(b"\n".join(events))
        credentials = self.settings.credentials
        return FileWrite(
            path=self._path(event_type, hour, digest.hexdigest()[:16]),
            body=self._content([record for _, record in written], event_type, digest.digest()[:16]),
            events=events,
            credentials=None if credentials is None else secrets[credentials],
        )

    def _path(self, event_type: str, hour: str, suffix: str) -> str:
        """`…/event_type=…/date=…/version=…/<environment>/<source>+<partition>+<suffix>.avro`."""
        settings = self.settings
        source = f"dataexport.{settings.cluster}.{settings.storage}.integration.{settings.name}"
        return (
            f"{settings.path.rstrip('/')}/{source}/event_type={path_name(event_type)}/date={hour}"
            f"/version={CURRENTS_VERSION}/{settings.environment}/{source}+0+{suffix}.avro"
        )

    def _content(self, records: Sequence[Record], event_type: str, sync_marker: bytes) -> bytes:
        lacking = lacking_fields(event_type, records)
        schema = schema_of(event_type, self.settings.storage, lacking)
        file = io.BytesIO()
        fastavro.writer(file, schema, records, codec=self._codec, sync_marker=sync_marker)
        return file.getvalue()


def path_name(event_type: str) -> str:
    """The event type as one name of a path, whatever a message put there."""
    name = quote(event_type, safe="").replace("~", "%7E")
    if not name.strip("."):
        name = name.replace(".", "%2E")
    if len(name) <= MAX_NAME_CHARS:
        return name
    digest = hashlib.sha256(event_type.encode()).hexdigest()[:16]
    return f"{name[: MAX_NAME_CHARS - len(digest) - 1]}-{digest}"


def _too_large(event: bytes, max_bytes: int) -> Unpackable:
    detail = f"{len(event)} bytes, a file takes {max_bytes}"
    return Unpackable(event, "too_large", detail, len(event), max_bytes)
