import pytest

from schemas.connector import Url
from sinks.address import base_url

PARTNERS_OWN = "https://api.example.com"
SECRETS = {"env:PROXY": "https://key@proxy.example.com/currents/"}


@pytest.mark.parametrize(
    ("endpoint", "base"),
    [
        (None, PARTNERS_OWN),
        ("https://staging.example.com", "https://staging.example.com"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("https://proxy.example.com/a/b//", "https://proxy.example.com/a/b"),
        ("env:PROXY", "https://key@proxy.example.com/currents"),
    ],
)
def test_an_endpoint_takes_the_place_of_the_partners_own_address(
    endpoint: str | None, base: str
) -> None:
    url = None if endpoint is None else Url.parse(endpoint)
    assert base_url(url, PARTNERS_OWN, SECRETS) == base
