"""Exchanges that are begun, as the pipeline's are that find a connection: the same must hold of them."""

import queue
from collections.abc import Callable

from runtime.cutoff import Cutoff, ExchangeFailed
from runtime.exchange import HttpExchange, answer_for
from runtime.request_head import head_of
from sinks.sink import Answer, HttpRequest


class BegunExchange(HttpExchange):
    """Begins every exchange; where no connection is kept, it makes one first."""

    def begin(
        self, request: HttpRequest, timeout_seconds: float, done: Callable[[Answer | None], None]
    ) -> bool:
        try:
            head = head_of(request.method, request.url, tuple(request.headers.items()))
            kept = self._kept.take(head.origin)
            connection = kept or self._dialer.connect(head.origin, Cutoff(timeout_seconds))
            self._begin_over(connection, head, request, timeout_seconds, done)
        except (ExchangeFailed, OSError) as failure:
            done(answer_for(failure, timeout_seconds))
        return True

    def send(self, request: HttpRequest, timeout_seconds: float) -> Answer:
        answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self.begin(request, timeout_seconds, answers.put)
        answer = answers.get(timeout=timeout_seconds + 60)
        return super().send(request, timeout_seconds) if answer is None else answer
