"""Object stores by way of fsspec's libraries, so bounded that an outage is told and does not hang.

Nothing is cached of a listing: other processes write, and the hold's listings are long.
"""

import errno
import functools
import os
from typing import Any

import fsspec
import fsspec.asyn
import msgspec
from aiohttp import ClientTimeout
from gcsfs.core import GCSFileSystem
from gcsfs.retry import retry_request
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account

TRIES = 3
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 10.0
"""How long an object store may say nothing before a request is tried again."""

CALL_SECONDS = 20.0
"""After how long a call about one file is given up, all tries together; writing may take a second
more for each megabyte. A listing has no such end, for a folder may be large: its pages have tries."""


def read(uri: str, credentials: str | None) -> bytes:
    """The bytes of an object."""
    return bytes(_call(client_of(uri, credentials), "cat_file", uri))


def write(uri: str, content: bytes, credentials: str | None) -> None:
    """Make an object of these bytes."""
    filesystem = client_of(uri, credentials)
    options: dict[str, Any] = {}
    if isinstance(filesystem, _GoogleStorage) and _GCSFS_BOUNDARY in content:
        options["chunksize"] = len(content)
    more_seconds = len(content) / 1_000_000
    _call(filesystem, "pipe_file", uri, content, more_seconds=more_seconds, **options)


_GCSFS_BOUNDARY = b"--==0=="
"""What gcsfs ends a file with when it sends one in a single request. A file that has it inside would
be cut there, so it goes as a resumable upload of one piece."""


def upload(uri: str, path: str) -> None:
    """Make an object of a local file, however large."""
    client_of(uri).put_file(path, uri)


def remove(uri: str) -> None:
    """Remove an object."""
    _call(client_of(uri), "rm_file", uri)


def entries(uri: str) -> dict[str, dict[str, Any]]:
    """What the store says of each name in a folder.

    Raises:
        FileNotFoundError: its bucket is not there; a folder that is not there is empty.
    """
    filesystem = client_of(uri)
    folder = uri.split("://", 1)[1].strip("/")
    try:
        found = filesystem.ls(uri, detail=True)
    except FileNotFoundError:
        _check_bucket(filesystem, folder.split("/", 1)[0])
        return {}
    paths = {entry["name"].strip("/"): entry for entry in found}
    paths.pop(folder, None)  # an object that stands for the folder, or a file instead of a folder
    return {path.rsplit("/", 1)[-1]: entry for path, entry in paths.items()}


_seen_buckets: set[str] = set()


def _check_bucket(filesystem: Any, bucket: str) -> None:
    """Tell a bucket that is not there from a folder that is not there; asked once a process."""
    if bucket in _seen_buckets:
        return
    try:
        filesystem.ls(bucket, detail=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, f"there is no bucket {bucket}") from error
    except OSError as error:  # who may list only the folder is refused here: the bucket is there
        if not is_refusal(error):
            raise
    _seen_buckets.add(bucket)


def is_refusal(error: OSError) -> bool:
    """Whether a store says that we may not; gcsfs says so by a plain OSError."""
    return isinstance(error, PermissionError) or str(error).startswith("Forbidden:")


def modified_ms(entry: dict[str, Any]) -> int:
    """When an object was written, of what the store says of it."""
    moments = (entry.get(key) for key in ("mtime", "LastModified", "last_modified", "created"))
    return int(next(moment for moment in moments if moment).timestamp() * 1_000)


def _call(
    filesystem: Any, method: str, *args: Any, more_seconds: float = 0.0, **options: Any
) -> Any:
    """Call a method of a storage library, and give it up in time."""
    if not filesystem.async_impl:
        return getattr(filesystem, method)(*args, **options)
    act = getattr(filesystem, f"_{method}")
    seconds = CALL_SECONDS + more_seconds
    return fsspec.asyn.sync(filesystem.loop, act, *args, timeout=seconds, **options)


class _GoogleStorage(GCSFileSystem):  # type: ignore[misc]
    """Google Cloud Storage, given up after a few tries; gcsfs waits half a minute.

    It is gcsfs's plain file system: the one that fsspec would take asks another service first
    whether the bucket is zonal, and waits for it for a minute where that cannot be reached.
    """

    _request = retry_request(retries=TRIES)(GCSFileSystem._request.__wrapped__)  # noqa: SLF001


def client_of(uri: str, credentials: str | None = None) -> Any:
    """The bounded client of the store that a URI names."""
    scheme = uri.split("://", 1)[0]
    if scheme in {"gs", "gcs"}:
        return _google(credentials)
    if scheme in {"s3", "s3a"}:
        return _s3()
    return fsspec.filesystem(scheme, use_listings_cache=False)


def _google(credentials: str | None) -> _GoogleStorage:
    return _GoogleStorage(
        token=_google_token(credentials),
        requests_timeout=ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
        use_listings_cache=False,
    )


def _google_token(credentials: str | None) -> Any:
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return "anon"  # an emulator knows nobody, and to look for who we are takes seconds
    return _service_account(credentials) if credentials else None


@functools.lru_cache(maxsize=256)  # fsspec keeps a client for each object that this returns
def _service_account(text: str) -> service_account.Credentials:
    """Google credentials of a service account's JSON; an error must not repeat any of it."""
    try:
        return service_account.Credentials.from_service_account_info(
            msgspec.json.decode(text),
            scopes=["https://www.googleapis.com/auth/devstorage.read_write"],
        )
    except (ValueError, TypeError, AttributeError, GoogleAuthError):
        said = "the credentials are no service account's JSON"
        raise PermissionError(errno.EACCES, said) from None


def _s3() -> Any:
    filesystem = fsspec.filesystem(
        "s3",
        use_listings_cache=False,
        max_concurrency=1,  # else it asks for the size of a file before it reads it
        config_kwargs={
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": SILENCE_SECONDS,
            "retries": {"mode": "standard", "total_max_attempts": TRIES},
        },
    )
    filesystem.retries = 1  # the tries above are botocore's; s3fs would repeat them five times
    return filesystem
