"""How far the input is read: told by whoever reads, looked at by whoever shows it."""

import threading

from runtime.files import FileRange


class InputRead:
    """The bytes of file ranges that have been read; those that are read again count once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes_by_range: dict[FileRange, int] = {}

    def tell(self, part: FileRange, count: int) -> None:
        """Say that so many bytes of a range have been read."""
        with self._lock:
            self._bytes_by_range[part] = count

    @property
    def bytes(self) -> int:
        with self._lock:
            return sum(self._bytes_by_range.values())
