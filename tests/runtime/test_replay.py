"""Replaying: which dead letters are chosen, how they are read again, and what is remembered of it."""

import contextlib
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from runtime.connectors import of_all_app_groups
from runtime.dead_letters import DamagedLetters, read_letters, write_letters
from runtime.decoding import Decoder
from runtime.keeping import Letters
from runtime.ledger import Tally
from runtime.receipts import Receipts
from runtime.replay import (
    MAX_REPLAYS,
    PULL_BYTES,
    LetterPart,
    Pace,
    ReplayRecord,
    Rules,
    Selection,
    Takers,
    Wanted,
    chosen_letters,
    pulls_of,
    read_settled,
    select,
    write_originals,
)
from runtime.reporting import make_report
from runtime.routing import Router
from runtime.storage import join, list_names, read_file, write_whole
from sandbox.samples import sample_event
from schemas.dead_letter import DeadLetter
from schemas.pull import Pull
from tests.runtime.configs import config_of, hook

BURIED_MS = 1_700_000_000_000
OPEN, CLICK = "users.messages.email.Open", "users.messages.email.Click"
DAY = 86_400


@pytest.fixture(params=["path", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder for dead letters on each kind of storage that needs no network."""
    yield str(tmp_path / "dead") if request.param == "path" else f"memory://{uuid.uuid4().hex}"
    fsspec.filesystem("memory").store.clear()


def event_of(seed: int = 1, event_type: str = OPEN, **fields: Any) -> bytes:
    return json.dumps(sample_event(event_type, seed=seed, **fields)).encode()


def letter_of(event: bytes | None = None, **changes: Any) -> DeadLetter:
    known = {"stage": "deliver", "reason": "rejected", "connector": "crm", "buried_ms": BURIED_MS}
    return DeadLetter(**{"event": event_of() if event is None else event, **known, **changes})


def events_in(selection: Selection) -> list[bytes]:
    return [letter.event for part in selection.parts for letter in chosen_letters(part)]


# Which letters are chosen

OF_MANY = [
    letter_of(event_of(1)),
    letter_of(event_of(2), connector="cdp", reason="expired", stage="hold"),
    letter_of(event_of(3, CLICK), buried_ms=BURIED_MS + 1_000),
    letter_of(b"nope", connector="", stage="decode", reason="invalid_json"),
]
FILTERS: list[tuple[Wanted, list[int]]] = [
    (Wanted(), [0, 1, 2, 3]),
    (Wanted(connectors=["crm"]), [0, 2]),
    (Wanted(connectors=["crm", "cdp"]), [0, 1, 2]),
    (Wanted(reasons=["expired", "invalid_json"]), [1, 3]),
    (Wanted(event_types=[CLICK]), [2]),
    (Wanted(event_types=["users.message.email.*"]), [0, 1, 2]),
    (Wanted(since_ms=BURIED_MS + 1), [2]),
    (Wanted(since_ms=BURIED_MS, until_ms=BURIED_MS + 1_000), [0, 1, 3]),
    (Wanted(connectors=["crm"], event_types=[OPEN]), [0]),
    (Wanted(connectors=["crn"]), []),
]


@pytest.mark.parametrize(("wanted", "which"), FILTERS)
def test_a_letter_is_chosen_that_passes_every_filter(
    wanted: Wanted, which: list[int], tmp_path: Path
) -> None:
    write_letters(str(tmp_path), OF_MANY)
    selection = select(str(tmp_path), wanted, Rules())
    assert events_in(selection) == [OF_MANY[number].event for number in which]
    assert selection.chosen == Counter(
        (OF_MANY[number].connector, OF_MANY[number].reason) for number in which
    )


def test_a_letter_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    write_letters(str(tmp_path), [letter_of(), letter_of(answer="no")])
    write_letters(str(tmp_path), [letter_of(buried_ms=BURIED_MS + 2 * DAY * 1_000)])
    selection = select(str(tmp_path), Wanted(), Rules())
    assert events_in(selection) == [event_of()]
    assert selection.letter_ids == [letter_of().letter_id]


def test_what_was_settled_is_left_alone_unless_again_is_asked_for(root: str) -> None:
    write_letters(root, [letter_of(event_of(seed)) for seed in (1, 2, 3)])
    first = select(root, Wanted(event_types=[OPEN]), Rules())
    ReplayRecord(root, 0).settle(first.letter_ids[:2])
    second = select(root, Wanted(), Rules())
    assert events_in(second) == [event_of(3)]
    assert second.skipped == {("crm", "replayed_before"): 2}
    assert events_in(select(root, Wanted(), Rules(again=True))) == events_in(first)


def test_a_record_is_there_before_anything_is_sent_and_goes_with_a_failed_run(root: str) -> None:
    write_letters(root, [letter_of()])
    record = ReplayRecord(root, 0)
    assert (read_file(record.uri), read_settled(root)) == (b"", frozenset())
    record.drop()
    assert list_names(join(root, "replayed")) == []


def test_two_records_of_the_same_second_are_two_files(root: str) -> None:
    ReplayRecord(root, 0).settle(["a"])
    ReplayRecord(root, 0).settle(["b"])
    assert read_settled(root) == {"a", "b"}


@pytest.mark.parametrize("again", [False, True])
def test_an_event_that_was_replayed_too_often_is_left_alone_whatever_is_asked(
    again: bool, tmp_path: Path
) -> None:
    letters = [letter_of(replays=replays) for replays in range(MAX_REPLAYS + 1)]
    write_letters(str(tmp_path), [*letters, letter_of(event_of(2), replays=MAX_REPLAYS - 1)])
    ReplayRecord(str(tmp_path), 0).settle([letter.letter_id for letter in letters[:-1]])
    selection = select(str(tmp_path), Wanted(), Rules(again=again))
    assert events_in(selection) == [event_of(2)]
    assert selection.skipped["crm", "replayed_too_often"] == 1


def test_of_an_event_that_was_buried_again_the_newest_letter_alone_is_replayed_again(
    tmp_path: Path,
) -> None:
    letters = [letter_of(), letter_of(replays=1), letter_of(connector="cdp")]
    write_letters(str(tmp_path), letters)
    ReplayRecord(str(tmp_path), 0).settle([letter.letter_id for letter in letters])
    selection = select(str(tmp_path), Wanted(), Rules(again=True))
    assert selection.letter_ids == [letters[1].letter_id, letters[2].letter_id]
    assert selection.skipped == {("crm", "buried_again_since"): 1}


def test_the_loop_guard_does_not_hold_for_what_is_only_written_out(tmp_path: Path) -> None:
    write_letters(str(tmp_path), [letter_of(replays=MAX_REPLAYS)])
    assert select(str(tmp_path), Wanted(), Rules(guarded=False)).chosen.total() == 1


def test_only_letters_are_read_below_the_folder(root: str) -> None:
    write_letters(root, [letter_of()])
    ReplayRecord(root, 0).settle(["a"])
    for stray in ("notes.txt", "date=2023-11-14/notes.txt", "old/date=2023-11-14/a.avro"):
        write_whole(join(root, *stray.split("/")), b"left here by a person")
    selection = select(root, Wanted(), Rules())
    assert (events_in(selection), selection.unread) == ([event_of()], [])


def test_a_folder_that_is_not_there_has_no_letters(tmp_path: Path) -> None:
    assert select(str(tmp_path / "none"), Wanted(), Rules()) == Selection()


def test_a_damaged_file_is_told_and_costs_neither_its_whole_blocks_nor_other_files(
    tmp_path: Path,
) -> None:
    fresh = [letter_of(event_of(seed), answer=uuid.uuid4().hex) for seed in range(200)]
    cut, foreign = write_letters(str(tmp_path), fresh), tmp_path / "date=2023-11-14" / "a.avro"
    whole = read_file(cut)
    Path(cut).write_bytes(whole[:-100])
    foreign.write_bytes(b"no Avro at all")
    write_letters(str(tmp_path), [letter_of(b"other")])
    selection = select(str(tmp_path), Wanted(), Rules())
    readable = _readable_of(cut)
    assert 0 < len(readable) < 200
    assert Counter(events_in(selection)) == Counter([*readable, b"other"])
    assert len(selection.unread) == 2
    assert all("cannot be read to its end" in problem for problem in selection.unread)


def _readable_of(uri: str) -> list[bytes]:
    found: list[bytes] = []
    with contextlib.suppress(DamagedLetters):
        for letter in read_letters(uri):
            found.append(letter.event)  # noqa: PERF401 - what comes before the damage counts
    return found


# What its connector would not take today is left alone

FEEDS = {"unbound": {"key": "env:K", "secret": "env:S"}}
CONNECTORS = [
    hook("crm"),
    hook("off", enabled=False),
    hook("brand", app_group_ids=["brand-a"]),
    hook("clicks", events=[CLICK]),
    hook("app", app_ids=["another"]),
    {"name": "mobile", "kind": "mparticle", "feeds": FEEDS},
]


def takers(now_seconds: float = 0) -> Takers:
    return Takers(config_of(*CONNECTORS), now_seconds)


@pytest.mark.parametrize(
    ("connector", "why"),
    [
        ("crm", None),
        ("", None),
        ("gone", "connector_removed"),
        ("off", "disabled"),
        ("brand", "other_app_group"),
        ("clicks", "event_type"),
        ("app", "app_id"),
    ],
)
def test_what_its_connector_does_not_take_today_is_left_alone(
    connector: str, why: str | None, tmp_path: Path
) -> None:
    event = event_of(properties={"app_group_id": "brand-b"})
    write_letters(str(tmp_path), [letter_of(event, connector=connector)])
    selection = select(str(tmp_path), Wanted(), Rules(takers=takers()))
    assert selection.skipped == ({(connector, why): 1} if why else {})
    assert events_in(selection) == ([] if why else [event])


@pytest.mark.parametrize(
    ("age", "old"),
    [(3 * DAY, None), (3 * DAY + 1, "72 hours"), (30 * DAY, "72 hours"), (30 * DAY + 1, "30 days")],
)
def test_what_is_too_old_for_its_partner_is_counted_and_chosen_all_the_same(
    age: int, old: str | None, tmp_path: Path
) -> None:
    letters = [letter_of(connector=name) for name in ("mobile", "crm")]
    write_letters(str(tmp_path), letters)
    now = json.loads(event_of())["time"] + age
    selection = select(str(tmp_path), Wanted(), Rules(takers=takers(now)))
    assert list(selection.too_old.values()) == ([1] if old else [])
    assert all(found == "mobile" and str(old) in advice for found, advice in selection.too_old)
    assert selection.chosen.total() == 2


# Reading


def part_of(folder: Path, *letters: DeadLetter) -> LetterPart:
    return LetterPart(write_letters(str(folder), letters), range(len(letters)))


def test_a_pull_has_the_same_bytes_for_one_connector_replayed_once_more(tmp_path: Path) -> None:
    odd = b'{"a": 1.0, "b":"\\u00e9"}\n'
    part = part_of(
        tmp_path,
        letter_of(event_of(1)),
        letter_of(b"x", connector="cdp"),
        letter_of(event_of(2)),
        letter_of(odd, connector="", stage="decode", reason="missing_field", replays=1),
        letter_of(event_of(3), replays=1),
    )
    found = [(pull.connector, pull.replays, pull.messages) for pull in pulls_of(part, None)]
    assert found == [
        ("crm", 1, [event_of(1), event_of(2)]),
        ("cdp", 1, [b"x"]),
        ("", 2, [odd]),
        ("crm", 2, [event_of(3)]),
    ]


def test_a_pull_is_bounded_in_size(tmp_path: Path) -> None:
    large = [bytes([65 + number]) * 400_000 for number in range(5)]
    part = part_of(tmp_path, *map(letter_of, [*large, b"z" * (PULL_BYTES + 1)]))
    sizes = [len(pull.messages) for pull in pulls_of(part, None)]
    assert sizes == [2, 2, 1, 1]


def test_only_the_chosen_positions_are_read(tmp_path: Path) -> None:
    part = part_of(tmp_path, *(letter_of(event_of(seed)) for seed in range(5)))
    chosen = [letter.event for letter in chosen_letters(LetterPart(part.uri, [1, 3]))]
    assert chosen == [event_of(1), event_of(3)]


class HandClock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("rate", "pulls"), [(0.5, 20), (4, 5), (4.9, 5), (1_000, 1)])
def test_no_more_events_a_second_are_read_than_the_rate(
    rate: float, pulls: int, tmp_path: Path
) -> None:
    part = part_of(tmp_path, *(letter_of(event_of(seed)) for seed in range(20)))
    clock = HandClock()
    pace = Pace(rate, clock, clock.sleep)
    read = 0
    found = []
    for pull in pulls_of(part, pace):
        # what goes together is a second's, or one: ahead of the rate by no more than that
        assert read <= rate * (clock.now - 100) + 1e-6
        read += len(pull.messages)
        found.append(pull)
    assert (len(found), read, {pull.paced for pull in found}) == (pulls, 20, {True})


def test_what_waited_otherwise_is_not_made_up_for() -> None:
    clock = HandClock()
    pace = Pace(10, clock, clock.sleep)
    clock.now += 60
    pace.wait(10)
    pace.wait(10)
    assert clock.now == 161


# Decoding what is replayed: to the connector that failed and to no other


def decode(decoder: Decoder, *pulls: Pull) -> tuple[list[DeadLetter], list[tuple[str, int, Any]]]:
    outputs = [found for pull in pulls for found in decoder.decode(pull)]
    outputs += decoder.flush()
    letters = [x for found in outputs if isinstance(found, Letters) for x in found.letters]
    fragments = [
        (found[0], found[1].replays, found[1].events)
        for found in outputs
        if not isinstance(found, Letters)
    ]
    return letters, fragments


def decoder_of(max_event_bytes: int = 100_000) -> Decoder:
    return Decoder(Router(config_of(*CONNECTORS)), Receipts(), max_event_bytes)


def replayed(*messages: bytes, connector: str = "crm", replays: int = 1, **more: Any) -> Pull:
    return Pull(1, 1, list(messages), replays=replays, connector=connector, **more)


def test_a_replayed_event_goes_to_its_connector_and_no_other() -> None:
    decoder = decoder_of()
    assert decode(decoder, replayed(event_of())) == ([], [("crm/0/", 1, [event_of()])])
    assert set(decoder.take_tally().connectors) == {"crm"}


def test_a_replayed_message_without_a_connector_goes_to_all() -> None:
    _, fragments = decode(decoder_of(), replayed(event_of(), connector=""))
    assert {key.split("/")[0] for key, _, _ in fragments} >= {"crm", "mobile"}
    assert {replays for _, replays, _ in fragments} == {1}


def test_events_that_were_replayed_more_or_less_often_do_not_share_a_fragment() -> None:
    pulls = [
        Pull(1, 1, [event_of(1)]),
        replayed(event_of(2)),
        replayed(event_of(3), replays=2),
        replayed(event_of(4)),
    ]
    _, fragments = decode(decoder_of(), *pulls)
    assert [found for found in fragments if found[0] == "crm/0/"] == [
        ("crm/0/", 0, [event_of(1)]),
        ("crm/0/", 1, [event_of(2), event_of(4)]),
        ("crm/0/", 2, [event_of(3)]),
    ]


def test_what_reading_paces_does_not_wait_in_a_lane() -> None:
    decoder = decoder_of()
    assert list(decoder.decode(replayed(event_of(1)))) == []
    (fragment,) = decoder.decode(replayed(event_of(2), paced=True))
    assert not isinstance(fragment, Letters)
    assert fragment[1].events == [event_of(1), event_of(2)]


def test_the_size_of_an_event_that_was_taken_once_is_not_judged_again() -> None:
    small = decoder_of(max_event_bytes=10)
    assert decode(small, replayed(event_of())) == ([], [("crm/0/", 1, [event_of()])])
    letters, _ = decode(small, replayed(event_of(), connector=""))
    assert [(x.reason, x.connector, x.replays) for x in letters] == [("too_large", "", 1)]


def test_what_an_edit_makes_undeliverable_meanwhile_is_buried_again_for_its_connector() -> None:
    brand_b = event_of(properties={"app_group_id": "brand-b"})
    letters, fragments = decode(
        decoder_of(),
        replayed(brand_b, connector="brand", replays=2),
        replayed(event_of(), connector="gone"),
        replayed(b"nope"),
    )
    assert fragments == []
    assert [(x.connector, x.reason, x.replays) for x in letters] == [
        ("brand", "other_app_group", 2),
        ("gone", "connector_removed", 1),
        ("crm", "invalid_json", 1),
    ]


def test_the_books_of_a_replay_balance_and_show_what_is_missing() -> None:
    decoder = decoder_of()
    config = config_of(*CONNECTORS)
    letters, fragments = decode(
        decoder,
        replayed(event_of(1), event_of(2)),
        replayed(event_of(3, CLICK), connector="clicks"),
        replayed(event_of(4), event_of(5, CLICK), connector="clicks"),
        replayed(b"nope", event_of(1, properties={"app_group_id": "brand-b"}), connector="brand"),
        replayed(event_of(6), b"nope", connector=""),
    )
    tally = decoder.take_tally()
    for letter in letters:
        if letter.connector:
            tally.of(letter.connector).dead[letter.reason] += 1
    for key, _, events in fragments:
        tally.of(key.split("/")[0]).delivered += len(events)
    report = make_report(tally, config, of_all_app_groups(config), 0, "")
    assert (report.received, report.invalid, report.balanced) == (9, 1, True)
    assert report.connectors["crm"].offered == 3
    assert report.connectors["clicks"].filtered == {"event_type": 2}
    lost = Tally()
    lost.add(tally)
    lost.received += 1
    assert not make_report(lost, config, of_all_app_groups(config), 0, "").balanced


# Writing out


def test_originals_are_a_line_each_and_what_fits_no_line_is_counted(root: str) -> None:
    letters = [
        letter_of(event_of(1)),
        letter_of(b'{"id":\n 1}\r\n', connector="", stage="decode"),
        letter_of(b'{"id":"a\nb"}', connector="", stage="decode"),
        letter_of(b"nope", connector="", stage="decode"),
        letter_of(b"", connector="", stage="decode"),
        letter_of(b"two\nlines", connector="", stage="decode"),
    ]
    write_letters(root, letters)
    selection = select(root, Wanted(), Rules(guarded=False))
    uri = join(root, "out.ndjson")
    assert write_originals(selection.parts, uri) == (3, 3)
    assert read_file(uri) == event_of(1) + b'\n{"id":  1}  \nnope\n'


def test_originals_that_cannot_be_read_leave_no_file(tmp_path: Path) -> None:
    part = part_of(tmp_path, letter_of())
    Path(part.uri).write_bytes(b"no Avro at all")
    with pytest.raises(DamagedLetters):
        write_originals([part], str(tmp_path / "out" / "a.ndjson"))
    assert list((tmp_path / "out").iterdir()) == []
