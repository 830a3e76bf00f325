"""Reading Pub/Sub where the engine's own reader acknowledges too early: pulls with receipts.

Threads of its own read ahead; a message is acknowledged when its receipt is settled, and leased until
then.
"""

import logging
import queue
import threading
import time
from typing import NamedTuple

from runtime.leases import Leases
from runtime.receipts import MAX_OUTSTANDING_BYTES, MAX_OUTSTANDING_MESSAGES, Receipts
from runtime.repeating import Repeating
from runtime.subscription_calls import SubscriptionCalls, published_ms
from schemas.pull import Pull

MAX_PULL_MESSAGES = 4_000
MAX_PULL_BYTES = 4_000_000
IDLE_SECONDS = 0.05
"""How long a pull waits for messages: shorter burns processor time, longer delays timers."""
FEW_MESSAGES = 100
"""A pull of fewer waits for more: each pull costs DirectRunner's only thread a bundle for each lane."""
READERS = 2
"""Threads that read: while one takes in what has come, Pub/Sub can answer the other."""
MAX_CALL_MESSAGES = 1_000
WAIT_SECONDS = 20
"""How long a call waits where there is no message."""
PAUSE_SECONDS = 0.05
"""Where there is no room, or a call is answered at once with nothing."""
AGAIN_SECONDS = 0.5
"""Where Pub/Sub cannot be reached."""
LOOK_SECONDS = 0.1
"""So often acknowledgements are sent and leases looked at."""

_HOUR_MS = 3_600_000

_logger = logging.getLogger(__name__)


class _Message(NamedTuple):
    published_ms: int
    data: bytes
    ack_id: str


class Subscriber:
    """One subscription's messages, as pulls."""

    def __init__(self, subscription: str, receipts: Receipts) -> None:
        self._receipts = receipts
        self._queue: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._next: _Message | None = None
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._reading = SubscriptionCalls(subscription)
        self._calls = SubscriptionCalls(subscription)
        self._leases = Leases(self._calls, time.monotonic)
        self._looking = Repeating("leases", LOOK_SECONDS, self._leases.look)
        self._looking.start()
        self._readers = [
            threading.Thread(target=self._read, name="pubsub", daemon=True) for _ in range(READERS)
        ]
        for reader in self._readers:
            reader.start()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def pull(self) -> Pull | None:
        """The messages that are there, all of one UTC hour; None if there are none for a moment.

        After `stop` there are none.

        Raises:
            GoogleAPICallError: the subscription cannot be read at all (gone, or not allowed).
        """
        messages = [] if self.stopped else self._take()
        if not messages:
            if self._error is not None and not self.stopped:
                raise self._error
            return None
        times = [message.published_ms for message in messages]
        data = [message.data for message in messages]
        ack_ids = [message.ack_id for message in messages]
        receipt = self._receipts.issue(
            len(messages), sum(map(len, data)), lambda: self._leases.settle(ack_ids)
        )
        return Pull(min(times), max(times), data, receipt)

    def stop(self) -> None:
        """Hand out no more; what was handed out is still leased, and acknowledged when it is settled."""
        self._stopped.set()

    def close(self) -> None:
        """Send the acknowledgements that are due; what was not handed out goes back.

        Where Pub/Sub cannot be reached, what they were for comes once more.
        """
        self.stop()
        self._reading.close()
        for reader in self._readers:
            reader.join()
        while (message := self._next or self._get_nowait()) is not None:
            self._next = None
            self._leases.give_back([message.ack_id])
        self._looking.close()
        self._leases.look()
        if self._leases.is_behind:
            _logger.error("Pub/Sub cannot be reached: what was not acknowledged comes once more")
        self._calls.close()

    def _read(self) -> None:
        """Take in what comes, as long as there is room for it."""
        while not self.stopped:
            room = min(MAX_CALL_MESSAGES, MAX_OUTSTANDING_MESSAGES - self._leases.count)
            if room <= 0 or self._leases.size >= MAX_OUTSTANDING_BYTES:
                self._stopped.wait(PAUSE_SECONDS)
                continue
            try:
                received = self._reading.pull(room, WAIT_SECONDS)
            except Exception as error:  # noqa: BLE001 - it is for who pulls
                self._error = error
                return
            if received:
                lot = self._leases.add(received)
                for one in received:
                    self._queue.put(_Message(published_ms(one), one.message.data, one.ack_id))
                self._leases.extend(lot)
            else:
                self._stopped.wait(AGAIN_SECONDS if received is None else PAUSE_SECONDS)

    def _take(self) -> list[_Message]:
        until = time.monotonic() + IDLE_SECONDS
        first = self._next or self._wait_for_one(until)
        self._next = None
        if first is None:
            return []
        messages, size = [first], len(first.data)
        hour = first.published_ms // _HOUR_MS
        while len(messages) < MAX_PULL_MESSAGES and size < MAX_PULL_BYTES:
            message = self._get_nowait()
            if message is None and len(messages) < FEW_MESSAGES:
                message = self._wait_for_one(until)
            if message is None:
                break
            if message.published_ms // _HOUR_MS != hour:
                self._next = message
                break
            messages.append(message)
            size += len(message.data)
        return messages

    def _wait_for_one(self, until: float) -> _Message | None:
        try:
            return self._queue.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None

    def _get_nowait(self) -> _Message | None:
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return None
