"""RudderStack: the webhook of a source of the kind "Braze", on the customer's data plane."""

from collections.abc import Sequence
from typing import Literal

from schemas.connector import Connector, Url
from schemas.limits import MAX_REQUEST_BYTES
from schemas.secret import Secrets
from sinks.envelope import HEADERS, empty_request, pack_events
from sinks.secret_url import refuse_literal_key, resolve_url
from sinks.sink import Answer, HttpRequest, Limits, Packed, Sink, Verdict


class RudderStackConnector(Connector, frozen=True, kw_only=True):
    """Settings of a RudderStack source; the URL holds the write key, hence is a reference."""

    kind: Literal["rudderstack"] = "rudderstack"
    url: Url
    """The webhook's whole URL with its `writeKey`, hence a secret."""
    region: Literal["us", "eu"] | None = None
    """Informational: the URL names the data plane."""

    def __post_init__(self) -> None:
        refuse_literal_key(self.url, "writeKey")

    def identities(self) -> Sequence[str]:
        return [self.url]


class RudderStackSink(Sink[RudderStackConnector]):
    """POSTs the envelope to the webhook, of users with an `external_user_id` only (RudderStack).

    200 says that at least one event of the request was taken: events that RudderStack cannot map
    are skipped without a word (rudder-transformer, `sources/braze`). Those that are documented, no
    type or no user, never leave here; the others cannot be ruled out, so 200 is no proof.
    """

    kind = "rudderstack"
    settings_type = RudderStackConnector
    needs_external_user_id = True
    tells_users_by = frozenset({"external_user_id", "user_id"})
    proves_delivery = False
    limits = Limits(
        max_events=100,
        max_request_bytes=MAX_REQUEST_BYTES,
        most_request_bytes=MAX_REQUEST_BYTES,
        batch_window_seconds=10,
    )

    def encode(self, events: Sequence[bytes], part: str, secrets: Secrets) -> Packed:  # noqa: ARG002
        return pack_events(
            events, self._url(secrets), HEADERS, self.max_request_bytes, self.max_events
        )

    def probe(self, part: str, secrets: Secrets) -> HttpRequest:  # noqa: ARG002
        return empty_request(self._url(secrets), HEADERS)

    def judge_probe(self, answer: Answer) -> Verdict:
        """Judge the answer to zero events: 400 comes after the key was found good.

        A wrong key is answered 401, a disabled source 404; with a good key there is no event that
        could be mapped, which is answered 400 (rudder-transformer, `process`).
        """
        return Verdict.DELIVERED if answer.status == 400 else self.judge(answer)

    def what_probe_proves(self, answer: Answer) -> str:
        if self.judge_probe(answer) is Verdict.DELIVERED:
            return "the address answers and takes the write key"
        return super().what_probe_proves(answer)

    def _url(self, secrets: Secrets) -> str:
        return resolve_url(self.settings.url, self.settings.endpoint, secrets)
