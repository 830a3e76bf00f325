"""Treasure Data: the Postback API, where one request becomes one row of a table."""

from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit

from schemas.connector import Connector, Url
from schemas.limits import MAX_REQUEST_BYTES
from schemas.secret import FORMS, SecretRef, Secrets
from sinks.envelope import pack_events
from sinks.secret_url import refuse_literal_key, resolve_url
from sinks.sink import Limits, Packed, Sink

_HEADERS = {"Content-Type": "application/json"}


class TreasureDataConnector(Connector, frozen=True, kw_only=True):
    """Settings of a Treasure Data table.

    The key stands in the URL (`td_write_key`), which is then a secret, or is a `write_key` that
    goes in a header; `records.in.treasuredata.com` takes it from a header only ("Postback API v2").
    """

    kind: Literal["treasure_data"] = "treasure_data"
    url: Url
    """The table's whole postback URL; a secret where it holds the `td_write_key`."""
    write_key: SecretRef | None = None
    """`<account>/<key>`, sent as `X-TD-Write-Key`, where the URL holds none."""

    def __post_init__(self) -> None:
        refuse_literal_key(self.url, "td_write_key")
        if self.write_key is None and _is_theirs(self.url):
            # A missing key is answered 200 too, and every row would be lost unseen.
            raise ValueError(f"the URL holds no key, so a write_key is needed, given as {FORMS}")

    def identities(self) -> Sequence[str]:
        return [f"{self.url} {self.write_key}"]


def _is_theirs(url: Url) -> bool:
    """Whether the URL is one of Treasure Data itself, rather than of a stand-in or a proxy."""
    host = "" if url.is_secret else urlsplit(url).hostname or ""
    return host.endswith(".treasuredata.com")


class TreasureDataSink(Sink[TreasureDataConnector]):
    """POSTs the envelope: all events of a request lie in the column `events` of one row.

    A wrong key is answered 200, for keys are checked later ("Postback API"). The limit of a body is
    1,048,064 bytes on the v2 host and unpublished on the older one; ours lies below it.
    """

    kind = "treasure_data"
    settings_type = TreasureDataConnector
    needs_external_user_id = True
    tells_users_by = frozenset({"external_user_id"})
    proves_delivery = False
    limits = Limits(
        max_events=100,
        max_request_bytes=MAX_REQUEST_BYTES,
        most_request_bytes=MAX_REQUEST_BYTES,
        batch_window_seconds=10,
    )

    def encode(self, events: Sequence[bytes], part: str, secrets: Secrets) -> Packed:  # noqa: ARG002
        return pack_events(
            events,
            resolve_url(self.settings.url, self.settings.endpoint, secrets),
            self._headers(secrets),
            self.max_request_bytes,
            self.max_events,
        )

    def probe(self, part: str, secrets: Secrets) -> None:
        """Return None: a request of zero events would add a row, and says nothing about the key."""

    def _headers(self, secrets: Secrets) -> Mapping[str, str]:
        if self.settings.write_key is None:
            return _HEADERS
        return {**_HEADERS, "X-TD-Write-Key": secrets[self.settings.write_key]}
