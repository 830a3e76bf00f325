"""What Beam asks of a DoFn's methods, answered from memory.

DirectRunner looks at the signatures of all methods of a DoFn several times in each bundle, which took
two thirds of its only thread. Beam asks `_inspect_<method>` first, where a DoFn has that, and looks for
state and timers at whatever `dir` tells.
"""

from types import MethodType
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.transforms.core import get_function_args_defaults

FnT = TypeVar("FnT", bound=type[beam.DoFn])


def with_known_signatures(dofn: FnT) -> FnT:
    """Look at the signatures of a DoFn's methods once, when its class is made."""
    blank = object.__new__(dofn)
    methods = {name: getattr(blank, name, None) for name in object.__dir__(blank)}
    found = {
        name: get_function_args_defaults(method)
        for name, method in methods.items()
        if isinstance(method, MethodType)
    }
    for name, signature in found.items():
        setattr(dofn, f"_inspect_{name}", staticmethod(_answer(signature)))
    told = [name for name, (_, defaults) in found.items() if defaults]
    dofn.__dir__ = lambda _: told
    return dofn


def _answer(signature: Any) -> Any:
    return lambda: signature
