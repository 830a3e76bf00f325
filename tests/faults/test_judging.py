"""What is to be found out in a cell is found out."""

from dataclasses import replace
from typing import Any

import pytest

from tests.faults.cases import CASES
from tests.faults.judging import Found, Trial
from tests.faults.partners import Cell

CELL = Cell(next(case for case in CASES if case.name == "503"), "postback")
IDS = CELL.ids
HELD = Found(accepted=[], held={"status_503": IDS[:5], "suspended": IDS[5:]}, dead={}, requests=3)
ARRIVED = Found(accepted=IDS, held={}, dead={}, requests=9)
BOOK = {"offered": 30, "adopted": 0, "delivered": 0, "filtered": {}, "dead": {}, "held": 30}
BOOKS: list[dict[str, Any]] = [
    {**BOOK, "attempts": 3},
    {**BOOK, "offered": 0, "adopted": 30, "delivered": 30, "held": 0, "attempts": 6},
]
TRIAL = Trial(
    cell=CELL,
    ids=IDS,
    fate="held",
    before=HELD,
    is_settled=True,
    after=ARRIVED,
    books=BOOKS,
    most_copies=1,
)


def test_a_cell_in_which_all_is_right_has_no_problems() -> None:
    assert TRIAL.problems == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"after": replace(ARRIVED, accepted=IDS[1:])}, "1 events are lost"),
        ({"after": replace(ARRIVED, accepted=[*IDS, "stray"])}, "1 events of others are here"),
        ({"after": replace(ARRIVED, accepted=[*IDS, IDS[0]])}, "2 copies of an event"),
        ({"after": replace(ARRIVED, held={"status_503": IDS[:1]})}, "held in the end"),
        ({"after": replace(ARRIVED, dead={"rejected": IDS[:1]})}, "buried too"),
        ({"after": replace(ARRIVED, requests=10)}, "saw 10 requests, 9 were counted"),
        ({"before": replace(HELD, held={"status_503": IDS[1:]})}, "1 events are nowhere"),
        ({"before": replace(HELD, held={"network": IDS})}, "not as status_503"),
        ({"before": replace(HELD, held={"suspended": IDS})}, "none as status_503"),
        ({"before": replace(HELD, dead={"rejected": IDS[:1]})}, "buried are"),
        ({"before": replace(HELD, accepted=IDS[:1])}, "1 events are delivered"),
        ({"before": replace(ARRIVED, held={"status_503": IDS})}, "not all that was held came"),
        ({"books": [{**BOOKS[0], "held": 29}, BOOKS[1]]}, "do not balance"),
        ({"books": [{**BOOKS[0], "offered": 31, "held": 31}, BOOKS[1]]}, "31 events were offered"),
        ({"books": [BOOKS[0], {**BOOKS[1], "adopted": 29, "delivered": 29}]}, "29 to be adopted"),
        ({"most_refused": 2, "before": replace(HELD, refused=3)}, "3 requests were refused"),
        ({"fate": "delivered"}, "held are"),
        ({"fate": "buried"}, "buried are"),
    ],
)
def test_what_is_wrong_in_a_cell_is_said(changes: dict[str, Any], problem: str) -> None:
    assert problem in "; ".join(replace(TRIAL, **changes).problems)
