"""The embedded server: Pub/Sub's gRPC services on a loopback port, in this process."""

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import grpc

from sandbox.pubsub.broker import Broker
from sandbox.pubsub.outage import Outage
from sandbox.pubsub.services import Services

HOST = "127.0.0.1"
# A streaming pull takes two threads, a waiting pull one; they are made as they are needed.
MAX_THREADS = 256
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # else a taken port would be shared without a word
]


class EmbeddedPubSub:
    """Serves Publisher and Subscriber while the `with` block lasts; forgets all at its end."""

    name: ClassVar[str] = "embedded"

    def __init__(self, port: int = 0, broker: Broker | None = None) -> None:
        """Port 0 takes a free one; a broker of one's own has a clock of one's own."""
        self._broker = broker or Broker()
        self._outage = Outage()
        self._executor = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="embedded-pubsub")
        self._port = port

    def __enter__(self) -> "EmbeddedPubSub":
        services = Services(self._broker, self._outage, self._executor)
        self._server = grpc.server(self._executor, services.handlers(), options=_OPTIONS)
        self._port = self._server.add_insecure_port(self.address)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=0).wait()
        self._executor.shutdown()

    @property
    def address(self) -> str:
        """What PUBSUB_EMULATOR_HOST takes."""
        return f"{HOST}:{self._port}"

    def outstanding(self, subscription: str) -> int:
        """Messages of a subscription (full name) not yet acknowledged, delivered or not."""
        return self._broker.subscription(subscription).outstanding()

    def acknowledged(self, subscription: str) -> int:
        """Messages of a subscription (full name) acknowledged so far."""
        return self._broker.subscription(subscription).acknowledged()

    def leased(self, subscription: str) -> int:
        """Messages of a subscription (full name) that a consumer has, or had when it left."""
        return self._broker.subscription(subscription).leased()

    def unacknowledged(self, subscription: str) -> list[bytes]:
        """The data of a subscription's messages not yet acknowledged, in order of publishing."""
        messages = self._broker.subscription(subscription).unacknowledged()
        return [message.data for message in messages]

    def fail(self, seconds: float | None = None) -> None:
        """End open pulls with UNAVAILABLE and answer so to every call, for a time or until healed."""
        self._outage.begin(seconds)

    def heal(self) -> None:
        self._outage.end()
