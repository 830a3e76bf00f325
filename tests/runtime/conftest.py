"""Fixtures that the tests of storage, and of what is kept in it, share."""

from tests.runtime.storages import object_stores, reached, storage_root

__all__ = ["object_stores", "reached", "storage_root"]
