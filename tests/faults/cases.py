"""The faults as a table of data: how the stand-in behaves, and what is to become of the events."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from runtime.delivery import QUICK_TRIES
from sandbox.partners import Fault

PATIENT = "10 s"
IMPATIENT = "1 s"
"""The deadline of an exchange where the partner is waited for in vain."""
NEVER_FAILS = "none"
"""The case whose partners work: what the others do must not be felt there."""

Fate = Literal["delivered", "held", "buried", "mixed"]
"""What becomes of the events while the fault lasts: all are delivered; all are held; what the partner
refuses is buried and the rest delivered; or some are delivered, and those that are not are held."""


class Place(Enum):
    """Where a partner is while its fault lasts."""

    ORDINARY = "is where it is said to be"
    NOBODY = "does not listen on its port"
    FULL = "listens, and accepts no connection"
    NO_NAME = "has a host name that leads nowhere"
    NOT_PUBLIC = "has an address that is not opened"
    EXPIRED = "presents a certificate that has expired"
    OTHER_NAME = "presents the certificate of another host"
    UNKNOWN_CA = "presents a certificate that it has signed itself"
    NO_TLS = "speaks plain http where https is expected"


ENCRYPTED = (Place.EXPIRED, Place.OTHER_NAME, Place.UNKNOWN_CA, Place.NO_TLS)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fault; cases that follow each other, do and mean the same share a row in print."""

    name: str
    does: str
    """What the partner does, in words."""
    fate: Fate
    """In a run over files."""
    fate_streamed: Fate
    reason: str = ""
    """Why events are held or buried."""
    reason_at_first: str = ""
    """Why those are held that were sent before another address was read."""
    fault: Fault | None = None
    """In its headers, `{elsewhere}` is a trap, `{itself}` its own address, `{soon}` a date."""
    place: Place = Place.ORDINARY
    timeout: str = PATIENT
    keeps: bool = False
    """Whether the partner keeps events though no answer says so: they come twice or more."""
    poisoned: bool = False
    """Whether it refuses a single event, and not all of them."""
    asks_to_wait: bool = False
    """Whether the lane waits for longer than the fault lasts, if nobody changes its settings."""
    stops_at_once: bool = False
    """Whether one such answer is enough to send no more."""

    @property
    def most_copies(self) -> int:
        """So many of an event in the end of two runs: of tries unheard, and of the last one."""
        return QUICK_TRIES + 1 if self.keeps else 1


def _accepts(name: str, does: str, fault: Fault | None) -> Case:
    """It keeps the events, and what it answers is odd."""
    return Case(name=name, does=does, fault=fault, fate="delivered", fate_streamed="delivered")


def _holds(
    name: str,
    does: str,
    fault: Fault,
    reason: str,
    *,
    keeps: bool = False,
    timeout: str = PATIENT,
    asks_to_wait: bool = False,
    stops_at_once: bool = False,
) -> Case:
    """Nothing proves a delivery, and everything is held."""
    return Case(
        name=name,
        does=does,
        fault=fault,
        fate="held",
        fate_streamed="held",
        reason=reason,
        keeps=keeps,
        timeout=timeout,
        asks_to_wait=asks_to_wait,
        stops_at_once=stops_at_once,
    )


def _rejects(
    status: int, name: str = "", does: str = "answers that to everything", *, early: bool = False
) -> Case:
    """It accepts nothing: that may be the lane's fault, so that a stream buries 100 at the most."""
    return Case(
        name=name or str(status),
        does=does,
        fault=Fault(status=status, wire="early_answer" if early else None),
        fate="held",
        fate_streamed="buried",
        reason="too_large" if status == 413 else "rejected",
    )


def _refuses_one(status: int) -> Case:
    return Case(
        name=f"{status} to one",
        does="answers that where one certain event is in the request",
        fault=Fault(status=status),
        fate="buried",
        fate_streamed="buried",
        reason="too_large" if status == 413 else "rejected",
        poisoned=True,
    )


def _answers(status: int, name: str = "", does: str = "answers that", **headers: str) -> Case:
    """It answers with a status that says nothing of the events."""
    fault = Fault(status=status, headers=headers)
    return _holds(name or str(status), does, fault, f"status_{status}")


def _asks(name: str, retry_after: str, does: str, *, honoured: bool) -> Case:
    """It answers with a Retry-After, which is honoured where it is a time to come."""
    fault = Fault(status=429, retry_after=retry_after)
    return _holds(name, does, fault, "status_429", asks_to_wait=honoured, stops_at_once=honoured)


def _breaks(name: str, does: str, fault: Fault, *, keeps: bool = False) -> Case:
    return _holds(name, does, fault, "network", keeps=keeps)


def _hangs(name: str, does: str, fault: Fault, *, keeps: bool = False) -> Case:
    return _holds(name, does, fault, "timeout", keeps=keeps, timeout=IMPATIENT)


def _is_at(name: str, place: Place, reason: str = "network", timeout: str = PATIENT) -> Case:
    """It cannot be reached, or not be trusted."""
    return Case(
        name=name,
        does=place.value,
        place=place,
        fate="held",
        fate_streamed="held",
        reason=reason,
        reason_at_first="network",
        timeout=timeout,
    )


def _flips(name: str, does: str, fault: Fault, *, keeps: bool = False) -> Case:
    return Case(
        name=name,
        does=does,
        fault=fault,
        fate="mixed",
        fate_streamed="mixed",
        reason=f"status_{fault.status}",
        keeps=keeps,
    )


def _oddly_accepted() -> Iterator[Case]:
    yield _accepts(NEVER_FAILS, "works", None)
    for status in (201, 202, 204, 206):
        yield _accepts(str(status), "answers that", Fault(status=status, keeps=True))
    for name, body, headers in (
        ("200 page", b"<!doctype html><title>It works!</title>", {}),
        ("200 error", b'{"success": false, "error": "no"}', {}),
        ("200 garbage", b"\xff\x00\x80no", {"Content-Encoding": "gzip"}),
    ):
        fault = Fault(status=200, keeps=True, body=body, headers=headers)
        yield _accepts(name, "answers 200 with such a body", fault)
    yield _accepts("gigabyte", "answers 200 with a gigabyte", Fault(wire="long_answer"))
    yield _accepts("interim", "sends 100 and 103 before its answer", Fault(wire="interim"))
    yield _accepts("HTTP/1.0", "ends its answer with the connection", Fault(wire="no_length"))
    yield _accepts("closes", "ends each connection unsaid, after an answer", Fault(wire="close"))
    yield _accepts("slow", "answers after 0.3 s", Fault(delay_seconds=0.3))
    yield _accepts("503 at times", "does that every fourth time", Fault(status=503, every=4))
    yield _accepts("reset at times", "does that every fourth time", Fault(reset=True, every=4))


def _statuses() -> Iterator[Case]:
    for status in (101, 300, 304):
        yield _answers(status)
    yield _answers(
        302, "302 elsewhere", "redirects to a host that would take it", Location="{elsewhere}"
    )
    yield _answers(
        307,
        "307 metadata",
        "redirects to 169.254.169.254",
        Location="http://169.254.169.254/latest/meta-data/",
    )
    yield _answers(308, "308 loop", "redirects to itself", Location="{itself}")
    for status in (401, 403, 404, 407):
        does = "answers that: the key or the address is refused"
        fault = Fault(status=status)
        yield _holds(str(status), does, fault, f"status_{status}", stops_at_once=True)
    for status in (400, 405, 409, 410, 413, 414, 415, 422, 431, 451):
        yield _rejects(status)
    yield _rejects(
        413, "413 early", "answers that before it has read the body, and closes", early=True
    )
    for status in (400, 413, 422):
        yield _refuses_one(status)
    for status in (408, 425, 429, 500, 501, 502, 503, 504, 507, 520, 599, 999):
        yield _answers(status)


def _waits() -> Iterator[Case]:
    asked = "answers 429 with that `Retry-After`: it is honoured, for 6 h at the most"
    yield _asks("60", "60", asked, honoured=True)
    yield _asks("a date in 1 h", "{soon}", asked, honoured=True)
    yield _asks("the year 9999", "Fri, 31 Dec 9999 23:59:59 GMT", asked, honoured=True)
    yield _asks("99999999999", "99999999999", asked, honoured=True)
    yield _asks("5,000 digits", "9" * 5_000, asked, honoured=True)
    nothing = "answers 429 with that `Retry-After`: it asks for nothing"
    yield _asks("0", "0", nothing, honoured=False)
    yield _asks("-5", "-5", nothing, honoured=False)
    yield _asks("1e3", "1e3", nothing, honoured=False)
    yield _asks("the year 1994", "Sun, 06 Nov 1994 08:49:37 GMT", nothing, honoured=False)
    yield _asks("soon; maybe", "soon; maybe", nothing, honoured=False)


def _addresses() -> Iterator[Case]:
    yield _is_at("refused", Place.NOBODY)
    yield _is_at("not accepted", Place.FULL, "timeout", IMPATIENT)
    yield _is_at("no such name", Place.NO_NAME)
    yield _is_at("not public", Place.NOT_PUBLIC, "address")
    yield _is_at("TLS expired", Place.EXPIRED)
    yield _is_at("TLS wrong host", Place.OTHER_NAME)
    yield _is_at("TLS self-signed", Place.UNKNOWN_CA)
    yield _is_at("no TLS", Place.NO_TLS)


def _broken_exchanges() -> Iterator[Case]:
    yield _breaks("reset at head", "resets before the body", Fault(wire="reset_at_head"))
    yield _breaks("reset in body", "resets in the middle of the body", Fault(wire="reset_in_body"))
    yield _breaks("reset", "resets after the body", Fault(reset=True))
    for name, does, fault in (
        (
            "reset in answer",
            "keeps the events and resets in its answer",
            Fault(wire="reset_in_answer"),
        ),
        ("cut short", "keeps the events and ends before its answer ends", Fault(wire="cut_short")),
        (
            "bad chunks",
            "keeps the events and answers in chunks that are none",
            Fault(wire="bad_chunks"),
        ),
        ("no HTTP", "keeps the events and greets like a mail server", Fault(wire="no_http")),
    ):
        yield _breaks(name, does, fault, keeps=True)
    early = Fault(status=503, wire="early_answer")
    yield _holds("503 early", "answers 503 before it has read the body", early, "status_503")
    two = Fault(status=429, wire="surplus")
    yield _holds("two answers", "answers 429, and then a 200 unasked", two, "status_429")
    long = Fault(status=500, wire="long_answer")
    yield _holds("500 gigabyte", "answers 500 with a gigabyte", long, "status_500")
    kept = Fault(status=504, keeps=True)
    yield _holds("504, kept", "keeps the events and answers 504", kept, "status_504", keeps=True)


def _endless_exchanges() -> Iterator[Case]:
    yield _hangs("hangs", "never answers", Fault(hang=True))
    yield _hangs("100 alone", "sends 100 Continue, and no more", Fault(hang=True, wire="interim"))
    yield _hangs("slow body", "reads the request at a byte a second", Fault(wire="slow_body"))
    hang = Fault(hang=True, keeps=True)
    yield _hangs("hangs, kept", "keeps the events and never answers", hang, keeps=True)
    drip = Fault(drip=True)
    yield _hangs("drips", "keeps the events and answers at a byte a second", drip, keeps=True)


def _flipping_answers() -> Iterator[Case]:
    does = "answers that to every other request, and 200 to the others"
    for status in (503, 401, 429):
        yield _flips(f"{status} or 200", does, Fault(status=status, every=2))
    kept = Fault(status=504, keeps=True, every=2)
    yield _flips("504, kept, or 200", "does that by turns", kept, keeps=True)


CASES = (
    *_oddly_accepted(),
    *_statuses(),
    *_waits(),
    *_addresses(),
    *_broken_exchanges(),
    *_endless_exchanges(),
    *_flipping_answers(),
)
