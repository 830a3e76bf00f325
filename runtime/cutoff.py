"""The deadline of an exchange, and the errors of one that ends without an answer."""

import time


class ExchangeFailed(Exception):
    """There is no answer; the text says why, and holds nothing of the request or of what came."""


class DeadlinePassed(ExchangeFailed):
    """The deadline has passed."""


class Cutoff:
    """The moment by which all of an exchange is over: every wait within it asks how long it may be."""

    __slots__ = ("deadline", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        """How much there was in the beginning."""
        self.deadline = time.monotonic() + seconds
        """By the monotonic clock."""

    def part(self, among: int) -> "Cutoff":
        """The deadline of the next of so many attempts that share what is left."""
        return Cutoff(self.seconds_left() / among)

    def seconds_left(self) -> float:
        """Always more than nothing.

        Raises:
            DeadlinePassed: there is nothing left.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlinePassed
        return left
