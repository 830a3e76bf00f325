"""Files at a storage URI: a local path, gs://, s3:// or az://; written whole or not at all."""

import asyncio
import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, NamedTuple

import fsspec
from aiohttp import ClientError
from gcsfs.retry import HttpError
from google.auth.exceptions import GoogleAuthError

from runtime import object_stores
from runtime.optional import optional_error

Fault = Literal["permission", "missing", "storage"]

LEFTOVER_SECONDS = 3_600.0
"""How old a file must be that is still being written, for us to be sure that its writer is dead."""


class StorageError(Exception):
    """A file could not be read, written, listed or removed; says whose fault it is."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault: Fault = fault
        self.detail = detail


class StoredFile(NamedTuple):
    """What a listing says of a file."""

    name: str
    size: int
    modified_ms: int


def is_local(uri: str) -> bool:
    """Whether the URI is a path of this machine."""
    return "://" not in uri or uri.startswith("file://")


def is_missing_folder(uri: str) -> bool:
    """Whether a local path is no folder; an object store has none, so there it cannot be told."""
    return is_local(uri) and not (uri and _local(uri).is_dir())


def modified_seconds(uri: str) -> float | None:
    """When a local file was last written to, in seconds since the epoch; None where it cannot be told.

    An object of a store is there whole or not at all.
    """
    if not is_local(uri):
        return None
    try:
        return _local(uri).stat().st_mtime
    except OSError:
        return None


def make_folder(uri: str) -> None:
    """Have a folder where files will be written; an object store needs none.

    Raises:
        StorageError: it cannot be made.
    """
    if is_local(uri):
        with _faults(uri):
            _make_folder(_local(uri))


def join(root: str, *names: str) -> str:
    """The URI of something under `root`."""
    return "/".join([root.rstrip("/") or "/", *names])


def check_place(uri: str) -> None:
    """Raise StorageError where the URI's kind of storage cannot be reached from here."""
    if is_local(uri):
        return
    scheme = uri.split("://", 1)[0]
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise StorageError("storage", f"{scheme}:// cannot be used here: {error}") from error


def read_file(uri: str, credentials: str | None = None) -> bytes:
    """The bytes of a file.

    Raises:
        StorageError: it is not there or may not be read.
    """
    with _faults(uri):
        if is_local(uri):
            return _local(uri).read_bytes()
        return object_stores.read(uri, credentials)


def write_whole(uri: str, content: bytes, credentials: str | None = None) -> None:
    """Make a file visible with all of its content, or not at all.

    Raises:
        StorageError: it could not be written, or it is not certain that it was: where the last step
            fails (the folder cannot be flushed to the disk, an answer gets lost) it is visible.
    """
    with _faults(uri):
        if is_local(uri):
            with _writing_local(_local(uri)) as file:
                file.write(content)
        else:
            object_stores.write(uri, content, credentials)


@contextlib.contextmanager
def writing_whole(uri: str) -> Iterator[IO[bytes]]:
    """A file to write to, however large, that is made visible at `uri` when all went well.

    Raises:
        StorageError: it could not be written; nothing is visible then.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_faults(uri))
        if is_local(uri):
            yield stack.enter_context(_writing_local(_local(uri)))
            return
        file = stack.enter_context(tempfile.NamedTemporaryFile())
        yield file
        file.flush()
        object_stores.upload(uri, file.name)


def remove_file(uri: str) -> None:
    """Remove a file; one that is not there is as good as removed."""
    with _faults(uri):
        if is_local(uri):
            _local(uri).unlink(missing_ok=True)
            return
        with contextlib.suppress(FileNotFoundError):
            object_stores.remove(uri)


def list_names(uri: str) -> list[str]:
    """The names in a folder, sorted; none where the folder is not there.

    Raises:
        StorageError: it could not be listed, or its bucket is not there.
    """
    with _faults(uri):
        found = _local_names(_local(uri)) if is_local(uri) else object_stores.entries(uri)
        return sorted(name for name in found if not _is_temporary(name))


def list_files(uri: str) -> list[StoredFile]:
    """The files in a folder, not its folders, sorted by name; none where the folder is not there.

    Raises:
        StorageError: it could not be listed, or its bucket is not there.
    """
    with _faults(uri):
        if is_local(uri):
            found = list(_local_files(_local(uri)))
        else:
            found = [
                StoredFile(name, entry["size"], object_stores.modified_ms(entry))
                for name, entry in object_stores.entries(uri).items()
                if entry["type"] == "file"
            ]
        return sorted(file for file in found if not _is_temporary(file.name))


_NO_CREDENTIALS = optional_error("botocore.exceptions", "NoCredentialsError")
LIBRARY_ERRORS: tuple[type[BaseException], ...] = (
    OSError,
    HttpError,
    GoogleAuthError,
    ClientError,
    asyncio.TimeoutError,
    *optional_error("botocore.exceptions", "BotoCoreError"),
    *optional_error("azure.core.exceptions", "AzureError"),
)
"""What storage libraries raise where a place cannot be reached, read or written."""


@contextlib.contextmanager
def _faults(uri: str) -> Iterator[None]:
    """Turn what a storage library raises into a StorageError."""
    try:
        yield
    except LIBRARY_ERRORS as error:
        said = getattr(error, "strerror", None) or type(error).__name__
        raise StorageError(_fault_of(error), f"{uri}: {said}") from error
    except (ImportError, ValueError) as error:
        raise StorageError("storage", f"{uri}: {error}") from error


def _fault_of(error: BaseException) -> Fault:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return "missing"
    refused = (
        (isinstance(error, OSError) and object_stores.is_refusal(error))
        or isinstance(error, _NO_CREDENTIALS)
        or (isinstance(error, GoogleAuthError) and not error.retryable)
        or (isinstance(error, HttpError) and str(error.code) in {"401", "403"})
    )
    return "permission" if refused else "storage"


def _local(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


# The local disk

_TEMPORARY = ".writing-"


def _is_temporary(name: str) -> bool:
    return name.startswith(_TEMPORARY)


def _local_names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _local_files(folder: Path) -> Iterator[StoredFile]:
    for name in _local_names(folder):
        try:
            known = (folder / name).stat()
        except FileNotFoundError:  # removed since it was listed
            continue
        if stat.S_ISREG(known.st_mode):
            yield StoredFile(name, known.st_size, known.st_mtime_ns // 1_000_000)


def _make_folder(folder: Path) -> None:
    """Have a folder that a power failure does not take away, with all that is flushed into it.

    What of it was missing is its owner's alone, whatever the umask.
    """
    if folder.is_dir() or folder.parent == folder:
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(PermissionError):  # who may write there need not be let to read
        _flush(folder.parent)


_swept: set[Path] = set()


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes were writing, else a process that dies again and again fills the disk.

    They are looked for once a process and folder, for a folder may be large.
    """
    if folder in _swept:
        return
    _swept.add(folder)
    for beside in folder.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError):  # one that cannot be removed must not stop the writing
            if time.time() - beside.stat().st_mtime > LEFTOVER_SECONDS:
                beside.unlink()


@contextlib.contextmanager
def _writing_local(path: Path) -> Iterator[IO[bytes]]:
    """Write beside, flush to the disk, rename: a reader sees the old file or the new one.

    Its owner alone may read it, whatever the umask: events are personal data.
    """
    _make_folder(path.parent)
    _remove_leftovers(path.parent)
    handle, beside = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    _flush(path.parent)


def _flush(folder: Path) -> None:
    """Have the disk know the names in a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
