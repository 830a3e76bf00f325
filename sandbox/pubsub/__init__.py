"""Local stand-ins of Google Pub/Sub: a small embedded server, and Google's emulator where it is."""

from sandbox.pubsub.emulator import GoogleEmulator
from sandbox.pubsub.server import EmbeddedPubSub

__all__ = ["EmbeddedPubSub", "GoogleEmulator", "start_pubsub"]


def start_pubsub() -> GoogleEmulator | EmbeddedPubSub:
    """Google's emulator where the machine has one, else the embedded server; to use in a `with`."""
    return GoogleEmulator.find() or EmbeddedPubSub()
