"""Reading Pub/Sub where the engine's own reader acknowledges too early: a streaming pull with receipts.

The client library keeps the leases of what was read; a message is acknowledged when its receipt is
settled.
"""

import concurrent.futures
import contextlib
import logging
import queue
import time
from collections.abc import Callable, Sequence
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import GoogleAuthError
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.message import Message
from google.cloud.pubsub_v1.subscriber.scheduler import Scheduler

from runtime.receipts import MAX_OUTSTANDING_BYTES, MAX_OUTSTANDING_MESSAGES, Receipts
from schemas.pull import Pull

MAX_PULL_MESSAGES = 4_000
MAX_PULL_BYTES = 4_000_000
MAX_LEASE_SECONDS = 6 * 3_600
LEASE_SECONDS = 20
"""How long a lease is extended at a time: how long a crash delays what it had read."""
IDLE_SECONDS = 0.05
"""How long a pull waits for messages: shorter burns processor time, longer delays timers."""
FEW_MESSAGES = 100
"""A pull of fewer waits for more: each pull costs DirectRunner's only thread a bundle for each lane."""
CLOSE_SECONDS = 10

_HOUR_MS = 3_600_000

_logger = logging.getLogger(__name__)


class _AtOnce(Scheduler):  # type: ignore[misc] # of an untyped library
    """Runs a callback where its message arrives: ours only queues it, for which a thread pool is dear."""

    def __init__(self) -> None:
        self._requests: queue.Queue[Any] = queue.Queue()

    @property
    def queue(self) -> "queue.Queue[Any]":
        """What callbacks ask of the client library: acknowledgements and the like."""
        return self._requests

    def schedule(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        callback(*args, **kwargs)

    def shutdown(self, await_msg_callbacks: bool = False) -> list[Message]:  # noqa: ARG002
        """Return no messages, for none is left undone."""
        return []


class _PatientClient(pubsub_v1.SubscriberClient):  # type: ignore[misc] # of an untyped library
    """Acknowledges and extends leases however long Pub/Sub is away.

    The library gives up after a minute, and ends the stream then.
    """

    def acknowledge(self, *args: Any, **kwargs: Any) -> None:
        _until_reached(super().acknowledge, *args, **kwargs)

    def modify_ack_deadline(self, *args: Any, **kwargs: Any) -> None:
        _until_reached(super().modify_ack_deadline, *args, **kwargs)


def _until_reached(call: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    while True:
        with contextlib.suppress(RetryError):
            return call(*args, **kwargs)


class Subscriber:
    """One subscription's messages, as pulls."""

    def __init__(self, subscription: str, receipts: Receipts) -> None:
        self._receipts = receipts
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._next: Message | None = None
        self._stopped = False
        self._client = _PatientClient()
        self._future = self._client.subscribe(
            subscription,
            self._queue.put,
            flow_control=pubsub_v1.types.FlowControl(
                max_messages=MAX_OUTSTANDING_MESSAGES,
                max_bytes=MAX_OUTSTANDING_BYTES,
                max_lease_duration=MAX_LEASE_SECONDS,
                min_duration_per_lease_extension=LEASE_SECONDS,
                max_duration_per_lease_extension=LEASE_SECONDS,
            ),
            scheduler=_AtOnce(),
        )

    @property
    def stopped(self) -> bool:
        return self._stopped

    def pull(self) -> Pull | None:
        """The messages that are there, all of one UTC hour; None if there are none for a moment.

        After `stop` there are none.

        Raises:
            GoogleAPICallError: the subscription cannot be read at all (gone, or not allowed).
        """
        messages = [] if self._stopped else self._take()
        if not messages:
            self._raise_if_broken()
            return None
        times = [_publish_ms(message) for message in messages]
        data = [message.data for message in messages]
        receipt = self._receipts.issue(
            len(messages), sum(map(len, data)), lambda: _acknowledge(messages)
        )
        return Pull(min(times), max(times), data, receipt)

    def stop(self) -> None:
        """Hand out no more; the stream stays open, for it carries the acknowledgements."""
        self._stopped = True

    def close(self) -> None:
        """End the stream, after the acknowledgements on their way; what was not handed out goes back.

        Where Pub/Sub cannot be reached they stay on their way until the process ends: then what they
        were for comes once more. The library's threads still try, and need the client for it.
        """
        self._stopped = True
        while (message := self._next or self._get_nowait()) is not None:
            self._next = None
            message.nack()
        self._future.cancel()
        try:
            with contextlib.suppress(GoogleAPICallError, RetryError, GoogleAuthError):
                self._future.result(timeout=CLOSE_SECONDS)
        except concurrent.futures.TimeoutError:
            _logger.error("Pub/Sub cannot be reached: what was not acknowledged comes once more")
            return
        self._client.close()

    def _take(self) -> list[Message]:
        until = time.monotonic() + IDLE_SECONDS
        first = self._next or self._wait_for_one(until)
        self._next = None
        if first is None:
            return []
        messages, size = [first], len(first.data)
        hour = _publish_ms(first) // _HOUR_MS
        while len(messages) < MAX_PULL_MESSAGES and size < MAX_PULL_BYTES:
            message = self._get_nowait()
            if message is None and len(messages) < FEW_MESSAGES:
                message = self._wait_for_one(until)
            if message is None:
                break
            if _publish_ms(message) // _HOUR_MS != hour:
                self._next = message
                break
            messages.append(message)
            size += len(message.data)
        return messages

    def _wait_for_one(self, until: float) -> Message | None:
        try:
            return self._queue.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None

    def _get_nowait(self) -> Message | None:
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return None

    def _raise_if_broken(self) -> None:
        if self._future.done() and not self._stopped:
            error: Any = self._future.exception()
            raise error or RuntimeError("the subscription's stream ended")


def _publish_ms(message: Message) -> int:
    return int(message.publish_time.timestamp() * 1_000)


def _acknowledge(messages: Sequence[Message]) -> None:
    for message in messages:
        message.ack()
