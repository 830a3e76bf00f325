"""One object of the hold on its way out: sent portion by portion, buried, and closed at the end.

Until it is closed it stays in the queue as it was, so that whatever ends us in between can double
events but not lose any.
"""

import sys
from collections import deque
from collections.abc import Sequence

import msgspec

from runtime.deadline import letter_reason
from runtime.delivery import QUICK_TRIES, Delivery, GivenUp, obstacle_of
from runtime.hold.objects import ForeignObject, HeldBatch
from runtime.hold.watch import Failure, worst_of
from runtime.keeping import Life, held_batches, letters_of
from runtime.ledger import Tally
from runtime.worker import Worker
from schemas.dead_letter import DeadLetter
from schemas.event import InvalidEvent, app_group_of, decode_event
from schemas.lane import Lane, connector_of

MAX_PORTION_REQUESTS = 32
"""What is sent together at the most, so that fresh events of the lane are not kept waiting."""


class HeldObject:
    """What an object holds, with the connector as it is now."""

    def __init__(self, worker: Worker, lane: str, name: str) -> None:
        """Read it.

        Raises:
            ForeignObject: it is damaged, or not ours.
            StorageError: it could not be read.
        """
        self.lane = lane
        self.name = name
        self.letters: list[DeadLetter] = []
        """Of events that are given up; the caller writes them before it closes the object."""
        self.has_written_letters = False
        self.accepted = 0
        self.kept: str | None = None
        """The object that holds what is left of it, once it is closed."""
        self._worker = worker
        self._config = worker.config.current()
        self._connector = connector_of(lane)
        self._entry = self._config.connectors.get(self._connector)
        self._left: list[HeldBatch] = []
        self._waiting: deque[HeldBatch] = deque()
        self._tally = Tally()
        for batch in worker.hold.read(lane, name):
            _check_events(batch, f"the object {name} of lane {lane}")
            self._sort(batch)

    @property
    def unsent(self) -> bool:
        """Whether something of it was not tried yet."""
        return bool(self._waiting)

    @property
    def changed(self) -> bool:
        """Whether some of its events have met their end."""
        return bool(self.accepted or self.letters)

    @property
    def is_suspect(self) -> bool:
        """Whether what is sent next was refused when it was last tried."""
        return bool(self._waiting) and self._waiting[0].blame == "events"

    @property
    def rejected(self) -> bool:
        """Whether events are left that were refused, and are not sent again by themselves."""
        return any(batch.blame == "events" for batch in self._left)

    @property
    def cost(self) -> Tally:
        """What the tries have cost: to be counted where they changed nothing."""
        return self._tally

    def next_portion(
        self, max_events: int, max_batches: int = MAX_PORTION_REQUESTS
    ) -> list[HeldBatch]:
        """Take the next events to be sent, at most so many; each batch is a request or more."""
        portion: list[HeldBatch] = []
        while self._waiting and max_events > 0 and len(portion) < max_batches:
            batch = self._waiting.popleft()
            if len(batch.events) > max_events:
                rest = msgspec.structs.replace(batch, events=batch.events[max_events:])
                batch = msgspec.structs.replace(batch, events=batch.events[:max_events])
                self._waiting.appendleft(rest)
            portion.append(batch)
            max_events -= len(batch.events)
        return portion

    def send(self, portion: Sequence[HeldBatch], tries: int = QUICK_TRIES) -> Failure | None:
        """Try to deliver a portion; says why where something of it is still undelivered."""
        started = [(batch, self._start(batch, tries)) for batch in portion]
        failed: list[HeldBatch] = []
        for batch, delivery in started:
            delivery.wait()
            life = self._life(batch)
            failed += held_batches(life, delivery.outcome.undelivered)
            self.letters += letters_of(life, delivery.outcome.given_up)
            self._tally.of(self._connector).add(delivery.outcome.tally)
            self.accepted += delivery.outcome.tally.delivered
        self._left += failed
        return worst_of(failed) if failed else None

    def isolate_rejected(self, most: int) -> int:
        """Bury events that were refused each by itself, at most so many; returns how many.

        While more may be buried, what was refused together is sent again in its parts, before all
        else: there may be events among it that the partner accepts.
        """
        count = 0
        left, self._left = self._left, []
        for batch in left:
            if batch.blame == "events" and len(batch.events) == 1 and count < most:
                self._give_up(batch, batch.events, batch.reason)
                count += 1
            else:
                self._left.append(batch)
        if count < most:
            self._waiting.extendleft(b for b in reversed(self._left) if b.blame == "events")
            self._left = [batch for batch in self._left if batch.blame != "events"]
        return count

    def bury_expired(self, now_ms: int) -> None:
        """Give up what is past its deadline."""
        batches = [*self._waiting, *self._left]
        self._waiting.clear()
        self._left = []
        for batch in batches:
            if self._worker.deadlines.has_passed(self._entry, batch.newest_ms, now_ms):
                self._give_up(batch, batch.events, letter_reason(self._entry))
            else:
                self._waiting.append(batch)

    def write_letters(self) -> None:
        """Raises StorageError: they could not be written; the object stays as it was."""
        if self.letters and not self.has_written_letters:
            self._worker.write_letters(self.letters)
            self.has_written_letters = True

    def close(self) -> Tally:
        """Put back what is left, remove the object, and say what became of its events.

        Its letters are written before.

        Raises:
            StorageError: what is left could not be put back, and the object stays as it was; or it
                could not be removed, and its events may be doubled.
        """
        hold = self._worker.hold
        is_own = hold.owned(self.lane, self.name)
        left = _rejoined([*self._left, *self._waiting])
        self.kept = hold.put(self.lane, left) if left else None
        # The same content has the same name: then nothing has changed, and nothing goes.
        if self.kept != self.name:
            hold.remove(self.lane, self.name)
        left_count = sum(len(batch.events) for batch in left)
        ended = self.accepted + len(self.letters)
        counts = self._tally.of(self._connector)
        counts.dead.update(letter.reason for letter in self.letters)
        counts.adopted += 0 if is_own else ended + left_count
        counts.held += -ended if is_own else left_count
        return self._tally

    def _sort(self, batch: HeldBatch) -> None:
        """Set aside from sending what is not the connector's as it is now."""
        if self._entry is not None and not self._entry.sink.has_part(batch.part):
            self._set_aside(batch, batch.events, "other_kind")
            return
        groups = self._entry.settings.app_group_ids if self._entry else None
        if groups is None:
            self._waiting.append(batch)
            return
        theirs = [event for event in batch.events if app_group_of(event) in groups]
        others = [event for event in batch.events if app_group_of(event) not in groups]
        if theirs:
            self._waiting.append(msgspec.structs.replace(batch, events=theirs))
        if others:
            self._set_aside(batch, others, "other_app_group")

    def _set_aside(self, batch: HeldBatch, events: Sequence[bytes], reason: str) -> None:
        self._left.append(
            msgspec.structs.replace(batch, events=events, reason=reason, blame="none")
        )

    def _start(self, batch: HeldBatch, tries: int) -> Delivery:
        deliverer, lane = self._worker.deliverer, Lane(self._connector, batch.part)
        if self._entry is None or obstacle_of(self._entry):
            return deliverer.start(lane, self._entry, batch.events)
        return deliverer.release(lane, self._entry, batch.events, tries)

    def _give_up(self, batch: HeldBatch, events: Sequence[bytes], reason: str) -> None:
        given_up = [
            GivenUp(event, "hold", reason, f"last: {batch.reason}", batch.status, batch.answer)
            for event in events
        ]
        self.letters += letters_of(self._life(batch), given_up)

    def _life(self, batch: HeldBatch) -> Life:
        return Life(
            lane=Lane(self._connector, batch.part).key,
            connector=self._connector,
            part=batch.part,
            oldest_ms=batch.oldest_ms,
            newest_ms=batch.newest_ms,
            now_ms=self._worker.now_ms(),
            config_version=self._config.version,
            first_failed_ms=batch.first_failed_ms,
            attempts=batch.attempts,
            replays=batch.replays,
        )


def _check_events(batch: HeldBatch, what: str) -> None:
    """Raise ForeignObject unless each is an event as decoding gives it: it goes out as it is."""
    try:
        for event in batch.events:
            if decode_event(event, sys.maxsize)[1] != event:
                raise ForeignObject(f"{what} has an event that no decoding gave")
    except InvalidEvent as error:
        raise ForeignObject(f"{what} has something in it that is no event: {error}") from error


def _rejoined(batches: Sequence[HeldBatch]) -> list[HeldBatch]:
    """Batches without the divisions that were made to find what is refused.

    A lane that rejects everything is probed with the head of its queue, which must not be one event:
    that may be one that no partner ever takes.
    """
    joined: list[HeldBatch] = []
    for batch in batches:
        before = joined[-1] if joined else None
        if before is not None and batch.blame == "events" and _life_of(before) == _life_of(batch):
            joined[-1] = msgspec.structs.replace(
                batch,
                events=[*before.events, *batch.events],
                attempts=max(before.attempts, batch.attempts),
            )
        else:
            joined.append(batch)
    return joined


def _life_of(batch: HeldBatch) -> tuple[object, ...]:
    """What the parts of a divided batch have in common."""
    times = (batch.oldest_ms, batch.newest_ms, batch.first_failed_ms)
    return batch.part, batch.blame, batch.reason, batch.replays, times
