"""Partners: one file each, pure: no Beam, no network, no clock."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any, get_origin

from sinks.sink import Sink


@functools.cache
def sink_kinds() -> Mapping[str, type[Sink[Any]]]:
    """Every sink in this folder by its kind: a new partner is a new file here, and no other edit."""
    modules = [importlib.import_module(f"sinks.{m.name}") for m in pkgutil.iter_modules(__path__)]
    found = [sink for module in modules for sink in _sinks_of(module)]
    return {sink.kind: sink for sink in sorted(found, key=lambda sink: sink.kind)}


def _sinks_of(module: Any) -> list[type[Sink[Any]]]:
    return [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if get_origin(member) is None  # Python 3.10 takes `dict[str, int]` for a class
        and issubclass(member, Sink)
        and member.__module__ == module.__name__
        and member is not Sink
    ]
