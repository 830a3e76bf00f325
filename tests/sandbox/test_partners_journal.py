from sandbox.partners.journal import KEEP_FAILED, KEEP_REQUESTS, Journal
from sandbox.partners.site import Arrival, Judgement, Reply


def test_only_the_last_requests_are_remembered_but_all_are_counted() -> None:
    journal = Journal(keep_bodies=1, keep_ids=True)
    arrival = Arrival("POST", "", {}, {}, b"x")
    numbers = [journal.open(arrival, [str(n)], None) for n in range(KEEP_REQUESTS + 2)]
    kept = journal.requests()
    assert (len(kept), kept[0].event_ids, kept[-1].event_ids) == (KEEP_REQUESTS, ["2"], ["10001"])
    assert journal.counts().requests == KEEP_REQUESTS + 2
    journal.settle(numbers[0], Judgement(Reply(200), ["0"]), None)
    assert journal.accepted_ids(None) == ["0"]
    assert len(journal.requests()) == KEEP_REQUESTS


def test_bodies_and_answers_are_kept_of_the_last_requests_alone() -> None:
    journal = Journal(keep_bodies=2, keep_ids=False)
    numbers = [
        journal.open(Arrival("POST", "", {}, {}, body), [], None) for body in (b"a", b"b", b"c")
    ]
    for number in numbers:
        journal.settle(number, Judgement(Reply(200 + number)), None)
        journal.end(number)
    newest, *_, oldest = journal.latest(9)
    assert (newest.number, newest.body, newest.answer) == (2, b"c", Reply(202))
    assert (oldest.number, oldest.body, oldest.answer) == (0, None, None)
    assert oldest.received.status == 200  # the line of it is
    assert [exchange.number for exchange in journal.latest(2)] == [2, 1]
    assert journal.exchange(1) == journal.latest(2)[1]
    assert journal.exchange(3) is None


def test_what_is_under_way_and_what_was_broken_off_have_no_answer() -> None:
    journal = Journal(keep_bodies=2, keep_ids=False)
    number = journal.open(Arrival("POST", "", {}, {}, b""), ["1"], None)
    [under_way] = journal.latest(1)
    assert (under_way.answer, under_way.received.ended_at) == (None, None)
    journal.end(number)
    [broken_off] = journal.latest(1)
    assert (broken_off.answer, broken_off.received.status) == (None, None)
    assert broken_off.received.ended_at is not None


def test_what_failed_is_kept_longer_than_what_did_not() -> None:
    journal = Journal(keep_bodies=2, keep_ids=False)

    def exchange(status: int) -> int:
        number = journal.open(Arrival("POST", "", {}, {}, b"%d" % status), [], None)
        journal.settle(number, Judgement(Reply(status)), None)
        journal.end(number)
        return number

    refused = exchange(400)
    accepted = [exchange(200) for _ in range(9)]
    assert [one.number for one in journal.latest(3)] == [*accepted[:-4:-1], refused]
    kept = journal.exchange(refused)
    assert kept is not None
    assert (kept.body, kept.answer) == (b"400", Reply(400))
    assert journal.bodies() == [b"200", b"200"]
    later = [exchange(503) for _ in range(KEEP_FAILED)]
    assert [one.number for one in journal.latest(1)] == later[::-1]
    forgotten = journal.exchange(refused)
    assert forgotten is not None
    assert forgotten.body is None
