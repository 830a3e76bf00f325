"""Secrets behind references: read when a lane needs them, kept in memory for an hour."""

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import GoogleAuthError
from google.cloud import secretmanager

from schemas.secret import Secrets

REFRESH_SECONDS = 3_600
AGAIN_SECONDS = 30
"""After a failure, or a partner's refusal of a key, Secret Manager is asked again this soon."""

_logger = logging.getLogger(__name__)


class SecretError(Exception):
    """A reference that leads to no secret; never says what was found instead."""

    def __init__(self, reference: str, detail: str) -> None:
        super().__init__(f"{reference}: {detail}")
        self.reference = reference


@dataclass(frozen=True)
class _Known:
    """What is known of a reference: its value, or why there is none; times on the store's clock."""

    read_at: float
    until: float
    value: str | None
    error: SecretError | None = None


class SecretStore:
    """Resolves references and keeps the values; one a process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def resolve(self, references: Iterable[str]) -> Secrets:
        """The values of references, by reference.

        A value that was read once stays in use while it cannot be read again.

        Raises:
            SecretError: one of them leads to no secret.
        """
        return {reference: self._value_of(reference) for reference in references}

    def at_hand(self, references: Iterable[str]) -> bool:
        """Whether all of them can be resolved without reading anything."""
        now = self._clock()
        with self._lock:
            known = [self._known.get(reference) for reference in references]
        return all(one is not None and one.until > now for one in known)

    def doubt(self, references: Iterable[str]) -> None:
        """Read secrets anew when they are next asked for, unless that was done just now."""
        now = self._clock()
        with self._lock:
            for reference in references:
                known = self._known.get(reference)
                if known is not None and now - known.read_at >= _again_seconds(reference):
                    self._known[reference] = replace(known, until=now)

    def _value_of(self, reference: str) -> str:
        with self._lock:
            known = self._known.get(reference)
        if known is None or known.until <= self._clock():
            known = self._read(reference, known)
        if known.value is None:
            raise known.error or SecretError(reference, "the secret is not known")
        return known.value

    def _read(self, reference: str, before: _Known | None) -> _Known:
        now = self._clock()
        try:
            # Jitter: many processes must not ask Secret Manager in the same second.
            kept = REFRESH_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311
            known = _Known(now, now + kept, read_secret(reference))
        except SecretError as error:
            value = before.value if before else None
            if value is not None:
                _logger.warning("the value that was read before stays in use: %s", error)
            known = _Known(now, now + _again_seconds(reference), value, error)
        with self._lock:
            self._known[reference] = known
        return known


def _again_seconds(reference: str) -> float:
    """A file or a variable is read in no time; Secret Manager has a quota and may hang."""
    return AGAIN_SECONDS if reference.startswith("gcp-secret:") else 0


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
    except ValueError:  # a name that no file can have
        raise SecretError(reference, "the path is no file's") from None


_ADVICE = {
    "DefaultCredentialsError": ": this process has no account at Google; on a laptop "
    "`gcloud auth application-default login` gives it yours",
    "NotFound": ": there is no such secret, or no such version of it",
    "PermissionDenied": ": the account needs roles/secretmanager.secretAccessor on it",
}


def _from_google(reference: str, name: str) -> str:
    try:
        client = secretmanager.SecretManagerServiceClient()
        answer = client.access_secret_version(name=name, timeout=20)
        return answer.payload.data.decode()
    except (GoogleAPICallError, GoogleAuthError, RetryError) as error:
        name = type(error).__name__
        raise SecretError(reference, f"Secret Manager: {name}{_ADVICE.get(name, '')}") from error
    except UnicodeDecodeError:
        raise SecretError(reference, "the secret is no UTF-8 text") from None
    except (OSError, ValueError, AttributeError) as error:  # of a damaged key file of our own
        raise SecretError(reference, f"Secret Manager: {type(error).__name__}") from None
