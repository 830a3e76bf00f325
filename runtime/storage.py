"""Files at a storage URI: a local path, gs://, s3:// or az://; written whole or not at all."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import fsspec
import msgspec
from aiohttp import ClientError
from gcsfs.retry import HttpError
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account

Fault = Literal["permission", "missing", "storage"]


class StorageError(Exception):
    """A file could not be read, written, listed or removed; says whose fault it is."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault: Fault = fault
        self.detail = detail


def is_local(uri: str) -> bool:
    """Whether the URI is a path of this machine."""
    return "://" not in uri or uri.startswith("file://")


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
        return bytes(_filesystem(uri, credentials).cat_file(uri))


def write_whole(uri: str, content: bytes, credentials: str | None = None) -> None:
    """Make a file visible with all of its content, or not at all.

    Raises:
        StorageError: it could not be written; nothing is visible then.
    """
    with _faults(uri):
        if is_local(uri):
            _write_local(_local(uri), content)
        else:
            _filesystem(uri, credentials).pipe_file(uri, content)


def remove_file(uri: str) -> None:
    """Remove a file; one that is not there is as good as removed."""
    with _faults(uri):
        if is_local(uri):
            _local(uri).unlink(missing_ok=True)
            return
        with contextlib.suppress(FileNotFoundError):
            _filesystem(uri).rm_file(uri)


def list_names(uri: str) -> list[str]:
    """The names in a folder, sorted; none where the folder is not there."""
    with _faults(uri):
        try:
            if is_local(uri):
                return sorted(
                    path.name for path in _local(uri).iterdir() if not _is_temporary(path.name)
                )
            found = _filesystem(uri).ls(uri, detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in found)


@contextlib.contextmanager
def _faults(uri: str) -> Iterator[None]:
    """Turn what a storage library raises into a StorageError."""
    try:
        yield
    except (OSError, HttpError, GoogleAuthError, ClientError, asyncio.TimeoutError) as error:
        said = getattr(error, "strerror", None) or type(error).__name__
        raise StorageError(_fault_of(error), f"{uri}: {said}") from error
    except (ImportError, ValueError) as error:
        raise StorageError("storage", f"{uri}: {error}") from error


def _fault_of(error: Exception) -> Fault:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return "missing"
    refused = (
        isinstance(error, PermissionError)
        or (isinstance(error, GoogleAuthError) and not error.retryable)
        or (isinstance(error, HttpError) and str(error.code) in {"401", "403"})
        or str(error).startswith("Forbidden:")  # how gcsfs says 403: as a plain OSError
    )
    return "permission" if refused else "storage"


def _local(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def _filesystem(uri: str, credentials: str | None = None) -> Any:
    options = {"token": _service_account(credentials)} if credentials else {}
    return fsspec.filesystem(uri.split("://", 1)[0], **options)


def _service_account(text: str) -> service_account.Credentials:
    """Google credentials of a service account's JSON; an error must not repeat any of it."""
    try:
        return service_account.Credentials.from_service_account_info(
            msgspec.json.decode(text),
            scopes=["https://www.googleapis.com/auth/devstorage.read_write"],
        )
    except (ValueError, TypeError, AttributeError, GoogleAuthError):
        raise StorageError("permission", "the credentials are no service account's JSON") from None


_TEMPORARY = ".writing-"


def _is_temporary(name: str) -> bool:
    return name.startswith(_TEMPORARY)


def _write_local(path: Path, content: bytes) -> None:
    """Write beside, flush to the disk, rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
