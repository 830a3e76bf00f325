"""What is made of an answer's bytes, in whatever pieces they come, and when the next may follow."""

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtime.answer_head import MAX_HEADERS
from runtime.answer_parser import MAX_HEAD_BYTES, AnswerParser
from runtime.cutoff import ExchangeFailed
from tests.runtime.wire import ok

LIMIT = 100


def parse(pieces: Iterable[bytes], method: str = "POST", ends: bool = False) -> AnswerParser:
    parser = AnswerParser(method, LIMIT)
    for piece in pieces:
        if not parser.is_whole:
            parser.feed(piece)
    if ends and not parser.is_whole:
        parser.end()
    return parser


def found(answer: bytes, method: str = "POST", ends: bool = False) -> tuple[int, bytes, bool]:
    """Status and body of an answer that is whole, and whether it is its connection's last."""
    parser = parse([answer], method, ends)
    assert parser.is_whole
    return parser.status, parser.body, parser.is_last


def headers_of(*lines: bytes) -> Mapping[str, str]:
    return parse([b"HTTP/1.1 204 No\r\n%b\r\n" % b"".join(lines)]).headers


# Where an answer ends


@pytest.mark.parametrize(
    ("answer", "body", "is_last"),
    [
        (ok(b"body"), b"body", False),
        (ok(b""), b"", False),
        (ok(b"body", b"Content-Length: 4\r\n"), b"body", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nbody", b"body", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"", False),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n%b\r\n"
            % b'2\r\nbo\r\n02;x="y"\r\ndy\r\n0\r\nTrailer: x\r\nAnother: y\r\n',
            b"body",
            False,
        ),
        (ok(b"body", b"Connection: close\r\n"), b"body", True),
        (ok(b"body", b"Connection: x, Close\r\n"), b"body", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody", b"body", True),
        (
            b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 4\r\n\r\nbody",
            b"body",
            False,
        ),
        (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%b"
            % b"4\r\nbody\r\n0\r\n\r\n",
            b"body",
            True,
        ),
        (ok(b"a\n\nb", b"Connection: Keep-Alive\r\n"), b"a\n\nb", False),
        (ok(b"a\n\r\nb", b"Connection: Keep-Alive\r\n"), b"a\n\r\nb", False),
        (ok(b"body") + b"x", b"body", True),
        (ok(b"body") + b"\r\n", b"body", True),
    ],
)
def test_the_end_of_an_answer_is_found(answer: bytes, body: bytes, is_last: bool) -> None:
    assert found(answer) == (200, body, is_last)


@pytest.mark.parametrize("status", [101, 204, 304])
def test_some_answers_have_no_body_whatever_their_length_says(status: int) -> None:
    answer = b"HTTP/1.1 %d So\r\nContent-Length: 50\r\n\r\n" % status
    assert found(answer) == (status, b"", status == 101)
    answer = b"HTTP/1.1 %d So\r\nTransfer-Encoding: chunked\r\n\r\n" % status
    assert found(answer) == (status, b"", status == 101)


def test_an_answer_without_a_body_may_be_the_last() -> None:
    assert found(b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n") == (204, b"", True)


def test_an_answer_to_head_has_no_body() -> None:
    assert found(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", method="HEAD") == (
        200,
        b"",
        False,
    )


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"Content-Length: four\r\n",
        b"Content-Length: -4\r\n",
        b"Content-Length: \xb2\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length: 4, 5\r\n",
        b"Content-Length: %b\r\n" % (b"9" * 5_000),
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding: \r\n",
    ],
)
def test_a_body_without_a_length_to_rely_on_ends_with_its_connection(head: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\n%b\r\nbody" % head
    assert not parse([answer]).is_whole
    assert found(answer, ends=True) == (200, b"body", True)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_chunks_win_over_any_length_and_where_both_are_told_none_follows(answer: bytes) -> None:
    assert found(answer + b"4\r\nbody\r\n0\r\n\r\n") == (200, b"body", True)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTT",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        ok(b"body")[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n",
    ],
)
def test_an_answer_that_ends_before_its_end_is_none(answer: bytes) -> None:
    with pytest.raises(ExchangeFailed, match="the connection ended"):
        parse([answer], ends=True)


@pytest.mark.parametrize(
    "chunks", [b"x\r\n", b"\r\n", b"-1\r\n", b"0x4\r\n", b"4 4\r\n", b"4\r\nbodyx\r\n"]
)
def test_a_chunk_without_its_length_is_no_answer(chunks: bytes) -> None:
    with pytest.raises(ExchangeFailed, match="a chunk of the answer"):
        parse([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks])


def test_interim_answers_are_passed_over() -> None:
    interim = b"HTTP/1.1 103 Early\r\nContent-Length: 9\r\nX: a\r\n\r\nHTTP/1.1 100 Go on\r\n\r\n"
    parser = parse([interim + ok(b"body")])
    assert (parser.status, parser.body, parser.is_last) == (200, b"body", False)
    assert parser.headers == {"Content-Length": "4"}


def test_after_a_switch_of_protocols_nothing_is_http() -> None:
    assert found(b"HTTP/1.1 101 So\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n") == (
        101,
        b"",
        True,
    )


# How much is read


@pytest.mark.parametrize("length", [LIMIT - 1, LIMIT, LIMIT + 1])
def test_a_body_is_kept_up_to_its_limit_and_what_is_cut_is_the_last(length: int) -> None:
    body, kept = b"x" * length, b"x" * min(length, LIMIT)
    assert found(ok(body)) == (200, kept, length > LIMIT)
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    assert found(chunked % (length, body)) == (200, kept, length >= LIMIT)
    assert found(b"HTTP/1.1 200 OK\r\n\r\n" + body, ends=True) == (200, kept, True)


@pytest.mark.parametrize("length", [MAX_HEAD_BYTES - 1, MAX_HEAD_BYTES, MAX_HEAD_BYTES + 1])
def test_a_head_has_a_limit(length: int) -> None:
    start = b"HTTP/1.1 204 No\r\nX: "
    head = start + b"x" * (length - len(start) - 4) + b"\r\n\r\n"
    for pieces in ([head], [head[:-1], head[-1:]], [head[:-4], head[-4:]]):
        if length > MAX_HEAD_BYTES:
            with pytest.raises(ExchangeFailed, match=f"over {MAX_HEAD_BYTES} bytes"):
                parse(pieces)
        else:
            assert parse(pieces).status == 204


def test_headers_that_do_not_end_are_left_at_the_limit() -> None:
    endless = [b"HTTP/1.1 200 OK\r\nX: ", *[b"x" * 1_000] * 66]
    with pytest.raises(ExchangeFailed, match="bytes of headers"):
        parse(endless)
    trailers = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        *[b"X: x\r\n"] * 11_000,
    ]
    with pytest.raises(ExchangeFailed, match="bytes of headers"):
        parse(trailers)


@pytest.mark.parametrize("repeat", [b"X%d: y\r\n", b"X: %d\r\n"])
def test_headers_are_counted(repeat: bytes) -> None:
    lines = [repeat % number for number in range(MAX_HEADERS + 1)]
    assert headers_of(*lines[:-1])
    with pytest.raises(ExchangeFailed, match=f"over {MAX_HEADERS} headers"):
        headers_of(*lines)


# Headers


def test_headers_are_told_as_they_were_written_and_of_several_the_last() -> None:
    lines = (b"Retry-After: 1\r\n", b"X-Empty:\r\n", b"retry-after:\t 2 \r\n", b"X: \xe9:\xff\r\n")
    assert headers_of(*lines) == {"Retry-After": "2", "X-Empty": "", "X": "\xe9:\xff"}


@pytest.mark.parametrize(
    ("careless", "headers"),
    [
        (b"Retry-After : 5\r\n", {"Retry-After": "5"}),
        (b"no colon\r\nRetry-After: 5\r\n", {"Retry-After": "5"}),
        (b": no name\r\nRetry-After: 5\r\n", {"Retry-After": "5"}),
        (b" folds nothing\r\nRetry-After: 5\r\n", {"Retry-After": "5"}),
        (b"X: a\r\n  folded: b \r\n\tc\r\n", {"X": "a folded: b c"}),
        (b"X: a\x01b\x00\r\n", {"X": "a\x01b\x00"}),
        (b"X: a\rContent-Length: 9\r\n", {"X": "a\rContent-Length: 9"}),
        (b"X y: a\r\n", {"X y": "a"}),
    ],
)
def test_a_careless_header_costs_the_connection_and_not_the_answer(
    careless: bytes, headers: Mapping[str, str]
) -> None:
    parser = parse([ok(b"body", careless)])
    assert (parser.status, parser.body, parser.is_last) == (200, b"body", True)
    assert parser.headers == {**headers, "Content-Length": "4"}


def test_a_careless_interim_answer_costs_the_connection_too() -> None:
    assert found(b"HTTP/1.1 103 Early\r\nno colon\r\n\r\n" + ok(b"body")) == (200, b"body", True)


def test_a_length_that_is_written_carelessly_is_kept_to() -> None:
    assert found(b"HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nbody") == (200, b"body", True)


def test_lines_may_end_with_lf_alone() -> None:
    assert found(ok(b"body").replace(b"\r", b"")) == (200, b"body", False)
    chunked = b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n4\nbody\n0\nX: y\n\n"
    assert found(chunked) == (200, b"body", False)
    assert found(b"HTTP/1.1 200 OK\nContent-Length: 4\n\r\nbody") == (200, b"body", False)
    assert found(b"HTTP/1.1 204 No\r\n\nHTTP/1.1 200 OK\r\n\r\n") == (204, b"", True)


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 429", b"HTTP/1.1 429 ", b"HTTP/1.1  429 \xe9\x01", b"HTTP/1.01\t429 No"]
)
def test_a_status_is_read_of_a_careless_line(line: bytes) -> None:
    assert found(line + b"\r\nContent-Length: 0\r\n\r\n")[0] == 429


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 2\xb20 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1200 OK",
        b"HTTP/2 200 OK",
        b"http/1.1 200 OK",
        b" HTTP/1.1 200 OK",
        b"",
        b"220 mail.example.com ESMTP",
    ],
)
def test_what_has_no_status_is_no_answer_and_is_not_waited_for(line: bytes) -> None:
    with pytest.raises(ExchangeFailed, match="the answer is no HTTP"):
        parse([line + b"\r\n"])
    with pytest.raises(ExchangeFailed, match="the answer is no HTTP"):
        parse([line + b"\r\nContent-Length: 0\r\n\r\n"])


def test_what_cannot_become_an_answer_is_not_waited_for() -> None:
    with pytest.raises(ExchangeFailed, match="the answer is no HTTP"):
        parse([b"\x16\x03\x01"])


# In pieces

ANSWERS = [
    ok(b"body", b"X: y\r\n"),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + ok(b"body"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbod\r\n1;x\r\ny\r\n0\r\nT: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nno colon\r\nX: a\r\n b\r\nContent-Length : 4\r\n\r\nbody",
    b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n4\nbody\n0\n\n",
    b"HTTP/1.0 404 No\r\n\r\nbody",
    b"HTTP/1.1 204 No\r\n\n",
    ok(b"x" * (LIMIT + 20)),
    ok(b"body") + ok(b"another"),
]


@given(st.sampled_from(ANSWERS), st.lists(st.integers(1, 60)))
@example(ANSWERS[2], [1] * 120)
@example(ANSWERS[3], [1] * 120)
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(answer: bytes, sizes: list[int]) -> None:
    pieces, rest = [], answer
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    cut, whole = parse([*filter(None, pieces), rest], ends=True), parse([answer], ends=True)
    assert (cut.status, cut.headers, cut.body) == (whole.status, whole.headers, whole.body)
    if not answer.endswith((ok(b"another"), b"x")):  # what is cut off may not have come yet
        assert cut.is_last == whole.is_last


PARTS = st.sampled_from(
    [
        *(
            b"HTTP/1.1 200 OK",
            b"HTTP/1.0 ",
            b"\r\n",
            b"\n",
            b"\r",
            b":",
            b" ",
            b"\0",
            b"\xb2",
            b"0",
        ),
        *(
            b"Content-Length",
            b"Transfer-Encoding: chunked\r\n",
            b"4\r\nbody\r\n",
            b"\r\n\r\n",
            b"9",
        ),
        *(
            b"HTTP/1.1 103 Early\r\n",
            b"Connection: keep-alive\r\n",
            b"HTTP/1.1 204 No\r\n\r\n",
            b",",
        ),
    ]
)


@given(st.lists(st.one_of(PARTS, st.binary(max_size=20)), max_size=40))
def test_whatever_comes_is_an_answer_or_none(pieces: list[bytes]) -> None:
    try:
        parser = parse(pieces, ends=True)
    except ExchangeFailed:
        return
    assert 101 <= parser.status <= 999
    assert len(parser.body) <= LIMIT


NAMES = st.one_of(
    st.text("AbCdefgh-1_ :\t", min_size=1, max_size=8),
    st.sampled_from(["Content-Length", "content-length", "Connection", "Transfer-Encoding", "X"]),
)
VALUES = st.one_of(
    st.text(" abc:,;\xe9~\t\x85", max_size=10),
    st.sampled_from(["4", "5", "04", "keep-alive", "close", "chunked", ""]),
)
STATUS_LINES = st.sampled_from(
    ["HTTP/1.1 200 OK", "HTTP/1.1 204 No", "HTTP/1.0 404 No", "HTTP/1.1 500"]
)


@given(
    STATUS_LINES, st.lists(st.tuples(NAMES, VALUES), max_size=6), st.sampled_from(["POST", "HEAD"])
)
@example("HTTP/1.1 200 OK", [("content-length", "5"), ("Content-Length", "4")], "POST")
@example("HTTP/1.1 200 OK", [("Content-Length", "4"), ("Transfer-Encoding", "x")], "POST")
@example("HTTP/1.1 200 OK", [("Content-Length", "4"), ("Connection", "close")], "POST")
@example("HTTP/1.1 200 OK", [("Content-Length", "4"), ("X ", "y")], "POST")
@example("HTTP/1.1 200 OK", [("Content-Length", "4"), ("", "y")], "POST")
@example("HTTP/1.1 200 OK", [("Content-Length", "4"), ("X", "a\x7fb")], "POST")
@example("HTTP/1.1 200 OK", [("Content-Length", "4")], "HEAD")
@example("HTTP/1.0 200 OK", [("Content-Length", "4")], "POST")
@example("HTTP/1.1 204 No", [("Content-Length", "4")], "POST")
def test_an_answer_that_comes_at_once_is_read_as_one_that_comes_in_steps(
    status_line: str, fields: list[tuple[str, str]], method: str
) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    answer = f"{status_line}\r\n{lines}\r\nbody".encode("latin-1")
    at_once, in_steps = attempt([answer], method), attempt([answer[:-5], answer[-5:]], method)
    assert at_once == in_steps


def attempt(pieces: list[bytes], method: str) -> object:
    try:
        parser = parse(pieces, method, ends=True)
    except ExchangeFailed as error:
        return str(error)
    return parser.status, parser.headers, parser.body, parser.is_last
