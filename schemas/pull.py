"""A pull: messages that were read together, the element that ReadEvents emits."""

from collections.abc import Iterable

import msgspec

_HOUR_MS = 3_600_000


class Pull(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Undecoded messages with what is known of their reading; all of one UTC hour of publishing.

    Times are milliseconds since the epoch.
    """

    oldest_ms: int
    newest_ms: int
    messages: list[bytes]
    receipt: int = 0
    """What to settle once all that came of the messages is done; 0 where the engine acknowledges."""
    replays: int = 0
    """How often the messages were replayed from dead letters, this time included."""
    connector: str = ""
    """The one connector that replayed messages are for; empty where they are for all."""
    paced: bool = False
    """Whether reading waits before the next pull: lanes must not wait for it."""


encode_pull = msgspec.msgpack.Encoder().encode
decode_pull = msgspec.msgpack.Decoder(Pull).decode


def merge_pulls(pulls: Iterable[Pull]) -> list[Pull]:
    """Few pulls of what many hold; only those of fresh messages, without receipts, can be merged."""
    by_hour: dict[int, list[Pull]] = {}
    for pull in pulls:
        by_hour.setdefault(pull.oldest_ms // _HOUR_MS, []).append(pull)
    return [
        Pull(
            min(pull.oldest_ms for pull in merged),
            max(pull.newest_ms for pull in merged),
            [message for pull in merged for message in pull.messages],
        )
        for merged in by_hour.values()
    ]
