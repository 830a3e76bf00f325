"""A consumer: an open pull or streaming pull, with what it may hold and what it holds."""

from sandbox.pubsub.refusals import Refusal


class Consumer:
    """One open pull, from its request to its end. Guarded by its subscription's lock.

    0 stands for no limit, as in `StreamingPullRequest`.
    """

    def __init__(self, lease_seconds: float, max_messages: int = 0, max_bytes: int = 0) -> None:
        self.lease_seconds = lease_seconds
        self.closed = False
        self.refusal: Refusal | None = None
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages = 0
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether it holds its limit *or more*: the last message may exceed the bytes."""
        return (0 < self._max_messages <= self._messages) or (0 < self._max_bytes <= self._bytes)

    def hold(self, size: int) -> None:
        self._messages += 1
        self._bytes += size

    def let_go(self, size: int) -> None:
        self._messages -= 1
        self._bytes -= size

    def close(self, refusal: Refusal | None) -> None:
        """Nothing more is for it; the first reason given is the one that counts."""
        if not self.closed:
            self.closed, self.refusal = True, refusal
