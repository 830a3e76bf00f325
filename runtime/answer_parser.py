"""Reading one answer from its bytes, in whatever pieces they come: status, headers, body, its end.

Lenient where a careless server's meaning is plain, for a request whose answer is not understood is
sent again (llhttp, and with it httptools, refuses many such answers). But an answer with anything
doubtful in its head is its connection's last: no rest of it is taken for the next request's.
"""

import re
from collections.abc import Callable

from runtime.cutoff import ExchangeFailed

MAX_HEAD_BYTES = 65_536
"""The most of an answer's headers, of a chunk's first line, and of what follows the last chunk."""
MAX_HEADERS = 100

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]+)[ \t]+([1-9][0-9]{2})(?:[ \t\r]|$)")
_CHUNK_LINE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?\r?", re.DOTALL)
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(r"[0-9]{1,16}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DOUBTFUL = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")

_BLANKS = " \t\r"

_SWITCHING_PROTOCOLS = 101
_WITHOUT_BODY = {_SWITCHING_PROTOCOLS, 204, 304}

_Fields = dict[str, list[str]]
"""By name in lower case: the name as it was written, and then its values."""


class AnswerParser:
    """The final answer to one request; interim ones (1xx) before it are passed over.

    Were one of them taken for the answer, the final one would be read as the next request's.
    """

    def __init__(self, method: str, most_body_bytes: int) -> None:
        self.status = 0
        """0 until the head is there."""
        self.headers: dict[str, str] = {}
        """Of a header that is there several times, the last."""
        self.body = b""
        """Cut at its limit: the answer counts as whole then, and is the last."""
        self.is_whole = False
        self.is_last = False
        """Whether its connection cannot be used again."""
        self._may_have_body = method != "HEAD"
        self._most_body_bytes = most_body_bytes
        self._buffer = b""
        self._at = 0
        """So much of the buffer has been read."""
        self._missing = 0
        """So much of the body, or of a chunk, is still to come."""
        self._line_status = 0
        self._is_old = False
        """Whether the answer is of HTTP/1.0."""
        self._step: Callable[[AnswerParser], bool] = AnswerParser._read_status_line

    @property
    def is_refusal(self) -> bool:
        """Whether it is certain by now that the request was not accepted."""
        return self.status >= 300

    def feed(self, data: bytes) -> None:
        """Take what came next.

        Raises:
            ExchangeFailed: it is no HTTP answer.
        """
        self._buffer += data
        while not self.is_whole and self._step(self):
            pass
        self._buffer = self._buffer[self._at :]
        self._at = 0
        if self.is_whole and self._buffer:
            self.is_last = True  # more came than was asked for

    def end(self) -> None:
        """The connection has ended, and with it a body of no stated length.

        Raises:
            ExchangeFailed: the answer is not whole.
        """
        self.is_last = True
        if self._step is AnswerParser._read_to_the_end:
            self.is_whole = True
        if not self.is_whole:
            is_begun = bool(self.status or self._buffer)
            raise ExchangeFailed(
                f"the connection ended {'within' if is_begun else 'before'} the answer"
            )

    # Each step reads on from `_at`, and returns whether the next one can be taken.

    def _read_status_line(self) -> bool:
        line = self._next_line()
        if line is None:
            if not b"HTTP/".startswith(self._buffer[self._at : self._at + 5]):
                raise ExchangeFailed("the answer is no HTTP")
            return False
        found = _STATUS_LINE.match(line)
        if found is None:
            raise ExchangeFailed("the answer is no HTTP")
        self._is_old = found[1] == b"0"
        self._line_status = int(found[2])
        self._at -= 1  # a block begins with the end of the line before it
        self._step = AnswerParser._read_headers
        return True

    def _read_headers(self) -> bool:
        block = self._next_block()
        if block is None:
            return False
        fields, is_plain = _read_fields(block.decode("latin-1"))
        self.is_last |= not is_plain
        if self._line_status < 200 and self._line_status != _SWITCHING_PROTOCOLS:
            self._step = AnswerParser._read_status_line
            return True
        self.status = self._line_status
        self.headers = {name: values[-1] for name, *values in fields.values()}
        self._judge_connection(fields)
        self._step = self._body_step(fields)
        return True

    def _judge_connection(self, fields: _Fields) -> None:
        connection = _joined(fields, "connection").lower()
        goes_on = "keep-alive" in connection if self._is_old else "close" not in connection
        self.is_last |= not goes_on or self.status == _SWITCHING_PROTOCOLS

    def _body_step(self, fields: _Fields) -> "Callable[[AnswerParser], bool]":
        """How the body is read (RFC 9112, 6.3)."""
        if not self._may_have_body or self.status in _WITHOUT_BODY:
            return AnswerParser._read_counted
        coding = _joined(fields, "transfer-encoding").lower()
        if coding:
            self.is_last |= coding != "chunked" or "content-length" in fields or self._is_old
            if coding.rpartition(",")[2].strip() == "chunked":
                return AnswerParser._read_chunk_line
            return AnswerParser._read_to_the_end
        lengths = {length.strip() for length in _joined(fields, "content-length").split(",")}
        length = lengths.pop()
        if not lengths and _LENGTH.fullmatch(length):
            self._missing = int(length)
            return AnswerParser._read_counted
        self.is_last = True  # there is no length, or none to rely on
        return AnswerParser._read_to_the_end

    def _read_counted(self) -> bool:
        self._missing -= self._take_body(self._missing)
        if self._missing:
            self._cut_if_full()
        else:
            self.is_whole = True
        return False

    def _read_to_the_end(self) -> bool:
        self._take_body(len(self._buffer))
        self._cut_if_full()
        return False

    def _read_chunk_line(self) -> bool:
        line = self._next_line()
        if line is None:
            return False
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise ExchangeFailed("a chunk of the answer has no length")
        self._missing = int(found[1], 16)
        if self._missing:
            self._step = AnswerParser._read_chunk
        else:
            self._at -= 1
            self._step = AnswerParser._read_trailers
        return True

    def _read_chunk(self) -> bool:
        self._missing -= self._take_body(self._missing)
        self._cut_if_full()
        if self._missing:
            return False
        self._step = AnswerParser._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        line = self._next_line()
        if line is None:
            return False
        if line not in (b"", b"\r"):
            raise ExchangeFailed("a chunk of the answer is longer than its length")
        self._step = AnswerParser._read_chunk_line
        return True

    def _read_trailers(self) -> bool:
        self.is_whole = self._next_block() is not None
        return False

    def _next_line(self) -> bytes | None:
        """The next line without its LF, once it is there."""
        end = self._buffer.find(b"\n", self._at)
        self._limit(end)
        if end < 0:
            return None
        line = self._buffer[self._at : end]
        self._at = end + 1
        return line

    def _next_block(self) -> bytes | None:
        """The lines up to the next empty one, once it is there."""
        found = _EMPTY_LINE.search(self._buffer, self._at)
        self._limit(found.start() if found else -1)
        if found is None:
            return None
        block = self._buffer[self._at + 1 : found.start() + 1]
        self._at = found.end()
        return block

    def _limit(self, end: int) -> None:
        if (len(self._buffer) if end < 0 else end) - self._at > MAX_HEAD_BYTES:
            raise ExchangeFailed(f"the answer has over {MAX_HEAD_BYTES} bytes of headers")

    def _take_body(self, most: int) -> int:
        room = self._most_body_bytes - len(self.body)
        piece = self._buffer[self._at : self._at + min(most, room)]
        self.body += piece
        self._at += len(piece)
        return len(piece)

    def _cut_if_full(self) -> None:
        if len(self.body) >= self._most_body_bytes:
            self.is_whole = self.is_last = True


def _read_fields(block: str) -> tuple[_Fields, bool]:
    """The fields of a head, and whether there is no doubt about any of them."""
    lines = block.split("\n")[:-1]
    if len(lines) > MAX_HEADERS:
        raise ExchangeFailed(f"the answer has over {MAX_HEADERS} headers")
    is_plain = not _DOUBTFUL.search(block)
    fields: _Fields = {}
    values: list[str] = []
    for line in lines:
        written, colon, value = line.partition(":")
        name = written.strip(_BLANKS)
        is_plain = is_plain and bool(colon and _NAME.fullmatch(written))
        if line.startswith((" ", "\t")):  # it goes on with the line before
            values[-1:] = [f"{last} {line.strip(_BLANKS)}" for last in values[-1:]]
        elif colon and name:
            values = fields.setdefault(name.lower(), [name])
            values.append(value.strip(_BLANKS))
        else:
            values = []
    return fields, is_plain


def _joined(fields: _Fields, name: str) -> str:
    return ",".join(fields.get(name, ())[1:])
