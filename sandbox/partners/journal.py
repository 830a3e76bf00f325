"""The journal of a site: what it received and accepted, within bounded memory."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Condition

from sandbox.partners.site import Arrival, Judgement, Received, Reply

KEEP_REQUESTS = 10_000
KEEP_FAILED = 8
"""Of those that failed so many are kept longer: among hundreds that did not, they are looked for."""


@dataclass(frozen=True)
class Exchange:
    """One request with what is kept of it beside its description."""

    number: int
    """In order of arrival, from 0."""
    received: Received
    body: bytes | None
    """None where it is kept no more."""
    answer: Reply | None
    """None while, or where, none was sent."""


@dataclass(frozen=True)
class Counts:
    """Since the start: requests that arrived, events accepted, requests refused, body bytes."""

    requests: int = 0
    accepted: int = 0
    refused: int = 0
    """Answered with an error, or with a success though nothing of it was kept."""
    bytes: int = 0


class Journal:
    """Written by the server, read by anyone: every method may be called from any thread."""

    def __init__(self, keep_bodies: int, keep_ids: bool) -> None:
        self._keep_ids = keep_ids
        self._changed = Condition()
        self._counts = Counts()
        self._requests: dict[int, Received] = {}
        self._accepted: list[tuple[str | None, str]] = []
        self._keep_bodies = keep_bodies
        self._bodies: dict[int, bytes] = {}
        self._answers: dict[int, Reply] = {}
        self._failed: deque[int] = deque()
        self._rows: deque[dict[str, str]] = deque(maxlen=keep_bodies)

    def open(self, arrival: Arrival, event_ids: Sequence[str], feed: str | None) -> int:
        """Note a request that has arrived; returns the number to settle it by."""
        received = Received(
            method=arrival.method,
            path=arrival.path,
            query=arrival.query,
            headers=arrival.headers,
            body_bytes=len(arrival.body),
            status=None,
            events=len(event_ids),
            event_ids=list(event_ids) if self._keep_ids else [],
            at=time.monotonic(),
            feed=feed,
        )
        with self._changed:
            number = self._counts.requests
            self._requests[number] = received
            self._requests.pop(number - KEEP_REQUESTS, None)
            self._bodies[number] = arrival.body
            self._forget_body(number - self._keep_bodies)
            self._count(requests=1, bytes_=len(arrival.body))
        return number

    def settle(self, number: int, judgement: Judgement, feed: str | None) -> None:
        """Note what is about to be answered."""
        status = judgement.reply.status
        with self._changed:
            if number in self._requests:
                self._requests[number] = replace(self._requests[number], status=status)
            if number in self._bodies:
                self._answers[number] = judgement.reply
            if self._keep_ids:
                self._accepted += [(feed, event_id) for event_id in judgement.accepted]
            if judgement.row is not None:
                self._rows.append(dict(judgement.row))
            self._count(accepted=len(judgement.accepted), refused=int(judgement.refused))

    def end(self, number: int) -> None:
        """Note that the exchange is over, answered or not."""
        with self._changed:
            if number in self._requests:
                ended = replace(self._requests[number], ended_at=time.monotonic())
                self._requests[number] = ended
                if ended.status is None or ended.status >= 400:
                    self._keep_longer(number)

    def _keep_longer(self, number: int) -> None:
        self._failed.append(number)
        if len(self._failed) > KEEP_FAILED:
            oldest = self._failed.popleft()
            if oldest < self._first_body:
                self._forget_body(oldest)

    def _forget_body(self, number: int) -> None:
        if number not in self._failed:
            self._bodies.pop(number, None)
            self._answers.pop(number, None)

    @property
    def _first_body(self) -> int:
        """The oldest request whose body is kept whatever became of it."""
        return self._counts.requests - self._keep_bodies

    def _count(
        self, *, requests: int = 0, accepted: int = 0, refused: int = 0, bytes_: int = 0
    ) -> None:
        old = self._counts
        self._counts = Counts(
            old.requests + requests,
            old.accepted + accepted,
            old.refused + refused,
            old.bytes + bytes_,
        )
        self._changed.notify_all()

    def counts(self) -> Counts:
        with self._changed:
            return self._counts

    def requests(self) -> list[Received]:
        """The last requests, oldest first."""
        with self._changed:
            return list(self._requests.values())

    def latest(self, count: int) -> list[Exchange]:
        """The last exchanges and the last that failed, newest first."""
        with self._changed:
            numbers = {*range(self._counts.requests)[-count:], *self._failed}
            known = sorted(numbers & self._requests.keys(), reverse=True)
            return [self._exchange(number) for number in known]

    def exchange(self, number: int) -> Exchange | None:
        """One exchange; None where it is remembered no more."""
        with self._changed:
            return self._exchange(number) if number in self._requests else None

    def _exchange(self, number: int) -> Exchange:
        return Exchange(
            number, self._requests[number], self._bodies.get(number), self._answers.get(number)
        )

    def bodies(self) -> list[bytes]:
        with self._changed:
            first = self._first_body
            return [body for number, body in self._bodies.items() if number >= first]

    def rows(self) -> list[dict[str, str]]:
        with self._changed:
            return list(self._rows)

    def accepted_ids(self, feed: str | None) -> list[str]:
        """Ids of accepted events, of one feed or (None) of all, duplicates kept."""
        if not self._keep_ids:
            raise ValueError("this sandbox does not keep ids: keep_ids=False")
        with self._changed:
            return [event_id for of, event_id in self._accepted if feed in (None, of)]

    def wait_for(self, holds: Callable[[Counts], bool], timeout_seconds: float) -> bool:
        """Whether the condition came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: holds(self._counts), timeout_seconds)
