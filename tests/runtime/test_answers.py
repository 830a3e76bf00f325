"""What is read of an answer: when to come back, and what may be shown of it."""

import base64
import html
import json
import time
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.answers import MOST_ASKED_SECONDS, retry_after_seconds, sanitise, spelled_out
from runtime.exchange import MAX_ANSWER_BYTES
from schemas.limits import MAX_DETAIL_CHARS
from sinks.sink import Answer, HttpRequest

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def asked(value: str) -> float | None:
    return retry_after_seconds(Answer(429, {"Retry-After": value}), NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 60),  # RFC 850
        ("Tue Nov 14 22:14:20 2023", 60),  # asctime
        ("Tue, 14 Nov 2023 23:14:20 +0100", 60),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, seconds: float) -> None:
    assert asked(value) == seconds


@pytest.mark.parametrize(
    "value", ["9" * 400, "1764184000", "21601", "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_an_absurd_wait_is_six_hours(value: str) -> None:
    assert asked(value) == MOST_ASKED_SECONDS == 6 * 3_600


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Asia/Tokyo"])
@pytest.mark.parametrize(
    "value", ["Tue Nov 14 22:14:20 2023", "Tue, 14 Nov 2023 22:14:20", "14 Nov 2023 22:14:20 -0000"]
)
def test_a_date_without_a_zone_is_gmt_wherever_we_run(
    value: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        found = asked(value)
    time.tzset()
    assert found == 60


@pytest.mark.parametrize(
    "value", ["", "soon", "-1", "1.5", "١٢", "²", "1e3", "inf", "Tue, 99 Nov 2023 22:14:20 GMT"]
)
def test_what_is_no_time_asks_for_nothing(value: str) -> None:
    assert asked(value) is None


def test_no_retry_after_asks_for_nothing() -> None:
    assert retry_after_seconds(Answer(429, {"Date": "now"}), NOW) is None


@pytest.mark.parametrize("name", ["retry-after", "RETRY-AFTER", "Retry-after"])
def test_the_name_of_the_header_has_no_case(name: str) -> None:
    assert retry_after_seconds(Answer(429, {name: "3"}), NOW) == 3


@given(
    st.one_of(
        st.text(),
        st.from_regex(
            r"(Mon, )?[0-9]{1,5}[ -](Jan|Feb|13)[ -][0-9]{1,12} "
            r"[0-9]{1,3}:[0-9]{1,3}(:[0-9]{1,30})? ?(GMT|[+-][0-9]{1,30})?",
            fullmatch=True,
        ),
    )
)
def test_no_retry_after_breaks_the_delivery(value: str) -> None:
    found = asked(value)
    assert found is None or 0 <= found <= MOST_ASKED_SECONDS


def test_secrets_are_taken_out_as_they_are_and_as_a_url_spells_them() -> None:
    secret = "k/y+1 ä&"
    body = f"no {secret}, nor {urllib.parse.quote(secret, safe='')}".encode()
    assert sanitise(Answer(401, body=body), [secret]) == "no [SECRET], nor [SECRET]"


def test_of_two_secrets_the_longer_one_is_taken_out_whole() -> None:
    for secrets in (["abc", "abcdef"], ["abcdef", "abc"]):
        assert sanitise(Answer(401, body=b"abcdef abc"), secrets) == "[SECRET] [SECRET]"


def test_a_secret_in_the_detail_of_an_error_is_taken_out() -> None:
    assert sanitise(Answer(error="network", detail="x key y"), ["key"]) == "x [SECRET] y"


def test_what_a_terminal_would_obey_is_taken_out_and_space_is_made_single() -> None:
    body = "a\x1b[31m\x00b\r\n\t c\x7f\x9b \u2028d".encode() + b"\xff\xfe!"
    assert sanitise(Answer(500, body=body), []) == "a [31m b c d\ufffd\ufffd!"


@pytest.mark.parametrize("char", "\u202e\u2066\u200b\ufeff\u00ad\u2028\x9b")
def test_what_turns_or_hides_other_characters_is_taken_out(char: str) -> None:
    assert sanitise(Answer(500, body=f"a{char}b".encode()), []) == "a b"


def test_an_answer_that_says_nothing_shows_nothing() -> None:
    assert sanitise(Answer(500, body=b""), ["key"]) == ""


def test_a_long_answer_is_cut() -> None:
    assert sanitise(Answer(500, body=b"x" * 65_536), []) == "x" * MAX_DETAIL_CHARS


@given(st.binary(max_size=300), st.text(min_size=4, max_size=12).filter(str.isalnum))
def test_whatever_a_partner_says_no_secret_of_ours_is_shown(body: bytes, secret: str) -> None:
    said = sanitise(Answer(500, body=body + secret.encode("utf-8", "replace")), [secret])
    assert secret not in said
    assert len(said) <= MAX_DETAIL_CHARS


def test_a_key_is_masked_however_the_partner_spells_it() -> None:
    request = HttpRequest("POST", "https://a.example.com/p?td_write_key=1%2Fabcd", {}, b"")
    for said in ("1/abcd", "1%2Fabcd", r"1\/abcd"):
        answer = Answer(400, body=f"bad key {said}.".encode())
        assert sanitise(answer, [request.url, *spelled_out(request)]) == "bad key [SECRET]."


KEY = "T0+1/a&b<\"c'=d\\ä"
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "HTML": html.escape,
    "HTML by numbers": lambda text: "".join(
        char if char.isalnum() else f"&#{ord(char)};" for char in text
    ),
    "HTML by hexadecimal numbers": lambda text: "".join(
        char if char.isalnum() else f"&#x{ord(char):X};" for char in text
    ),
    "HTML by names": lambda text: html.escape(text).replace("&#x27;", "&apos;"),
    "JSON": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON in ASCII": lambda text: json.dumps(text)[1:-1],
    "JSON with escaped slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "a URL's part": lambda text: urllib.parse.quote(text, safe=""),
    "a URL's path": urllib.parse.quote,
    "a URL in small letters": lambda text: urllib.parse.quote(text, safe="").replace("%2B", "%2b"),
    "a form": urllib.parse.quote_plus,
    "a path in HTML": lambda text: html.escape(urllib.parse.quote(text, safe="/&")),
}


@pytest.mark.parametrize("key", [KEY, f"{KEY}&"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_is_taken_out_in_any_spelling(spelling: str, key: str) -> None:
    body = f"bad key {SPELLINGS[spelling](key)}.".encode()
    assert sanitise(Answer(401, body=body), [key]) == "bad key [SECRET]."


@pytest.mark.parametrize("query", ["", "?v=1"])
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Cannot POST /services/T0123/B0456/abcdefghijklmnopqrst", "Cannot POST [SECRET]"),
        ("Cannot POST /services/T0123/B0456/abcdefghijklmnopqrst?v=1", "Cannot POST [SECRET]"),
        ("no hook abcdefghijklmnopqrst", "no hook [SECRET]"),
        ("no team ab12cd", "no team ab12cd"),
    ],
)
def test_the_path_of_a_url_that_is_a_secret_is_one_too(said: str, shown: str, query: str) -> None:
    url = f"https://hooks.example.com/services/T0123/B0456/abcdefghijklmnopqrst{query}"
    request = HttpRequest("POST", url, {}, b"")
    found = sanitise(Answer(404, body=said.encode()), [url, *spelled_out(request)])
    assert found.removesuffix("?v=1") == shown


@pytest.mark.parametrize(
    ("secret", "body"),
    [
        ("k-pässwört", "no k-pässwört.".encode("latin-1")),
        ("key-😀-end", rb"no key-\ud83d\ude00-end."),
        ("key\tend9", rb"no key\tend9."),
        ("key\udcff9end", b"no key\xff9end."),
    ],
)
def test_a_secret_of_other_letters_is_taken_out_in_any_encoding(secret: str, body: bytes) -> None:
    """One from the environment may be no UTF-8."""
    assert sanitise(Answer(401, body=body), [secret]) == "no [SECRET]."


@pytest.mark.parametrize(
    ("piece", "is_shown"),
    [
        ("abcd1", True),
        ("abcde1", False),
        ("abcdefghijklmno", True),
        ("abcdefghijklmnop", False),
        ("abcdefghijklmn1", False),
    ],
)
def test_a_piece_of_a_secret_path_is_shown_where_it_is_too_short_for_a_key(
    piece: str, is_shown: bool
) -> None:
    """A key of letters alone has 16 of them at least, one with a digit 6 characters."""
    words = "/".join(["in"] * 20)
    url = f"https://hooks.example.com/{words}/{piece}/{words}"
    found = sanitise(Answer(404, body=f"no {piece} here".encode()), [url])
    assert found == f"no {piece if is_shown else '[SECRET]'} here"


@pytest.mark.parametrize(("value", "is_shown"), [("abcd1", True), ("abcde1", False)])
def test_a_value_of_a_secret_query_is_shown_where_it_is_too_short_for_a_key(
    value: str, is_shown: bool
) -> None:
    url = f"https://hooks.example.com/in?{'many=words&' * 20}key={value}"
    found = sanitise(Answer(404, body=f"no {value} here".encode()), [url])
    assert found == f"no {value if is_shown else '[SECRET]'} here"


@pytest.mark.parametrize(("piece", "is_shown"), [("abcd1", True), ("abcde1", False)])
def test_a_piece_of_a_value_of_a_secret_query_is_shown_where_it_is_too_short_for_a_key(
    piece: str, is_shown: bool
) -> None:
    """Such as an account and its key."""
    words = "/".join(["in"] * 20)
    url = f"https://td.example.com/in?key={words}/{piece}/{words}"
    found = sanitise(Answer(404, body=f"no {piece} here".encode()), [url])
    assert found == f"no {piece if is_shown else '[SECRET]'} here"


@pytest.mark.parametrize("scheme", ["", "Basic ", "Bearer "])
def test_what_an_authorization_says_is_taken_out_with_or_without_its_scheme(scheme: str) -> None:
    headers = {"Authorization": f"{scheme}k1M2n3P4"}
    request = HttpRequest("POST", "https://a.example.com/in", headers, b"")
    answer = Answer(401, body=b"no k1M2n3P4 here")
    assert sanitise(answer, spelled_out(request)) == "no [SECRET] here"


def test_the_path_and_the_short_values_of_a_url_that_is_no_secret_are_shown() -> None:
    request = HttpRequest("POST", "https://a.example.com/in?v=1&region=us", {}, b"")
    said = "the token for /in expired at 2026-11-21 1h ago in us-1"
    assert sanitise(Answer(401, body=said.encode()), spelled_out(request)) == said


@pytest.mark.parametrize("before", [8_192 - 10, MAX_ANSWER_BYTES - 10])
def test_a_secret_that_loses_its_end_by_a_cut_is_not_shown(before: int) -> None:
    body = (b" " * before + b"abcdefghijklmnopqrstuvwxyz")[:MAX_ANSWER_BYTES]
    assert "abc" not in sanitise(Answer(400, body=body), ["abcdefghijklmnopqrstuvwxyz"])


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "Bearer "])
@pytest.mark.parametrize("after", ["", "x", "yz", "\r\n"])
@pytest.mark.parametrize("key", ["sk_live_4711", "0123456", "T0+1/a&b<?>~\xfe"])
def test_a_secret_is_taken_out_of_base64_and_hexadecimal(key: str, before: str, after: str) -> None:
    whole = f"{before}{key}{after}".encode()
    for told in (base64.b64encode(whole), base64.urlsafe_b64encode(whole), whole.hex().encode()):
        said = sanitise(Answer(401, body=b"no: " + told), [key])
        assert "[SECRET]" in said
        assert len(said) <= len("no: [SECRET]") + 2 * len(before + after) + 8
    assert "[SECRET]" in sanitise(Answer(401, body=whole.hex().upper().encode()), [key])


@pytest.mark.parametrize("at", range(1, 16))
def test_a_half_of_a_secret_is_taken_out_for_the_other_may_stand_elsewhere(at: int) -> None:
    key = "k1M2n3P4q5R6s7T8"
    said = sanitise(Answer(401, {"X-Key": key[:at]}, f"it ends in {key[at:]}.".encode()), [key])
    assert (said == "it ends in [SECRET].") == (len(key) - at >= 8)


def test_a_half_is_taken_out_as_often_as_it_is_told_and_at_the_beginning_too() -> None:
    key = "k1M2n3P4q5R6s7T8"
    body = f"{key[8:]} or {key[8:]} or {key[8:]}".encode()
    assert sanitise(Answer(401, body=body), [key]) == "[SECRET] or [SECRET] or [SECRET]"


@pytest.mark.parametrize(("length", "is_shown"), [(13, True), (14, False)])
def test_of_a_long_secret_a_half_is_taken_out_and_nothing_shorter(
    length: int, is_shown: bool
) -> None:
    key = "k1M2n3P4q5R6s7T8u9V0w1X2y3Z4"
    end = key[-length:]
    said = sanitise(Answer(401, body=f"it ends in {end}.".encode()), [key])
    assert said == f"it ends in {end if is_shown else '[SECRET]'}."


def test_a_part_too_short_to_be_a_half_is_shown() -> None:
    body = b"the key that ends in s7T8"
    assert sanitise(Answer(401, body=body), ["k1M2n3P4q5R6s7T8"]) == body.decode()


@pytest.mark.parametrize("shift", range(0, 200, 7))
def test_a_secret_in_a_long_answer_is_not_shown_by_halves(shift: int) -> None:
    """White space is made single, so that what is shown may come from anywhere."""
    key = "k1M2n3P4q5R6s7T8"
    spelled = "".join(f"\\u{ord(char):04x}" for char in key)
    for told in (key, spelled):
        body = "." + " " * (8_191 - shift) + told + " " * 70_000
        said = sanitise(Answer(401, body=body.encode()), [key])
        assert said in (".", ". [SECRET]")


LAYERS: dict[str, Callable[[str], str]] = {
    "a URL": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "JSON": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "JSON in JSON": lambda text: "".join(f"\\\\u{ord(char):04x}" for char in text),
    "HTML": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML in hexadecimal": lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    "a URL in HTML": lambda text: "".join(f"&#37;{byte:02x}" for byte in text.encode()),
    "base64 in a URL": lambda text: urllib.parse.quote(base64.b64encode(text.encode()), safe=""),
}


@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_a_secret_is_taken_out_though_its_letters_are_escaped(layer: str) -> None:
    key = "k1M2n3P4q5R6s7T8?"
    for told in (key, key[:9], f"Bearer {key}"):
        said = sanitise(Answer(401, body=f"no {LAYERS[layer](told)} here".encode()), [key])
        assert said.startswith("no ")
        assert "[SECRET]" in said
        assert said.endswith(" here")


def test_an_answer_without_a_secret_keeps_its_spelling() -> None:
    body = r"caf\u00e9 &amp; 100%25"
    assert sanitise(Answer(400, body=body.encode()), ["k1M2n3P4q5R6s7T8"]) == body


def test_half_a_character_in_an_escape_is_not_shown() -> None:
    said = sanitise(Answer(400, body=rb"\ud83d key-1-2-3 \ud83d"), ["key-1-2-3"])
    said.encode()
    assert "[SECRET]" in said


@pytest.mark.parametrize("told", ["KEY9A8B7C6D5E", "key9a8b7c6d5e", "1/key9A8b7c6d5E"])
def test_the_key_of_an_account_is_taken_out_without_its_account_and_in_any_case(told: str) -> None:
    url = "https://td.example.com/postback/v3/event/db/table?td_write_key=1/key9A8b7c6d5E"
    for secret in (url, "1/key9A8b7c6d5E"):
        assert "9A8" not in sanitise(Answer(401, body=told.encode()), [secret]).upper()
