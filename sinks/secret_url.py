"""URLs that hold a key: such a URL is a secret as a whole, and is given by reference."""

import re
from urllib.parse import parse_qsl, urlsplit

from schemas.connector import Url
from schemas.secret import FORMS, Secrets
from sinks.address import base_url

_ORIGIN = re.compile(r"^((?:[A-Za-z]+://)?[^/?#]*)")


def refuse_literal_key(url: Url, parameter: str) -> None:
    """Check that a URL which is no reference holds no key.

    Raises:
        ValueError: its query has the parameter; the message does not repeat it.
    """
    if url.is_secret:
        return
    query = urlsplit(url).query
    names = [name.lower() for name, _ in parse_qsl(query, keep_blank_values=True)]
    if parameter.lower() in names:
        raise ValueError(f"a URL that holds a key is a secret and is given as {FORMS}")


def resolve_url(url: Url, endpoint: Url | None, secrets: Secrets) -> str:
    """The URL to send to: its scheme and host give way to an `endpoint`, its path and query stay."""
    whole = secrets[url] if url.is_secret else str(url)
    own, rest = _ORIGIN.split(whole, maxsplit=1)[1:]
    return base_url(endpoint, own, secrets) + rest
