"""Errors of libraries that need not be installed."""

import importlib


def optional_error(module: str, name: str) -> tuple[type[Exception], ...]:
    """The error class of that name, to be caught; none where the library or the class is missing."""
    try:
        return (getattr(importlib.import_module(module), name),)
    except (ImportError, AttributeError):
        return ()
