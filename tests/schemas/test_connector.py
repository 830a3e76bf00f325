"""Settings that have a form of their own."""

import pytest

from schemas.connector import Seconds, Url


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (10, 10),
        (0.5, 0.5),
        ("10", 10),
        ("10 s", 10),
        ("250 ms", 0.25),
        ("5 min", 300),
        ("5m", 300),
        ("48h", 172_800),
        ("1.5 d", 129_600),
    ],
)
def test_a_length_of_time_is_a_number_of_seconds_or_has_a_unit(
    text: object, seconds: float
) -> None:
    assert Seconds.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "ten", "-1 s", -1, True, None, "1 week", "1e999", "nan"])
def test_what_is_no_length_of_time_is_refused_with_what_was_found(text: object) -> None:
    with pytest.raises(ValueError, match="a length of time is") as refused:
        Seconds.parse(text)
    assert str(refused.value).endswith(f"; found {text!r}")


@pytest.mark.parametrize(
    "text",
    [
        "ftp://a",
        "a.example.com",
        "https://",
        "https://[1",
        "https://a.example.com/\r\nX-Admin: 1",
        "https://a.example.com/a b",
        "https://user:password@a.example.com",
        3,
        None,
    ],
)
def test_what_is_no_web_address_is_no_url(text: object) -> None:
    with pytest.raises(ValueError, match="a URL starts with https://"):
        Url.parse(text)
