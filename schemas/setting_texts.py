"""What the settings of connectors do, in words: for the JSON Schema and the pages on partners."""

import ast
import functools
import inspect
import itertools
import textwrap
from collections.abc import Mapping

import msgspec


@functools.cache
def setting_texts(settings_type: type) -> Mapping[str, str]:
    """A text for each setting by name: the one below its field, in its class or a base of it."""
    texts: dict[str, str] = {}
    for owner in reversed(settings_type.__mro__):
        if issubclass(owner, msgspec.Struct) and owner is not msgspec.Struct:
            texts.update(_texts_in(owner))
    return texts


def _texts_in(owner: type) -> Mapping[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    definition = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in itertools.pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
