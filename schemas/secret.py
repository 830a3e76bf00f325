"""Secrets as the connectors file names them: references, never values."""

import re
from collections.abc import Mapping

FORMS = "env:NAME, file:/path or gcp-secret:projects/P/secrets/S/versions/V"

_REFERENCE = re.compile(
    r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+|gcp-secret:projects/[^/]+/secrets/[^/]+/versions/[^/]+"
)


class SecretRef(str):
    """Where a secret is kept; safe to print."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> "SecretRef":
        """Return the reference.

        Raises:
            ValueError: `text` is no reference; the message does not repeat it, for it may be a
                secret.
        """
        if not isinstance(text, str):
            kind = type(text).__name__
            raise ValueError(f"a secret is given as {FORMS}; found {kind}")  # noqa: TRY004
        if not is_reference(text):
            raise ValueError(
                f"a secret is given as {FORMS}; found a literal of {len(text)} characters"
            )
        return cls(text)


def is_reference(text: str) -> bool:
    """Whether `text` has one of the three forms of a secret reference."""
    return _REFERENCE.fullmatch(text) is not None


Secrets = Mapping[str, str]
"""The values of a connector's references, by reference; lives in a worker's memory only."""
