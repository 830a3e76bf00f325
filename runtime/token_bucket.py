"""Rate limits: a lane's share of its connector's limit, and the bucket of tokens that keeps to it.

A bucket is a value in the engine's state, and the time is passed in. Who sends may run into debt: a
batch leaves while there is a token, and costs what it costs. So one that is dearer than the bucket
is deep leaves as well, and those after it wait for longer.
"""

import msgspec

from runtime.connectors import ConnectorEntry

_TICK_SECONDS = 0.001
"""Past the moment at which something is earned, for the fractions of a float to agree."""


class TokenBucket(msgspec.Struct, array_like=True, frozen=True):
    """Tokens at a moment (seconds since the epoch); fewer than none are a debt."""

    version: int
    rate: float
    """Tokens a second."""
    tokens: float
    at: float

    @property
    def has_token(self) -> bool:
        return self.tokens >= 1

    @property
    def is_full(self) -> bool:
        """Whether it is as good as no bucket."""
        return self.tokens >= _depth(self.rate)

    @property
    def token_at(self) -> float:
        """When it has a token."""
        return self._earned_at(1)

    @property
    def full_at(self) -> float:
        """When it is full, if nothing is paid before."""
        return self._earned_at(_depth(self.rate))

    def refilled(self, rate: float, now: float) -> "TokenBucket":
        """The bucket at `now`, at today's rate; a clock that was put back gives nothing."""
        earned = rate * max(0.0, now - self.at)
        return TokenBucket(VERSION, rate, min(_depth(rate), self.tokens + earned), now)

    def paid(self, units: int) -> "TokenBucket":
        return TokenBucket(VERSION, self.rate, self.tokens - units, self.at)

    def _earned_at(self, tokens: float) -> float:
        missing = tokens - self.tokens
        return self.at + missing / self.rate + _TICK_SECONDS if missing > 0 else self.at


VERSION = 1

encode_bucket = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(TokenBucket).decode


def full_bucket(rate: float, now: float) -> TokenBucket:
    """What a lane begins with."""
    return TokenBucket(VERSION, rate, _depth(rate), now)


def bucket_at(encoded: bytes | None, rate: float, now: float) -> TokenBucket:
    """The bucket that is kept, or a full one where none is, as it is at `now`."""
    return _decode(encoded).refilled(rate, now) if encoded else full_bucket(rate, now)


def lane_share(entry: ConnectorEntry, resuming: bool) -> float | None:
    """What fresh events of one lane may use a second; None where the connector has no limit.

    While its queue in the hold is `resuming` that is half as much, for the release takes the rest.
    """
    limit = entry.sink.rate_limit
    if limit is None:
        return None
    share = limit / (entry.sink.rate_parts * entry.settings.shards)
    return share / 2 if resuming else share


def release_share(entry: ConnectorEntry) -> float | None:
    """What the release of one queue may use a second; None where the connector has no limit.

    A part of the connector has one queue for all its shards, which leave it half of their shares.
    """
    limit = entry.sink.rate_limit
    return None if limit is None else limit / entry.sink.rate_parts / 2


def _depth(rate: float) -> float:
    """What can be saved up: tokens of one second, but one at least."""
    return max(1.0, rate)
