"""What is to be true of a cell, by event id: nothing lost, nothing astray, and books that balance."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.cases import NEVER_FAILS, Fate
from tests.faults.partners import Cell

Book = Mapping[str, Any]
"""What a report says of a connector."""

LEFT_ALONE = "suspended"
"""Why events are held that came after their partner had failed."""


@dataclass(frozen=True)
class Found:
    """Where a cell's events are, by id."""

    accepted: Sequence[str]
    """At its own stand-in, in order, duplicates kept."""
    held: Mapping[str, Sequence[str]]
    """In the hold, by reason."""
    dead: Mapping[str, Sequence[str]]
    """Among the dead letters, by reason."""
    requests: int
    """That its stand-in has seen."""
    refused: int = 0
    """Of them, those that it has answered with an error."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """What was said last for a reason for which events are held."""

    @property
    def held_ids(self) -> list[str]:
        return [event_id for ids in self.held.values() for event_id in ids]

    @property
    def dead_ids(self) -> list[str]:
        return [event_id for ids in self.dead.values() for event_id in ids]


@dataclass(frozen=True)
class Trial:
    """A cell whose fault has lasted for a while, and was lifted then."""

    cell: Cell
    ids: Sequence[str]
    """Of the events that came while the fault lasted; those before it were delivered."""
    fate: Fate
    before: Found
    """Just before the fault was lifted."""
    is_settled: bool
    """Whether everything was on disk by then."""
    after: Found
    """When all was over."""
    books: Sequence[Book]
    """Of the runs, the last of which ended when all was over."""
    most_copies: int | None
    """Of an event in the end; None where only the tries bound them, which go on."""
    most_refused: int | None = None
    """Requests before the fault was lifted, where one answer is enough to send no more."""

    @property
    def copies(self) -> Counter[str]:
        return Counter(self.after.accepted)

    @property
    def lost(self) -> set[str]:
        return set(self.cell.ids) - {
            *self.after.accepted,
            *self.after.held_ids,
            *self.after.dead_ids,
        }

    @property
    def strays(self) -> set[str]:
        """What its partner got, its lane held or its letters hold of others' events."""
        got = {*self.before.held_ids, *self.after.held_ids, *self.after.dead_ids, *self.copies}
        return got - set(self.cell.ids)

    @property
    def duplicates(self) -> int:
        return self.copies.total() - len(self.copies)

    @property
    def problems(self) -> list[str]:
        """What is not as it should be, in words."""
        return [
            *self._problems_of_events(),
            *self._problems_of_fate(),
            *self._problems_of_reasons(),
            *self._problems_of_the_end(),
            *self._problems_of_books(),
        ]

    def _problems_of_events(self) -> Iterator[str]:
        """In the end."""
        if self.lost:
            yield f"{len(self.lost)} events are lost"
        if self.strays:
            yield f"{len(self.strays)} events of others are here"
        most = max(self.copies.values(), default=0)
        if self.most_copies is not None and most > self.most_copies:
            yield f"{most} copies of an event, and not {self.most_copies} at the most"

    def _problems_of_fate(self) -> Iterator[str]:
        """While the fault lasted."""
        case, dead = self.cell.case, len(self._dead)
        refused = 1 if case.poisoned else len(self.ids)
        if dead != (refused if self.fate == "buried" else 0):
            yield f"buried are {_counted(self.before.dead)}"
        if self.fate in ("delivered", "buried") and self._held:
            yield f"held are {_counted(self.before.held)}"
        if self.fate == "held" and self.is_settled and self._held != set(self.ids):
            yield f"held are {_counted(self.before.held)}, of {len(self.ids)} events"
        if self.fate == "held" and self._accepted and not case.keeps:
            yield f"{len(self._accepted)} events are delivered"
        if self.most_refused is not None and self.before.refused > self.most_refused:
            yield f"{self.before.refused} requests were refused, at most {self.most_refused} need be"
        nowhere = set(self.ids) - self._held - self._dead - self._accepted
        if self.is_settled and nowhere:
            yield f"{len(nowhere)} events are nowhere while the fault lasts"
        if self._accepted & (self._held | self._dead) and not case.keeps:
            yield "events that the partner has kept are held or buried"

    def _problems_of_reasons(self) -> Iterator[str]:
        case, before = self.cell.case, self.before
        reasons = {case.reason, case.reason_at_first}
        if set(before.held) - reasons - {LEFT_ALONE}:
            yield f"held are {_counted(before.held)}, not as {case.reason}: {before.answers}"
        if self.fate == "held" and self.is_settled and not reasons & set(before.held):
            yield f"held are {_counted(before.held)}, none as {case.reason}"
        if set(self.after.dead) - {case.reason}:
            yield f"buried are {_counted(self.after.dead)}, not as {case.reason}"

    def _problems_of_the_end(self) -> Iterator[str]:
        """Once the fault was lifted."""
        after, late = self.after, Counter(self.after.accepted) - Counter(self.before.accepted)
        if after.held_ids:
            yield f"held in the end are {_counted(after.held)}"
        if set(after.accepted) & set(after.dead_ids):
            yield "events that were delivered are buried too"
        came = after.accepted if self.most_copies is None else late  # what hung is answered then
        if self._held - {*came, *after.dead_ids}:
            yield "not all that was held came when the fault was lifted"
        if max(late.values(), default=0) > (1 if self.most_copies else 2):  # one was on its way
            yield "an event came again when the fault was lifted"

    def _problems_of_books(self) -> Iterator[str]:
        first, last = self.books[0], self.books[-1]
        if any(map(imbalance, self.books)):
            yield f"the books do not balance: {list(map(dict, self.books))}"
        if first["offered"] != len(self.cell.ids):
            yield f"{first['offered']} events were offered, not {len(self.cell.ids)}"
        if first is not last and not first["held"] == last["adopted"] == len(self.before.held_ids):
            yield f"{first['held']} are said to be held, {last['adopted']} to be adopted"
        if last["held"] != len(self.after.held_ids):
            yield f"{last['held']} events are said to be held in the end"
        dead: Counter[str] = sum((Counter(book["dead"]) for book in self.books), Counter())
        if dead != _counted(self.after.dead):
            yield f"{dict(dead)} are said to be buried, {_counted(self.after.dead)} are"
        attempts = sum(book["attempts"] for book in self.books)
        if self.cell.case.name == NEVER_FAILS and attempts != sum(
            b["requests"] for b in self.books
        ):
            yield f"{attempts} attempts at a partner that works"
        if self.after.requests > attempts:
            yield f"the partner saw {self.after.requests} requests, {attempts} were counted"

    @property
    def _accepted(self) -> set[str]:
        return set(self.ids) & set(self.before.accepted)

    @property
    def _held(self) -> set[str]:
        return set(self.before.held_ids)

    @property
    def _dead(self) -> set[str]:
        return set(self.before.dead_ids)


def imbalance(book: Book) -> int:
    """By how many events the books of a connector do not balance."""
    ended = book["delivered"] + sum(book["filtered"].values()) + sum(book["dead"].values())
    return int(book["offered"] + book["adopted"] - ended - book["held"])


def _counted(ids_by_reason: Mapping[str, Sequence[str]]) -> Mapping[str, int]:
    return {reason: len(ids) for reason, ids in ids_by_reason.items()}
