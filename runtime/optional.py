"""Libraries that need not be installed, and their errors."""

import importlib
from types import ModuleType


def optional(module: str) -> ModuleType | None:
    """The module of that name, if it can be imported."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def optional_error(module: str, name: str) -> tuple[type[Exception], ...]:
    """The error class of that name, to be caught; none where the library or the class is missing."""
    found = getattr(optional(module), name, None)
    return () if found is None else (found,)
