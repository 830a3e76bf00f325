"""Receipts: acknowledge a pull when all that came of it has met its end.

Used where the engine does not acknowledge after its own commit (DirectRunner). Opening and settling
are sets, for bundles are retried: settling twice changes nothing, and decoding a pull again voids
the tokens of the earlier decoding, whose outputs the engine dropped.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from schemas.batch import Token

MAX_OUTSTANDING_MESSAGES = 20_000
MAX_OUTSTANDING_BYTES = 128_000_000
"""What is read and not acknowledged at the most; beyond half of it, lanes flush early."""

Acknowledge = Callable[[], None]

_DECODING = ""
"""The ordinal that stands for the decoding itself."""


@dataclass
class _Receipt:
    acknowledge: Acknowledge
    messages: int
    size: int
    reading: int = 0
    open: set[str] = field(default_factory=lambda: {_DECODING})


class Receipts:
    """The pulls that are not acknowledged yet; one a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._receipts: dict[int, _Receipt] = {}
        self._last = 0
        self._messages = 0
        self._bytes = 0

    @property
    def outstanding(self) -> int:
        """Messages that were read and are not acknowledged."""
        return self._messages

    @property
    def is_pressed(self) -> bool:
        """Whether so much is outstanding that lanes must not wait for their batch window."""
        return self._is_over(2)

    @property
    def is_filling(self) -> bool:
        """Whether so much is outstanding that what only waits for the hold must go there now."""
        return self._is_over(4)

    def _is_over(self, divisor: int) -> bool:
        return (
            self._messages > MAX_OUTSTANDING_MESSAGES // divisor
            or self._bytes > MAX_OUTSTANDING_BYTES // divisor
        )

    def issue(self, messages: int, size: int, acknowledge: Acknowledge) -> int:
        """Return the number of a new receipt for messages of `size` bytes together.

        `acknowledge` is called once, when all that came of them is settled.
        """
        with self._lock:
            self._last += 1
            self._receipts[self._last] = _Receipt(acknowledge, messages, size)
            self._messages += messages
            self._bytes += size
            return self._last

    def begin(self, receipt: int) -> int:
        """Say that a pull is being decoded (again); return the reading for its tokens."""
        with self._lock:
            found = self._receipts.get(receipt)
            if found is None:
                return 0
            found.reading += 1
            found.open = {_DECODING}
            return found.reading

    def open(self, token: Token) -> None:
        """Add a share that has to be settled before the pull is acknowledged."""
        with self._lock:
            found = self._receipts.get(token.receipt)
            if found is not None and found.reading == token.reading:
                found.open.add(token.ordinal)

    def fork(self, tokens: Sequence[Token]) -> list[Token]:
        """Open and return a second share beside each token, for what goes another way.

        A bundle that is retried forks the same tokens to the same second shares.
        """
        forked = [token._replace(ordinal=f"{token.ordinal}+") for token in tokens]
        for token in forked:
            self.open(token)
        return forked

    def unfork(self, tokens: Iterable[Token]) -> None:
        """Void what an earlier try of the bundle may have forked, and this one did not."""
        self.settle(token._replace(ordinal=f"{token.ordinal}+") for token in tokens)

    def decoded(self, receipt: int, reading: int) -> None:
        """Say that all shares of the pull are open."""
        self.settle([Token(receipt, reading, _DECODING)])

    def settle(self, tokens: Iterable[Token]) -> None:
        """Settle shares; acknowledges the pulls of which nothing is outstanding any more."""
        done: list[_Receipt] = []
        with self._lock:
            for token in tokens:
                found = self._receipts.get(token.receipt)
                if found is None or found.reading != token.reading:
                    continue
                found.open.discard(token.ordinal)
                if not found.open:
                    done.append(self._receipts.pop(token.receipt))
                    self._messages -= found.messages
                    self._bytes -= found.size
        for found in done:
            found.acknowledge()
