"""Fixtures that the tests of pages share with those of storage."""

from tests.runtime.storages import object_stores, reached

__all__ = ["object_stores", "reached"]
