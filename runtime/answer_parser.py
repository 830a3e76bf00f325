"""Reading one answer from its bytes, in whatever pieces they come: where its head and body end.

An answer with anything doubtful in its head is its connection's last: so no rest of it is taken for
the answer to the next request.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from runtime.answer_head import MAX_HEADERS, AnswerHead, is_begun, read_head
from runtime.cutoff import ExchangeFailed

MAX_HEAD_BYTES = 65_536
"""The most of an answer's head with its empty line, of a chunk's first line, and of what follows the
last chunk."""

_CHUNK_LINE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?\r?", re.DOTALL)
_LENGTH = re.compile(r"[0-9]{1,16}")
_PRINTABLE = bytes([*range(0x20, 0x7F), *range(0xA0, 0x100)])
_SWITCHING_PROTOCOLS = 101
_WITHOUT_BODY = {_SWITCHING_PROTOCOLS, 204, 304}
_PLAIN_STATUS = {
    f"HTTP/1.1 {status} ": status for status in range(200, 600) if status not in _WITHOUT_BODY
}
"""What plain answers begin with."""


class AnswerParser:
    """The final answer to one request; interim ones (1xx) before it are passed over.

    Were one of them taken for the answer, the final one would be read as the next request's.
    """

    status = 0
    """0 until the head is there."""
    headers: Mapping[str, str] = MappingProxyType({})
    body = b""
    """Cut at its limit: the answer counts as whole then, and is the last."""
    is_whole = False
    is_last = False
    """Whether its connection cannot be used again."""

    _buffer = b""
    _at = 0
    """So much of the buffer has been read."""
    _missing = 0
    """So much of the body, or of a chunk, is still to come."""

    def __init__(self, method: str, most_body_bytes: int) -> None:
        self._may_have_body = method != "HEAD"
        self._most_body_bytes = most_body_bytes
        self._step: Callable[[AnswerParser], bool] = AnswerParser._read_head

    @property
    def is_refusal(self) -> bool:
        """Whether it is certain by now that the request was not accepted."""
        return self.status >= 300

    def feed(self, data: bytes) -> None:
        """Take what came next.

        Raises:
            ExchangeFailed: it is no HTTP answer.
        """
        if self._step is AnswerParser._read_head and not self._buffer and self._take_plain(data):
            return
        self._buffer += data
        while not self.is_whole and self._step(self):
            pass
        if self._at < len(self._buffer) and self.is_whole:
            self.is_last = True  # more came than was asked for
        self._buffer = self._buffer[self._at :]
        self._at = 0

    def end(self) -> None:
        """The connection has ended, and with it a body of no stated length.

        Raises:
            ExchangeFailed: the answer is not whole.
        """
        self.is_last = True
        if self._step is AnswerParser._read_to_the_end:
            self.is_whole = True
        if not self.is_whole:
            where = "within" if self.status or self._buffer else "before"
            raise ExchangeFailed(f"the connection ended {where} the answer")

    def _take_plain(self, data: bytes) -> bool:
        """Take an answer such as nearly all are, whole and plain, in a third of the steps' time.

        They would make the same of it; anything else is left to them.
        """
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = _PLAIN_STATUS.get(first[:13])
        if status is None or head.translate(None, _PRINTABLE) != b"\r\n" * len(lines):
            return False
        headers: dict[str, str] = {}
        fields: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or " " in name:
                return False
            headers[name] = fields[name.lower()] = value.strip(" ")
        if (
            fields.get("content-length") != str(len(body))
            or fields.get("connection", "keep-alive") != "keep-alive"
            or "transfer-encoding" in fields
            or len(fields) < len(lines)  # one is there several times
            or len(lines) > MAX_HEADERS
            or len(data) > self._most_body_bytes
            or not self._may_have_body
        ):
            return False
        self.status, self.headers, self.body = status, headers, body
        self.is_whole = True
        return True

    # Each step reads on from `_at`, and returns whether the next one can be taken.

    def _read_head(self) -> bool:
        block = self._next_block()
        if block is None:
            if not is_begun(self._buffer[self._at :]):
                raise ExchangeFailed("the answer is no HTTP")
            return False
        head = read_head(block)
        if not head.is_plain:
            self.is_last = True
        if head.status >= 200 or head.status == _SWITCHING_PROTOCOLS:
            self.status, self.headers = head.status, head.headers
            self._step = self._frame(head)
        return True

    def _frame(self, head: AnswerHead) -> "Callable[[AnswerParser], bool]":
        """How the body is read (RFC 9112, 6.3), and whether another answer can follow it."""
        fields = head.fields
        connection = fields.get("connection", "").lower()
        if "close" in connection or (head.is_old and "keep-alive" not in connection):
            self.is_last = True
        if not self._may_have_body or head.status in _WITHOUT_BODY:
            self.is_last |= head.status == _SWITCHING_PROTOCOLS  # what follows is no HTTP
            return AnswerParser._read_counted
        coding = fields.get("transfer-encoding")
        if coding is not None:
            self.is_last |= head.is_old or coding.lower() != "chunked" or "content-length" in fields
            is_chunked = coding.lower().rpartition(",")[2].strip() == "chunked"
            return AnswerParser._read_chunk_line if is_chunked else AnswerParser._read_to_the_end
        length = _read_length(fields.get("content-length", ""))
        if length is not None:
            self._missing = length
            return AnswerParser._read_counted
        self.is_last = True
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
            self._at -= 1  # an empty line is found by the end of the one before it
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
        if end < 0:
            self._limit(len(self._buffer))
            return None
        self._limit(end + 1)
        line = self._buffer[self._at : end]
        self._at = end + 1
        return line

    def _next_block(self) -> bytes | None:
        """The lines up to the next empty one, once it is there; a bare LF ends a line as well."""
        end, after = self._buffer.find(b"\n\r\n", self._at), 3
        bare = self._buffer.find(b"\n\n", self._at, end + 1 if end >= 0 else None)
        if bare >= 0:
            end, after = bare, 2
        if end < 0:
            self._limit(len(self._buffer))
            return None
        self._limit(end + after)
        block = self._buffer[self._at : end + 1]
        self._at = end + after
        return block

    def _limit(self, end: int) -> None:
        if end - self._at > MAX_HEAD_BYTES:
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


def _read_length(said: str) -> int | None:
    """A length, said once or several times alike; None where there is none, or none to rely on."""
    length, *others = {length.strip() for length in said.split(",")}
    return int(length) if _LENGTH.fullmatch(length) and not others else None
