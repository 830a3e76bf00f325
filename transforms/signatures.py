"""What Beam asks of a DoFn's methods, answered from memory.

DirectRunner looks at the signatures of all methods of a DoFn several times in each bundle, which took
two thirds of its only thread. Beam asks `_inspect_<method>` first, where a DoFn has that.
"""

from types import MethodType
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.transforms.core import get_function_args_defaults

FnT = TypeVar("FnT", bound=type[beam.DoFn])


def with_known_signatures(dofn: FnT) -> FnT:
    """Look at the signatures of a DoFn's methods once, when its class is made."""
    blank = object.__new__(dofn)
    for name in dir(blank):
        method = getattr(blank, name, None)
        if isinstance(method, MethodType):
            setattr(dofn, f"_inspect_{name}", staticmethod(_answer(method)))
    return dofn


def _answer(method: MethodType) -> Any:
    found = get_function_args_defaults(method)
    return lambda: found
