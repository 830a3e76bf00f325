"""A pull: messages that were read together, the element that ReadEvents emits."""

import msgspec


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
