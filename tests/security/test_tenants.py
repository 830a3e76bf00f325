"""An app group's events go to the connectors that name it, and to those for all: to no lookalike's."""

import collections
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.decoding import Decoder
from runtime.keeping import Letters
from runtime.receipts import Receipts
from runtime.routing import Router
from schemas.lane import Lane
from schemas.pull import Pull
from tests.runtime.configs import config_of, hook

NAME = "brand-a"
LOOKALIKES = [
    *("brand-a ", " brand-a", "brand-a\n", "brand-a\0", "brand-a\u200b", "\ufeffbrand-a"),
    *("Brand-A", "BRAND-A", "brand-", "brand-ab", "brand", "a", "brand\u2010a", "brand\u2011a"),
    *("br\u0430nd-a", "\uff42rand-a", "brand-\u0061\u0300", "brand-\u00e0", "brand_a", "brand-a/"),
    *(
        "*",
        "brand-*",
        "brand-?",
        "[b]rand-a",
        ".*",
        "brand-a,brand-b",
        "null",
        "None",
        "0",
        "1",
        "true",
    ),
]
GROUPS = [NAME, *LOOKALIKES]


def reached(value: Any, *more: bytes) -> set[str]:
    """The connectors that get an event whose app group is so spelled; none where it is invalid."""
    named = [hook(f"c{n}", app_group_ids=[group]) for n, group in enumerate(GROUPS)]
    event = {"event_type": "users.x", "id": "e", "time": 1, "properties": {"app_group_id": value}}
    message = msgspec.json.encode(event)
    return set(connectors_reached(Router(config_of(*named, hook("for-all"))), [message, *more]))


def connectors_reached(router: Router, messages: list[bytes]) -> Iterator[str]:
    decoder = Decoder(router, Receipts(), 900_000)
    for one in (*decoder.decode(Pull(1, 1, messages)), *decoder.flush()):
        if not isinstance(one, Letters):
            yield Lane.of(one[0]).connector


@pytest.mark.parametrize("number", range(len(GROUPS)))
def test_of_names_that_look_alike_each_has_its_own_events(number: int) -> None:
    assert reached(GROUPS[number]) == {f"c{number}", "for-all"}


@pytest.mark.parametrize("value", [None, "", "brand-c", "\u0000", "\\u0062rand-a"])
def test_an_event_of_nobodys_group_goes_to_those_for_all_alone(value: Any) -> None:
    assert reached(value) == {"for-all"}


@pytest.mark.parametrize("value", [0, 1, True, 1.5, [], ["brand-a"], {}, {"brand-a": 1}])
def test_a_group_that_is_no_text_makes_an_event_invalid(value: Any) -> None:
    assert reached(value) == set()


def test_a_name_that_is_spelled_with_escapes_is_the_same_name() -> None:
    message = (
        rb'{"event_type":"x","id":"e","time":1,"properties":{"app_group_id":"\u0062rand\u002da"}}'
    )
    named = [hook("a", app_group_ids=[NAME]), hook("b", app_group_ids=["\\u0062rand\\u002da"])]
    assert set(connectors_reached(Router(config_of(*named)), [message])) == {"a"}


@pytest.mark.parametrize(
    "properties",
    [
        b'"properties":{"app_group_id":"brand-b","app_group_id":"brand-a"}',
        b'"properties":{"app_group_id":"brand-b"},"properties":{"app_group_id":"brand-a"}',
        b'"properties":{"app_group_id":"brand-a"},"app_group_id":"brand-b"',
        b'"properties":{"app_group_id":"brand-a","x":{"app_group_id":"brand-b"}}',
        b'"properties":{"App_Group_Id":"brand-b","app_group_id":"brand-a"}',
    ],
)
def test_an_event_that_names_two_groups_is_of_one_and_the_same_everywhere(
    properties: bytes,
) -> None:
    """The last of equal keys counts: routing, the hold and every strict reader agree on it."""
    message = b'{"event_type":"x","id":"e","time":1,' + properties + b"}"
    named = [hook("a", app_group_ids=[NAME]), hook("b", app_group_ids=["brand-b"])]
    assert set(connectors_reached(Router(config_of(*named)), [message])) == {"a"}


groups = st.sampled_from(GROUPS) | st.text(max_size=8).filter(lambda text: text.isprintable())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.none() | st.lists(groups, max_size=3), min_size=1, max_size=6),
    st.lists(st.none() | groups, min_size=1, max_size=12),
)
def test_no_event_reaches_a_connector_that_does_not_name_its_group(
    named: list[list[str] | None], of_events: list[str | None]
) -> None:
    connectors = {
        f"c{n}": hook(f"c{n}", **({} if one is None else {"app_group_ids": one}))
        for n, one in enumerate(named)
    }
    messages = [
        msgspec.json.encode(
            {"event_type": "x", "id": f"e-{n}", "time": 1, "properties": {"app_group_id": group}}
        )
        for n, group in enumerate(of_events)
    ]
    decoder = Decoder(Router(config_of(*connectors.values())), Receipts(), 900_000)
    got: dict[str, collections.Counter[bytes]] = {
        name: collections.Counter() for name in connectors
    }
    for one in (*decoder.decode(Pull(1, 1, messages)), *decoder.flush()):
        assert not isinstance(one, Letters)
        got[Lane.of(one[0]).connector].update(one[1].events)
    for (name, events), allowed in zip(got.items(), named, strict=True):
        theirs = [
            message
            for message, group in zip(messages, of_events, strict=True)
            if allowed is None or group in allowed
        ]
        assert events == collections.Counter(theirs), name
