"""Where requests go: the partner's own address, or the one that a connector names instead."""

from schemas.connector import Url
from schemas.secret import Secrets


def base_url(endpoint: Url | None, default: str, secrets: Secrets) -> str:
    """The scheme and host to send to, with an `endpoint`'s path prefix and no slash at the end."""
    if endpoint is None:
        return default
    return (secrets[endpoint] if endpoint.is_secret else endpoint).rstrip("/")
