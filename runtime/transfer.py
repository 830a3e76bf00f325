"""One request on its way over a connection, and its answer: steps of which none waits.

The first is made by the thread that sends the request, all others by the one that waits for all
answers: in between, until the socket is ready for what the transfer wants next.
"""

import contextlib
import socket
import ssl

from runtime.answer_parser import AnswerParser
from runtime.cutoff import DeadlinePassed, ExchangeFailed

_READ_BYTES = 65_536
"""More than a TLS record has, so that OpenSSL keeps nothing back that a poll would not tell of."""
_WRITE_BYTES = 262_144

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Transfer:
    """What is left to be sent and received; the socket must not block.

    Steps raise:
        ExchangeFailed: what came is no answer.
        OSError: the connection broke.
    """

    def __init__(self, sock: socket.socket, parser: AnswerParser) -> None:
        self.parser = parser
        """Once the answer is whole, its `is_last` says whether the connection is of no more use."""
        self.is_done = False
        self.is_answered = False
        """Whether anything has come."""
        self._socket = sock
        self._unsent: memoryview | None = None
        self._break: OSError | None = None

    @property
    def wants_to_read(self) -> bool:
        return self._unsent is None or not self.parser.is_whole

    @property
    def wants_to_write(self) -> bool:
        return self._unsent is not None

    def begin(self, head: bytes, body: bytes) -> None:
        """Send what goes without waiting, mostly everything; that the connection broke shows later."""
        try:
            self._send_at_once(head, body)
        except OSError as error:
            self._break_off(error)

    def step(self, is_readable: bool) -> None:
        """Go on, when the socket is ready for something that is wanted; errors and ends can be read."""
        try:
            if self._unsent is None:
                self._receive()
            else:
                self._send(self._unsent, is_readable)
        except OSError as error:
            self._break_off(error)
        except ExchangeFailed:
            if self._break is None:
                raise
            self._break_off(self._break)
        if self.parser.is_whole and self._unsent is None:
            self._end()

    def run_out(self) -> None:
        """End it, for its time is up.

        Raises:
            DeadlinePassed: nothing else is known by now.
        """
        if self._break is None:
            raise DeadlinePassed
        self._end()

    def _send_at_once(self, head: bytes, body: bytes) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            self._send_encrypted(memoryview(head + body))
            return
        sent = 0
        with contextlib.suppress(BlockingIOError):
            sent = self._socket.sendmsg((head, body))
        if sent < len(head) + len(body):
            self._unsent = memoryview(head + body)[sent:]

    def _send_encrypted(self, unsent: memoryview) -> None:
        with contextlib.suppress(*_NOT_NOW):
            while unsent:
                unsent = unsent[self._socket.send(unsent[:_WRITE_BYTES]) :]
        self._unsent = unsent or None

    def _send(self, unsent: memoryview, is_readable: bool) -> None:
        """Send more, unless the partner refuses it meanwhile.

        Success that is reported before the end was sent counts once the end is sent.
        """
        if is_readable and not self.parser.is_whole:
            self._receive()
        if self.parser.is_whole and self.parser.is_refusal:
            self.parser.is_last = True
            self._unsent = None
            return
        with contextlib.suppress(*_NOT_NOW):
            self._unsent = unsent[self._socket.send(unsent[:_WRITE_BYTES]) :] or None

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except _NOT_NOW:
            return
        if data:
            self.is_answered = True
            self.parser.feed(data)
        else:
            self.parser.end()

    def _break_off(self, error: OSError) -> None:
        """Read what was said before the connection broke.

        Who refuses a long request ends the connection while it is still being sent: that it is a
        refusal can be read nevertheless.
        """
        is_first, self._break = self._break is None, self._break or error
        self._unsent = None
        self.parser.is_last = True
        if not is_first or self.parser.is_whole:
            self._end()

    def _end(self) -> None:
        if self._break is not None and not self.parser.is_refusal:
            raise self._break
        self.is_done = True
