"""Postback: the customer's own HTTPS endpoint ("Custom Currents Export" of the platform)."""

from collections.abc import Mapping, Sequence
from typing import Literal

from schemas.connector import Connector, Url
from schemas.limits import MAX_REQUEST_BYTES
from schemas.secret import SecretRef, Secrets
from sinks.envelope import HEADERS, empty_request, pack_events
from sinks.sink import HttpRequest, Limits, Packed, Sink


class PostbackConnector(Connector, frozen=True, kw_only=True):
    """Settings of a postback."""

    kind: Literal["postback"] = "postback"
    url: Url
    """Where events are posted, its query string as it is; a secret where it holds a key."""
    token: SecretRef | None = None
    """What is sent as `Authorization: Bearer`."""

    def identities(self) -> Sequence[str]:
        return [f"{self.url} {self.token}"]


class PostbackSink(Sink[PostbackConnector]):
    """POSTs the envelope to the customer's URL, with a bearer token where one is set.

    Up to 100 events a request; the URL's query string is kept as it is (Braze, "Custom Currents
    Export"). Users without an `external_user_id` are exported too: no filter is documented.
    """

    kind = "postback"
    settings_type = PostbackConnector
    needs_external_user_id = False
    proves_delivery = True
    limits = Limits(
        max_events=100,
        max_request_bytes=MAX_REQUEST_BYTES,
        most_request_bytes=MAX_REQUEST_BYTES,
        batch_window_seconds=10,
    )

    def encode(self, events: Sequence[bytes], part: str, secrets: Secrets) -> Packed:  # noqa: ARG002
        return pack_events(
            events,
            self._url(secrets),
            self._headers(secrets),
            self.max_request_bytes,
            self.max_events,
        )

    def probe(self, part: str, secrets: Secrets) -> HttpRequest:  # noqa: ARG002
        return empty_request(self._url(secrets), self._headers(secrets))

    def _url(self, secrets: Secrets) -> str:
        url = self.settings.url
        return secrets[url] if url.is_secret else str(url)

    def _headers(self, secrets: Secrets) -> Mapping[str, str]:
        if self.settings.token is None:
            return HEADERS
        return {**HEADERS, "Authorization": f"Bearer {secrets[self.settings.token]}"}
