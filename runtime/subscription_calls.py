"""What is asked of one Pub/Sub subscription, by unary calls: pulls, acknowledgements, leases.

The client library's streaming pull takes three times the CPU a message.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.api_core.exceptions import (
    Aborted,
    DeadlineExceeded,
    GoogleAPICallError,
    InternalServerError,
    RetryError,
    ServiceUnavailable,
    TooManyRequests,
    Unknown,
)
from google.api_core.retry import Retry, if_exception_type
from google.cloud import pubsub_v1

CALL_SECONDS = 5
MAX_CALL_IDS = 1_000

Received = Any
"""A ReceivedMessage as the protocol has it, which is several times as quick to read as the library's own."""

_PASSING = (
    *(Aborted, DeadlineExceeded, InternalServerError, RetryError),
    *(ServiceUnavailable, TooManyRequests, Unknown),
)
_AGAIN = Retry(if_exception_type(*_PASSING), initial=0.1, maximum=1, timeout=CALL_SECONDS)

_logger = logging.getLogger(__name__)


class SubscriptionCalls:
    """Calls that tell of a failure that passes instead of raising it."""

    def __init__(self, subscription: str) -> None:
        self._subscription = subscription
        self._client = pubsub_v1.SubscriberClient()
        self._fails = False

    def pull(self, max_messages: int, wait_seconds: float) -> Sequence[Received] | None:
        """The messages that are there, or that come while it waits; None if Pub/Sub cannot be reached.

        Raises:
            GoogleAPICallError: the subscription cannot be read at all (gone, or not allowed).
        """
        request = {
            "subscription": self._subscription,
            "max_messages": max_messages,
            # Its deprecation is of the waste of asking often; an answer that comes when nobody waits
            # any more leases messages to nobody.
            "return_immediately": not wait_seconds,
        }
        timeout = wait_seconds or CALL_SECONDS
        try:
            answer = self._client.pull(request=request, timeout=timeout, retry=None)
        except _PASSING as error:
            if wait_seconds and isinstance(error, DeadlineExceeded):
                return []
            self._tell(error)
            return None
        self._fails = False
        received: Sequence[Received] = pubsub_v1.types.PullResponse.pb(answer).received_messages
        return received

    def acknowledge(self, ack_ids: Sequence[str]) -> Sequence[str]:
        """Returns those that could not be sent, and can be sent later; not those that are refused."""
        for start, ids in _portions(ack_ids):
            if not self._reaches(self._client.acknowledge, ack_ids=ids):
                return ack_ids[start:]
        return ()

    def lease(self, ack_ids: Sequence[str], seconds: int) -> bool:
        """Have leases end in so many seconds; with 0 the messages go back. Whether it could be sent."""
        extend = self._client.modify_ack_deadline
        return all(
            self._reaches(extend, ack_ids=ids, ack_deadline_seconds=seconds)
            for _, ids in _portions(ack_ids)
        )

    def close(self) -> None:
        """End the connection; what is under way fails."""
        self._client.close()

    def _reaches(self, method: Callable[..., Any], **arguments: Any) -> bool:
        """Whether a call could be sent, be it that it was refused: what it was for comes once more then."""
        try:
            method(subscription=self._subscription, retry=_AGAIN, timeout=CALL_SECONDS, **arguments)
        except _PASSING as error:
            self._tell(error)
            return False
        except GoogleAPICallError as error:
            _logger.error("%s: %s", self._subscription, error)
        return True

    def _tell(self, error: Exception) -> None:
        """Log the first of a row of failures."""
        if not self._fails:
            _logger.warning("%s cannot be reached: %s", self._subscription, error)
        self._fails = True


def published_ms(received: Received) -> int:
    """When a message was published, in milliseconds since the epoch."""
    time = received.message.publish_time
    return int(time.seconds) * 1_000 + int(time.nanos) // 1_000_000


def _portions(ack_ids: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    for start in range(0, len(ack_ids), MAX_CALL_IDS):
        yield start, ack_ids[start : start + MAX_CALL_IDS]
