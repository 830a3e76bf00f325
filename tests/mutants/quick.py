"""A plugin for pytest: a mutant is to fail soon, by whichever test, and nobody reads how."""

import os
import resource
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "mutants",
    max_examples=10,
    phases=[Phase.explicit, Phase.generate],  # no search for the smallest example
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("mutants")


_MOST_BYTES = 6_000_000_000
"""What a mutant may take of memory, stacks of hundreds of threads included: one that loops would fill a list
until there is none left."""


def pytest_sessionstart() -> None:
    """Forget what the code remembers: mutants are forked from a process in which it has run."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, most))
    ours = [module for name, module in sys.modules.items() if name.startswith(_PACKAGES)]
    for remembered in {
        id(found): found for module in ours for found in vars(module).values()
    }.values():
        if callable(clear := getattr(remembered, "cache_clear", None)):
            clear()


_PACKAGES = ("schemas.", "sinks.", "runtime.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of the module that is mutated come first, and tests of many examples last."""
    module = os.environ.get("MUTANT_UNDER_TEST", "").partition(".x")[0].rpartition(".")[2]
    items.sort(key=lambda item: (not _is_of(item, module), _has_many_examples(item)))


def _is_of(item: pytest.Item, module: str) -> bool:
    """Such as `test_mparticle.py` of `mparticle_layout`."""
    return module.startswith(item.path.stem.removeprefix("test_"))


def _has_many_examples(item: pytest.Item) -> bool:
    function: Any = getattr(item, "function", None)
    attributes: Mapping[str, Any] = vars(function) if hasattr(function, "__dict__") else {}
    return bool(attributes.get("is_hypothesis_test"))
