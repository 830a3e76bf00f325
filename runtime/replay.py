"""Replaying dead letters: choosing them, reading them as pulls, and recording which were settled.

Below the folder of dead letters lies `replayed/`: files of letter ids, a line each, of the replays
that ended well. A letter that stands there has moved on: it was delivered, held, or buried anew as
another letter.
"""

import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

import msgspec

from runtime.clock import now_ms
from runtime.connectors import Config
from runtime.dead_letters import DamagedLetters, Letter, letter_files, read_letters
from runtime.decoding import left_out
from runtime.routing import Router
from runtime.storage import (
    StorageError,
    join,
    list_names,
    read_file,
    remove_file,
    write_whole,
    writing_whole,
)
from schemas.catalogue import canonical_event_type, is_type
from schemas.event import EventHeader, InvalidEvent, decode_event
from schemas.pull import Pull
from sinks.packing import Envelope, fill

MAX_REPLAYS = 3
"""A letter of an event that was replayed this often is not replayed again: the loop guard."""

PULL_BYTES = 1_000_000
_LINES = Envelope(prefix=b"", suffix=b"", separator=b"\n")


class LetterPart(NamedTuple):
    """The chosen letters of one file, by their position in it, ascending."""

    uri: str
    positions: Sequence[int]


@dataclass(frozen=True)
class Replay:
    """The letters that a run replays, and how many a second at the most."""

    parts: Sequence[LetterPart]
    rate: float | None = None


@dataclass(frozen=True)
class Wanted:
    """Which letters are asked for; what is empty or None asks for all."""

    connectors: Sequence[str] = ()
    reasons: Sequence[str] = ()
    event_types: Sequence[str] = ()
    """Names or patterns, as a connector's `events`."""
    since_ms: int | None = None
    until_ms: int | None = None
    """By the time of burying: from `since_ms` on, before `until_ms`."""

    def takes(self, letter: Letter) -> bool:
        return (
            (not self.connectors or letter.connector in self.connectors)
            and (not self.reasons or letter.reason in self.reasons)
            and (self.since_ms is None or letter.buried_ms >= self.since_ms)
            and (self.until_ms is None or letter.buried_ms < self.until_ms)
            and (not self.event_types or self._takes_type(letter.event))
        )

    def _takes_type(self, event: bytes) -> bool:
        """Whether the type is asked for; a message that is no event has none."""
        header = _header_of(event)
        if header is None:
            return False
        event_type = canonical_event_type(header.event_type)
        return any(is_type(event_type, pattern) for pattern in self.event_types)


class Takers:
    """The connectors as they are today: what they would not take, or take too late."""

    def __init__(self, config: Config, now_seconds: float) -> None:
        self._config = config
        self._router = Router(config)
        self._now_seconds = now_seconds

    def refuses(self, letter: Letter) -> str | None:
        """Why the letter's connector would not take its event; None also where it has none."""
        header = _header_of(letter.event) if letter.connector else None
        return left_out(self._router.only(letter.connector), header) if header else None

    def age_advice(self, letter: Letter) -> str | None:
        """What the letter's partner says of events as old as its own, if it says something."""
        entry = self._config.connectors.get(letter.connector)
        if entry is None or not entry.sink.age_limits:
            return None
        header = _header_of(letter.event)
        return entry.sink.age_advice(self._now_seconds - header.time) if header else None


@dataclass
class Selection:
    """The letters that were chosen, and what became of the others that were asked for."""

    parts: list[LetterPart] = field(default_factory=list)
    letter_ids: list[str] = field(default_factory=list)
    chosen: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Letters by connector and reason."""
    too_old: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Those among them whose partner says something of their age, by connector and what it says."""
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Letters by connector and why they are left alone."""
    unread: list[str] = field(default_factory=list)
    """What could not be read, in words."""


@dataclass(frozen=True)
class Rules:
    """What is left alone of the letters that are asked for."""

    again: bool = False
    """Letters that were replayed before are not left alone."""
    guarded: bool = True
    """Letters of events that were replayed too often are."""
    takers: Takers | None = None


def select(root: str, wanted: Wanted, rules: Rules) -> Selection:
    """Choose among all letters below `root`; one that is there twice counts once.

    Raises:
        StorageError: the folder cannot be listed, or what was replayed before cannot be read.
    """
    selection = Selection()
    settled = frozenset() if rules.again else read_settled(root)
    newest = _newest(root) if rules.again and rules.guarded else {}
    seen: set[str] = set()
    for uri in letter_files(root):
        positions: list[int] = []
        for position, letter in enumerate(_readable(uri, selection.unread)):
            if letter.letter_id in seen or not wanted.takes(letter):
                continue
            seen.add(letter.letter_id)
            why = _why_skipped(letter, rules, settled, newest)
            if why:
                selection.skipped[letter.connector, why] += 1
                continue
            positions.append(position)
            selection.letter_ids.append(letter.letter_id)
            selection.chosen[letter.connector, letter.reason] += 1
            advice = rules.takers.age_advice(letter) if rules.takers else None
            if advice:
                selection.too_old[letter.connector, advice] += 1
        if positions:
            selection.parts.append(LetterPart(uri, positions))
    return selection


def _why_skipped(
    letter: Letter, rules: Rules, settled: frozenset[str], newest: Mapping[bytes, int]
) -> str | None:
    if letter.letter_id in settled:
        return "replayed_before"
    if rules.guarded and letter.replays >= MAX_REPLAYS:
        return "replayed_too_often"
    if newest and newest.get(_identity(letter), 0) > letter.replays:
        return "buried_again_since"
    return rules.takers.refuses(letter) if rules.takers else None


def _newest(root: str) -> dict[bytes, int]:
    """How often the events of replayed letters were replayed.

    Of an event that was buried several times, the newest letter alone may be replayed again: else
    it would be sent as often as it was buried, and its oldest letter would pass the loop guard.
    """
    found: dict[bytes, int] = {}
    for uri in letter_files(root):
        for letter in _readable(uri, []):
            if letter.replays:
                identity = _identity(letter)
                found[identity] = max(found.get(identity, 0), letter.replays)
    return found


def _identity(letter: Letter) -> bytes:
    return sha256(letter.connector.encode() + b"\0" + letter.event).digest()[:16]


def _header_of(event: bytes) -> EventHeader | None:
    try:
        return decode_event(event, sys.maxsize)[0]
    except InvalidEvent:
        return None


# Reading


def _readable(uri: str, unread: list[str]) -> Iterator[Letter]:
    """The letters that can be read: one damaged file must not keep the others' back."""
    try:
        yield from read_letters(uri)
    except (DamagedLetters, StorageError) as error:
        unread.append(str(error))


def chosen_letters(part: LetterPart) -> Iterator[Letter]:
    """Yield the letters of a part; a file is read no further than to the last of them."""
    positions = iter(part.positions)
    at = next(positions, None)
    for position, letter in enumerate(read_letters(part.uri)):
        if position == at:
            yield letter
            at = next(positions, None)
            if at is None:
                return


class Pace:
    """Lets events pass at a rate, and waits in between."""

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._due = clock()

    @property
    def at_once(self) -> int:
        """How many events may go together: those of a second."""
        return max(1, int(self._rate))

    def wait(self, count: int) -> None:
        """Wait until `count` more events may pass."""
        now = self._clock()
        if self._due > now:
            self._sleep(self._due - now)
        self._due = max(self._due, now) + count / self._rate


def pulls_of(part: LetterPart, pace: Pace | None) -> Iterator[Pull]:
    """Yield the events of a part, each for the connector that failed; those without one for all.

    They are published anew: their time is that of the reading.
    """
    groups: dict[tuple[str, int], list[bytes]] = {}
    for letter in chosen_letters(part):
        groups.setdefault((letter.connector, letter.replays + 1), []).append(letter.event)
    for (connector, replays), events in groups.items():
        most = pace.at_once if pace else len(events)
        for start, end in fill(map(len, events), _LINES, PULL_BYTES, most):
            if pace:
                pace.wait(end - start)
            now = now_ms()
            yield Pull(
                now,
                now,
                events[start:end],
                replays=replays,
                connector=connector,
                paced=pace is not None,
            )


# Exporting


def write_originals(parts: Sequence[LetterPart], uri: str) -> tuple[int, int]:
    """Write the events of letters as NDJSON; returns how many, and how many no line can hold.

    Raises:
        DamagedLetters, StorageError: nothing was written.
    """
    written = unfit = 0
    with writing_whole(uri) as file:
        for part in parts:
            for letter in chosen_letters(part):
                line = _as_line(letter.event)
                if line is None:
                    unfit += 1
                else:
                    written += 1
                    file.write(line + b"\n")
    return written, unfit


def _as_line(event: bytes) -> bytes | None:
    """The event without line breaks, where that leaves its meaning as it is."""
    if not event.strip():
        return None
    if b"\n" not in event and b"\r" not in event:
        return event
    try:
        msgspec.json.decode(event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # mended by accident, it might become an event that nobody sent
    return event.replace(b"\n", b" ").replace(b"\r", b" ")


# Recording


def read_settled(root: str) -> frozenset[str]:
    """The ids of all letters that were replayed before.

    Raises:
        StorageError: that cannot be known.
    """
    folder = join(root, "replayed")
    records = (read_file(join(folder, name)) for name in list_names(folder) if _is_record(name))
    return frozenset(line for record in records for line in record.decode(errors="replace").split())


def _is_record(name: str) -> bool:
    return name.endswith(".ids")


class ReplayRecord:
    """What a replay settles: there, and empty, before anything is sent, so that it can be written."""

    def __init__(self, root: str, now_seconds: float) -> None:
        """Raises StorageError where it cannot be written."""
        moment = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(now_seconds))
        self.uri = join(root, "replayed", f"{moment}-{secrets.token_hex(4)}.ids")
        write_whole(self.uri, b"")

    def settle(self, letter_ids: Sequence[str]) -> None:
        """Say that these letters have moved on.

        Raises:
            StorageError: the next replay will replay them again.
        """
        write_whole(self.uri, "".join(f"{letter_id}\n" for letter_id in letter_ids).encode())

    def drop(self) -> None:
        """Say that nothing is known of them."""
        remove_file(self.uri)
