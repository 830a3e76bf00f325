"""The bar of `stream`: a bare google-cloud-pubsub subscriber that does the same three deliveries.

    .venv/bin/python -m benchmarks.bare_subscriber SUBSCRIPTION RECEIVER [--unary]

gathers messages for a window of 1 s, or 10,000 of them, delivers them as the bare loop does (see
`benchmarks.bare_deliveries`), and acknowledges them once the partners have answered. It reads with the
client library's streaming pull or, with `--unary`, by pull requests, one ahead of what is delivered,
whose messages are read without the library's wrappers. SIGINT ends it.
"""

import argparse
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1

from benchmarks.bare_deliveries import ThreeKinds
from benchmarks.partners import THREE_KINDS

WINDOW_SECONDS = 1.0
MOST_MESSAGES = 10_000
MOST_BYTES = 100_000_000
PULL_MESSAGES = 1_000


def main() -> None:
    """Deliver what comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subscription")
    parser.add_argument("receiver", help="the receiver's address")
    parser.add_argument("--unary", action="store_true")
    arguments = parser.parse_args()
    stopped = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stopped.set())
    deliveries = ThreeKinds(arguments.receiver, THREE_KINDS)
    read = _read_unary if arguments.unary else _read_streaming
    read(arguments.subscription, deliveries, stopped.is_set)
    deliveries.close()


def _read_streaming(
    subscription: str, deliveries: ThreeKinds, is_stopped: Callable[[], bool]
) -> None:
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
    client = pubsub_v1.SubscriberClient()
    future = client.subscribe(
        subscription,
        arrived.put,
        flow_control=pubsub_v1.types.FlowControl(
            max_messages=2 * MOST_MESSAGES, max_bytes=MOST_BYTES
        ),
    )
    while not is_stopped():
        messages = _gather(arrived)
        deliveries.add([message.data for message in messages])
        deliveries.flush()
        deliveries.settle()
        for message in messages:
            message.ack()
    future.cancel()
    future.result()


def _gather(arrived: "queue.SimpleQueue[Any]") -> Sequence[Any]:
    """The messages of a window that begins with the first of them."""
    messages: list[Any] = []
    until = time.monotonic() + WINDOW_SECONDS
    while len(messages) < MOST_MESSAGES:
        try:
            messages.append(arrived.get(timeout=max(0.0, until - time.monotonic())))
        except queue.Empty:
            break
    return messages


def _read_unary(subscription: str, deliveries: ThreeKinds, is_stopped: Callable[[], bool]) -> None:
    client = pubsub_v1.SubscriberClient()
    with ThreadPoolExecutor(2) as pool:
        coming: Future[Sequence[Any]] = pool.submit(_pull, client, subscription)
        ids: list[str] = []
        until = time.monotonic() + WINDOW_SECONDS
        while not is_stopped():
            messages = coming.result()
            coming = pool.submit(_pull, client, subscription)
            deliveries.add([received.message.data for received in messages])
            ids += [received.ack_id for received in messages]
            if time.monotonic() >= until or len(ids) >= MOST_MESSAGES:
                deliveries.flush()
                deliveries.settle()
                if ids:
                    pool.submit(client.acknowledge, subscription=subscription, ack_ids=ids)
                ids, until = [], time.monotonic() + WINDOW_SECONDS


def _pull(client: pubsub_v1.SubscriberClient, subscription: str) -> Sequence[Any]:
    request = {"subscription": subscription, "max_messages": PULL_MESSAGES}
    try:
        response = client.pull(request=request, timeout=WINDOW_SECONDS, retry=None)
    except DeadlineExceeded:
        return []
    found: Sequence[Any] = pubsub_v1.types.PullResponse.pb(response).received_messages
    return found


if __name__ == "__main__":
    main()
