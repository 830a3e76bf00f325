"""A system that has no more threads."""

import threading

import pytest


def no_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no thread of that name start."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
