from sandbox.partners.journal import KEEP_REQUESTS, Journal
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
