"""Secrets behind references: read when a lane needs them, kept in memory for an hour."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import GoogleAuthError
from google.cloud import secretmanager

from schemas.secret import Secrets

REFRESH_SECONDS = 3_600


class SecretError(Exception):
    """A reference that leads to no secret; never says what was found instead."""

    def __init__(self, reference: str, detail: str) -> None:
        super().__init__(f"{reference}: {detail}")
        self.reference = reference


class SecretStore:
    """Resolves references and keeps the values; one a process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[str, tuple[float, str]] = {}

    def resolve(self, references: Iterable[str]) -> Secrets:
        """The values of references, by reference.

        Raises:
            SecretError: one of them leads to no secret.
        """
        return {reference: self._value_of(reference) for reference in references}

    def forget(self) -> None:
        """Read every secret anew when it is next asked for."""
        with self._lock:
            self._values.clear()

    def _value_of(self, reference: str) -> str:
        now = self._clock()
        with self._lock:
            until, value = self._values.get(reference, (0.0, ""))
        if until > now:
            return value
        value = read_secret(reference)
        with self._lock:
            # Jitter: many processes must not ask Secret Manager in the same second.
            kept = REFRESH_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311
            self._values[reference] = (now + kept, value)
        return value


def read_secret(reference: str) -> str:
    """The value behind a reference, as it is now, without a trailing line break.

    Raises:
        SecretError: there is none, or it is empty.
    """
    scheme, _, name = reference.partition(":")
    value = {"env": _from_environment, "file": _from_file, "gcp-secret": _from_google}[scheme](
        reference, name
    ).rstrip("\r\n")
    if not value:
        raise SecretError(reference, "the secret is empty")
    return value


def _from_environment(reference: str, name: str) -> str:
    if name not in os.environ:
        raise SecretError(reference, "the environment variable is not set")
    try:
        return os.fsencode(os.environ[name]).decode()
    except UnicodeDecodeError:
        raise SecretError(reference, "the environment variable is no UTF-8 text") from None


def _from_file(reference: str, name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise SecretError(reference, error.strerror or "the file cannot be read") from error
    except UnicodeDecodeError:
        raise SecretError(reference, "the file is no UTF-8 text") from None


def _from_google(reference: str, name: str) -> str:
    try:
        client = secretmanager.SecretManagerServiceClient()
        answer = client.access_secret_version(name=name, timeout=20)
        return answer.payload.data.decode()
    except (GoogleAPICallError, GoogleAuthError, RetryError) as error:
        raise SecretError(reference, f"Secret Manager: {type(error).__name__}") from error
    except UnicodeDecodeError:
        raise SecretError(reference, "the secret is no UTF-8 text") from None
