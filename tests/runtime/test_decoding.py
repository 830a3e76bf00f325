"""Decoding pulls into the lanes of connectors: no event is lost, doubled or put elsewhere."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.decoding import LEFT_BYTES, MAX_GATHERED_BYTES, MAX_LEFT, Decoder, left_out
from runtime.keeping import VERSION, Letters
from runtime.receipts import Receipts
from runtime.routing import Router
from sandbox.samples import sample_event, sample_events
from schemas.batch import Batch, Token
from schemas.dead_letter import DeadLetter
from schemas.event import decode_event
from schemas.lane import Lane
from schemas.pull import Pull
from tests.runtime.configs import config_of, hook, segment

OPEN = "users.messages.email.Open"
MAX_BYTES = 30_000
SAMPLES = list(sample_events(200, seed=3, anonymous_share=0.2))
REASONS = {
    b"": "invalid_json",
    b"nope": "invalid_json",
    b"[1]": "wrong_type",
    b'{"event_type":"a"}': "missing_field",
    b'{"event_type":1,"id":"2","time":3}': "wrong_type",
    b'{"event_type":"a","id":"b","time":1,"more":"' + b"x" * MAX_BYTES + b'"}': "too_large",
}
INVALID = list(REASONS)
FEED = {"key": "env:K", "secret": "env:S"}
EVERY_KIND: list[dict[str, Any]] = [
    hook("hook"),
    hook("some", events=["users.messages.email.*"], app_ids=["app-1"]),
    hook("brand", app_group_ids=["brand-a"]),
    hook("off", enabled=False),
    hook("sharded", shards=5),
    segment("analytics"),
    {"name": "warehouse", "kind": "rudderstack", "url": "env:W"},
    {"name": "mobile", "kind": "mparticle", "feeds": {"ios": FEED, "android": FEED}},
    {"name": "lake", "kind": "avro_files", "path": "/lake"},
]


class Decoded(NamedTuple):
    """What came of pulls, in order."""

    letters: list[Letters]
    fragments: list[tuple[str, Batch]]

    @property
    def tokens(self) -> list[Token]:
        of_fragments = [token for _, batch in self.fragments for token in batch.tokens]
        return [token for letters in self.letters for token in letters.tokens] + of_fragments

    def events_of(self, connector: str) -> list[bytes]:
        return [
            event
            for key, batch in self.fragments
            for event in batch.events
            if Lane.of(key).connector == connector
        ]


def decoder_of(*connectors: dict[str, Any], receipts: Receipts | None = None) -> Decoder:
    return Decoder(Router(config_of(*connectors)), receipts or Receipts(), MAX_BYTES)


def sort_out(outputs: Iterable[Letters | tuple[str, Batch]]) -> Decoded:
    decoded = Decoded([], [])
    for output in outputs:
        if isinstance(output, Letters):
            decoded.letters.append(output)
        else:
            decoded.fragments.append(output)
    return decoded


def decode(decoder: Decoder, *pulls: Pull) -> Decoded:
    """All of a bundle, to its end."""
    outputs = [output for pull in pulls for output in decoder.decode(pull)]
    decoded = sort_out([*outputs, *decoder.flush()])
    decoder.finish()
    return decoded


def pull_of(*messages: bytes, receipt: int = 0) -> Pull:
    return Pull(1_000, 2_000, list(messages), receipt)


# Nothing is lost, and the books balance


@settings(deadline=None)
@given(
    pulls=st.lists(st.lists(st.sampled_from([*SAMPLES, *INVALID]), max_size=30), max_size=5),
    target=st.integers(1, 40_000),
)
def test_every_message_is_invalid_or_offered_and_every_offer_filtered_or_placed(
    pulls: list[list[bytes]], target: int
) -> None:
    smaller = [
        {**connector, **({"max_request_bytes": target} if connector["kind"] == "postback" else {})}
        for connector in EVERY_KIND
    ]
    decoder = decoder_of(*smaller)
    decoded = decode(decoder, *[pull_of(*messages) for messages in pulls])
    tally = decoder.take_tally()
    received = [message for messages in pulls for message in messages]
    valid = [message for message in received if message not in INVALID]

    assert tally.received == len(received)
    assert tally.invalid.total() == len(received) - len(valid)
    buried = [letter.event for letters in decoded.letters for letter in letters.letters]
    assert Counter(buried) == Counter(message for message in received if message in INVALID)
    for connector in EVERY_KIND:
        name = connector["name"]
        counts, events = tally.of(name), decoded.events_of(name)
        wanted = valid if name != "brand" else [event for event in valid if b'"brand-a"' in event]
        assert counts.offered == len(wanted)
        assert counts.offered == counts.filtered.total() + len(events)
        assert not Counter(events) - Counter(wanted)
    assert Counter(decoded.events_of("hook")) == Counter(valid)
    assert sum(batch.count for _, batch in decoded.fragments) == sum(
        len(batch.events) for _, batch in decoded.fragments
    )


def test_the_events_of_a_lane_keep_their_order() -> None:
    decoded = decode(decoder_of(hook("a", max_request_bytes=5_000)), pull_of(*SAMPLES))
    assert decoded.events_of("a") == SAMPLES


def test_a_tally_holds_what_was_counted_since_the_last() -> None:
    decoder = decoder_of(hook("a"), segment("b"))
    decode(decoder, pull_of(*SAMPLES, b"nope"))
    first, second = decoder.take_tally(), decoder.take_tally()
    assert (first.received, first.of("a").offered) == (201, 200)
    assert first.of("b").filtered["no_external_user_id"] > 0
    assert (second.received, second.invalid, second.connectors) == (0, {}, {})


def test_two_tallies_together_are_the_tally_of_both() -> None:
    decoder, other = decoder_of(*EVERY_KIND), decoder_of(*EVERY_KIND)
    decode(decoder, pull_of(*SAMPLES[:90], b"nope"))
    total = decoder.take_tally()
    decode(decoder, pull_of(*SAMPLES[90:]))
    total.add(decoder.take_tally())
    decode(other, pull_of(*SAMPLES, b"nope"))
    assert total == other.take_tally()


# Messages that are no events


@pytest.mark.parametrize("message", INVALID, ids=lambda message: message[:20])
def test_what_is_no_event_is_a_dead_letter_as_it_came(message: bytes) -> None:
    decoder = decoder_of(hook("a"))
    decoded = decode(decoder, pull_of(message))
    (letter,) = decoded.letters[0].letters
    assert (letter.event, letter.stage, letter.reason) == (message, "decode", REASONS[message])
    assert (letter.connector, letter.published_ms, letter.attempts) == ("", 2_000, 0)
    assert letter.detail
    assert letter.buried_ms >= (letter.first_failed_ms or 0) > 1_700_000_000_000
    assert decoded.fragments == []
    assert decoder.take_tally().invalid == {REASONS[message]: 1}


def test_the_invalid_messages_of_a_pull_are_buried_together() -> None:
    decoded = decode(decoder_of(hook("a")), pull_of(b"1", SAMPLES[0], b"2"), pull_of(b"3"))
    buried: list[list[DeadLetter]] = [letters.letters for letters in decoded.letters]
    assert [[letter.event for letter in letters] for letters in buried] == [[b"1", b"2"], [b"3"]]


def test_a_raw_line_break_within_an_event_does_not_make_two_of_it() -> None:
    pretty = json.dumps(sample_event(OPEN), indent=1).encode()
    decoded = decode(decoder_of(hook("a")), pull_of(pretty, SAMPLES[0]))
    one, other = decoded.events_of("a")
    assert json.loads(one) == json.loads(pretty)
    assert other == SAMPLES[0]


# Events of one pull

PLAIN: dict[str, Any] = {
    "event_type": OPEN,
    "id": "1",
    "time": 1_700_000_000,
    "user": {"external_user_id": "x-1"},
    "properties": {"app_group_id": "brand-a", "app_id": "app-1", "platform": "ios"},
}
MOBILE = {"name": "m", "kind": "mparticle", "feeds": {"ios": FEED, "android": FEED}}


@pytest.mark.parametrize(
    ("connector", "changes", "lanes"),
    [
        (segment("s"), {"user": {"external_user_id": None}}, {"s/0/": ["1"]}),
        (segment("s"), {"user": None}, {"s/0/": ["1"]}),
        (hook("h", events=[OPEN]), {"event_type": "users.canvas.Entry"}, {"h/0/": ["1"]}),
        (hook("h", app_ids=["app-1"]), {"properties": {"app_id": "app-2"}}, {"h/0/": ["1"]}),
        (hook("h", app_group_ids=["brand-a"]), {"properties": {}}, {"h/0/": ["1"]}),
        (MOBILE, {"properties": {"platform": "android"}}, {"m/0/ios": ["1"], "m/0/android": ["2"]}),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_two_events_of_a_pull_that_differ_in_one_thing_go_each_its_own_way(
    connector: dict[str, Any], changes: dict[str, Any], lanes: dict[str, list[str]], turned: bool
) -> None:
    first = {**PLAIN, "event_type": "users.messages.pushnotification.Open"}
    one = PLAIN if connector["name"] != "m" else first
    messages = [json.dumps(event).encode() for event in (one, {**one, "id": "2", **changes})]
    decoder = decoder_of(connector)
    decoded = decode(decoder, pull_of(*(reversed(messages) if turned else messages)))
    found = {key: [json.loads(e)["id"] for e in batch.events] for key, batch in decoded.fragments}
    assert found == lanes


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_the_users_of_a_connector_are_divided_among_all_its_shards(shards: int) -> None:
    events = [{**PLAIN, "user": {"external_user_id": f"x-{n % 40}"}} for n in range(80)]
    decoded = decode(
        decoder_of(hook("h", shards=shards)), pull_of(*[json.dumps(e).encode() for e in events])
    )
    of_lane = {
        key: [json.loads(event)["user"]["external_user_id"] for event in batch.events]
        for key, batch in decoded.fragments
    }
    assert set(of_lane) == {f"h/{shard}/" for shard in range(shards)}
    assert sum(len(set(users)) for users in of_lane.values()) == 40
    assert sum(map(len, of_lane.values())) == 80


# For one connector alone


def pull_for(connector: str, *messages: bytes) -> Pull:
    return Pull(1_000, 2_000, list(messages), connector=connector, replays=3)


def test_what_is_for_one_connector_goes_to_no_other_and_is_counted_as_its_own() -> None:
    decoder = decoder_of(hook("a"), hook("b"))
    decoded = decode(decoder, pull_for("a", SAMPLES[0], SAMPLES[1]))
    ((key, batch),) = decoded.fragments
    assert (key, batch.events, batch.replays) == ("a/0/", SAMPLES[:2], 3)
    tally = decoder.take_tally()
    assert tally.received == 2
    assert {name: (c.offered, c.addressed) for name, c in tally.connectors.items()} == {"a": (2, 2)}


@pytest.mark.parametrize(
    ("connector", "messages", "reasons"),
    [
        ("a", [b"", b"nope"], ["invalid_json", "invalid_json"]),
        ("gone", SAMPLES[:2], ["connector_removed"] * 2),
        ("brand", SAMPLES[:3], ["other_app_group"] * 3),
    ],
)
def test_what_one_connector_cannot_be_offered_is_buried_as_offered_to_it(
    connector: str, messages: list[bytes], reasons: list[str]
) -> None:
    decoder = decoder_of(hook("a"), hook("brand", app_group_ids=["no-such-group"]))
    decoded = decode(decoder, pull_for(connector, *messages))
    (letters,) = decoded.letters
    assert [letter.event for letter in letters.letters] == messages
    assert [letter.reason for letter in letters.letters] == reasons
    assert {letter.connector for letter in letters.letters} == {connector}
    assert {letter.replays for letter in letters.letters} == {3}
    assert letters.version == VERSION
    assert [bool(letter.detail) for letter in letters.letters] == [connector == "a"] * len(messages)
    assert all(isinstance(letter.detail, str) for letter in letters.letters)
    assert decoded.fragments == []
    tally = decoder.take_tally()
    counts = tally.of(connector)
    assert (counts.offered, counts.addressed, tally.invalid) == (len(messages), len(messages), {})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"app_group_ids": ["another"]}, "other_app_group"),
        ({"enabled": False}, "disabled"),
        ({"events": ["users.canvas.*"]}, "event_type"),
        ({"app_ids": ["another"]}, "app_id"),
    ],
)
def test_why_a_connector_would_not_take_an_event_today(
    changes: dict[str, Any], reason: str | None
) -> None:
    router = Router(config_of(hook("a", **changes), hook("b"))).only("a")
    header, _ = decode_event(json.dumps(sample_event(OPEN)).encode(), MAX_BYTES)
    assert left_out(router, header) == reason


@pytest.mark.parametrize(
    ("connector", "external", "reason"),
    [("s", "x", None), ("s", None, "no_external_user_id"), ("gone", "x", "connector_removed")],
)
def test_who_the_user_is_and_that_a_connector_is_gone_are_reasons_too(
    connector: str, external: str | None, reason: str | None
) -> None:
    router = Router(config_of(segment("s"))).only(connector)
    event = sample_event(OPEN, user={"external_user_id": external})
    header, _ = decode_event(json.dumps(event).encode(), MAX_BYTES)
    assert left_out(router, header) == reason


PUSH = {**PLAIN, "event_type": "users.messages.pushnotification.Open"}


@pytest.mark.parametrize(
    ("connector", "event", "reason"),
    [
        (hook("m", app_group_ids=["brand-a"]), PLAIN, None),
        (MOBILE, PUSH, None),
        ({**MOBILE, "historical": True}, PUSH, None),
        (MOBILE, PLAIN, "feed_not_configured"),  # whatever its platform, an e-mail is unbound
    ],
)
def test_the_group_the_feed_and_the_type_decide_whether_it_would_be_taken(
    connector: dict[str, Any], event: dict[str, Any], reason: str | None
) -> None:
    header, _ = decode_event(json.dumps(event).encode(), MAX_BYTES)
    assert left_out(Router(config_of(connector)).only("m"), header) == reason


# Fragments


def test_a_lane_leaves_when_it_has_gathered_its_target() -> None:
    target = 20_000
    decoder = decoder_of(hook("a", max_request_bytes=target), hook("b"))
    before: list[bytes] = []
    for event in SAMPLES:
        decoded = sort_out(decoder.decode(pull_of(event)))
        before.append(event)
        size = sum(len(event) + 1 for event in before)
        assert [key for key, _ in decoded.fragments] == (["a/0/"] if size >= target else [])
        if decoded.fragments:
            assert decoded.events_of("a") == before
            before.clear()
    assert sort_out(decoder.flush()).events_of("a") == before


def test_a_lane_is_full_at_its_target_to_the_byte() -> None:
    size = len(SAMPLES[0]) + 1
    for target, count in ((size - 1, 1), (size, 1), (size + 1, 0)):
        decoder = decoder_of(hook("a", max_request_bytes=target))
        assert len(list(decoder.decode(pull_of(SAMPLES[0])))) == count


def test_a_lane_that_is_full_leaves_once_a_pull() -> None:
    decoder = decoder_of(hook("a", max_request_bytes=1_000))
    decoded = sort_out(decoder.decode(pull_of(*SAMPLES)))
    ((key, batch),) = decoded.fragments
    assert (key, batch.events) == ("a/0/", SAMPLES)
    assert list(decoder.flush()) == []


def test_the_fullest_lanes_leave_when_together_they_hold_too_much() -> None:
    message = json.dumps({**sample_event(OPEN), "more": "x" * 430_000}).encode()
    few = json.dumps(sample_event("users.messages.sms.Send")).encode()
    lanes = MAX_GATHERED_BYTES // len(message) + 1
    hooks = [hook("few", events=["*.Send"]), *[hook(f"c{number}") for number in range(lanes)]]
    decoder = Decoder(Router(config_of(*hooks)), Receipts(), 900_000)
    assert list(decoder.decode(pull_of(few))) == []
    decoded = sort_out(decoder.decode(pull_of(message)))
    rest = sort_out(decoder.flush())
    left = sum(batch.size for _, batch in rest.fragments)
    assert LEFT_BYTES - len(message) - 1_000 * lanes < left <= LEFT_BYTES
    assert len(decoded.fragments) + len(rest.fragments) == lanes + 1
    assert decoded.events_of("few") == []
    assert rest.events_of("few") == [few]


def test_a_lane_of_few_events_does_not_stay_for_good() -> None:
    message = json.dumps({**sample_event(OPEN), "more": "x" * 430_000}).encode()
    few = json.dumps(sample_event("users.messages.sms.Send")).encode()
    lanes = MAX_GATHERED_BYTES // len(message) + 1
    hooks = [hook(f"c{number}", events=[OPEN]) for number in range(lanes)]
    decoder = Decoder(
        Router(config_of(hook("few", events=["*.Send"]), *hooks)), Receipts(), 900_000
    )
    assert list(decoder.decode(pull_of(few))) == []
    left = [sort_out(decoder.decode(pull_of(message))).events_of("few") for _ in range(60)]
    assert left.index([few]) >= MAX_LEFT


def test_what_has_left_takes_nothing_off_what_the_others_hold() -> None:
    message = json.dumps({**sample_event(OPEN), "more": "x" * 850_000}).encode()
    lanes = MAX_GATHERED_BYTES // len(message) + 1
    hooks = [hook("full", max_request_bytes=1), *[hook(f"c{number}") for number in range(lanes)]]
    decoder = Decoder(Router(config_of(*hooks)), Receipts(), 900_000)
    decoded = sort_out(decoder.decode(pull_of(message)))
    assert next(key for key, _ in decoded.fragments) == "full/0/"
    rest = sort_out(decoder.flush())
    assert len(decoded.fragments) + len(rest.fragments) == lanes + 1
    left = sum(batch.size for _, batch in rest.fragments)
    assert LEFT_BYTES - len(message) < left <= LEFT_BYTES


def test_what_has_left_no_longer_counts_as_gathered() -> None:
    giant = json.dumps({**sample_event(OPEN), "more": "x" * 850_000}).encode()
    router = Router(
        config_of(hook("full", max_request_bytes=1, events=[OPEN]), hook("rest", events=["*.Send"]))
    )
    decoder = Decoder(router, Receipts(), 900_000)
    waiting = json.dumps(sample_event("users.messages.sms.Send")).encode()
    assert list(decoder.decode(pull_of(waiting))) == []
    for _ in range(MAX_GATHERED_BYTES // len(giant) + 1):
        assert sort_out(decoder.decode(pull_of(giant))).events_of("rest") == []
    assert sort_out(decoder.flush()).events_of("rest") == [waiting]


def test_less_than_that_stays_for_the_rest_of_the_bundle() -> None:
    decoder = decoder_of(*[hook(f"c{number}") for number in range(50)])
    assert list(decoder.decode(pull_of(*SAMPLES))) == []
    assert len(list(decoder.flush())) == 50


def test_a_fragment_tells_the_oldest_and_newest_time_of_its_pulls() -> None:
    decoder = decoder_of(hook("a"), hook("b", events=["users.messages.sms.*"]))
    event = json.dumps(sample_event(OPEN)).encode()
    sms = json.dumps(sample_event("users.messages.sms.Send")).encode()
    decoded = decode(
        decoder, Pull(50, 60, [event]), Pull(10, 20, [sms]), Pull(70, 90, [event]), Pull(1, 2, [])
    )
    times = {key: (batch.oldest_ms, batch.newest_ms) for key, batch in decoded.fragments}
    assert times == {"a/0/": (10, 90), "b/0/": (10, 20)}


def test_a_lane_that_begins_anew_forgets_the_times_and_tokens_of_before() -> None:
    receipts = Receipts()
    decoder = decoder_of(hook("a", max_request_bytes=1), receipts=receipts)
    first, second = (receipts.issue(1, 1, lambda: None) for _ in range(2))
    decoded = decode(decoder, Pull(10, 20, SAMPLES[:1], first), Pull(50, 60, SAMPLES[1:2], second))
    times = [(batch.oldest_ms, batch.newest_ms) for _, batch in decoded.fragments]
    assert times == [(10, 20), (50, 60)]
    assert [[token.receipt for token in batch.tokens] for _, batch in decoded.fragments] == [
        [first],
        [second],
    ]


# Lanes


@pytest.mark.parametrize("others", [[], [hook("sharded", shards=5)]])
def test_files_have_a_lane_for_each_type_and_hour_of_publishing(
    others: list[dict[str, Any]],
) -> None:
    """Whether or not another connector looks at more of each event."""
    decoder = decoder_of({"name": "lake", "kind": "avro_files", "path": "/lake"}, *others)
    event = json.dumps(sample_event("users.message.email.Open")).encode()
    hour_ms = 3_600_000
    pulls = [Pull(start * hour_ms, (start + 1) * hour_ms - 1, [event]) for start in (0, 500_000)]
    keys = [key for key, _ in decode(decoder, *pulls).fragments if key.startswith("lake/")]
    assert keys == [f"lake/0/{OPEN}/1970-01-01-00", f"lake/0/{OPEN}/2027-01-15-08"]


def test_mparticle_has_a_lane_for_each_feed() -> None:
    feeds = {"ios": FEED, "android": FEED}
    decoder = decoder_of({"name": "mobile", "kind": "mparticle", "feeds": feeds})
    kinds = [
        sample_event("users.messages.inappmessage.Click", properties={"platform": platform})
        for platform in ("ios", "android", "ios", "web")
    ]
    decoded = decode(decoder, pull_of(*[json.dumps(event).encode() for event in kinds]))
    assert {key: batch.count for key, batch in decoded.fragments} == {
        "mobile/0/ios": 2,
        "mobile/0/android": 1,
    }
    assert decoder.take_tally().of("mobile").filtered == {"feed_not_configured": 1}


def test_old_events_of_a_backfill_have_a_lane_beside_the_new_ones_of_their_pull() -> None:
    read_at = 1_700_000_000
    events = [{**PUSH, "id": str(hours), "time": read_at - hours * 3_600} for hours in (1, 80, 2)]
    pull = Pull(read_at * 1_000, read_at * 1_000, [json.dumps(event).encode() for event in events])
    decoded = decode(decoder_of({**MOBILE, "historical": True}), pull)
    found = {key: [json.loads(e)["id"] for e in batch.events] for key, batch in decoded.fragments}
    assert found == {"m/0/ios": ["1", "2"], "m/0/ios/historical": ["80"]}


def shards_of(events: Sequence[dict[str, Any]]) -> list[int]:
    """The shard of each event, decoded one by one."""
    decoder = decoder_of(hook("a", shards=4))
    return [
        Lane.of(key).shard
        for event in events
        for key, _ in decode(decoder, pull_of(json.dumps(event).encode())).fragments
    ]


def test_a_users_events_are_of_one_shard_and_in_order() -> None:
    of_one = [
        sample_event(OPEN, seed=number, id=str(number), user={"external_user_id": "u-1"})
        for number in range(20)
    ]
    assert len(set(shards_of(of_one))) == 1


def test_users_are_spread_over_all_shards() -> None:
    of_many = [
        sample_event(OPEN, user={"external_user_id": f"u-{number}"}) for number in range(100)
    ]
    assert set(shards_of(of_many)) == {0, 1, 2, 3}


def test_events_without_a_user_are_spread_by_their_id() -> None:
    anonymous = [
        {"event_type": OPEN, "id": f"id-{number}", "time": 1, **user}
        for number in range(100)
        for user in ({}, {"user": {"external_user_id": None}})
    ]
    shards = shards_of(anonymous)
    assert set(shards) == {0, 1, 2, 3}
    assert shards[::2] == shards[1::2]


# Tokens


def test_a_pull_is_acknowledged_when_all_that_came_of_it_is_settled() -> None:
    receipts = Receipts()
    acknowledged: list[int] = []
    pulls = [
        pull_of(*messages, receipt=receipts.issue(1, 1, lambda n=number: acknowledged.append(n)))
        for number, messages in enumerate([SAMPLES[:50], [*SAMPLES[50:], b"nope"], [b"nope"]])
    ]
    decoder = decoder_of(*EVERY_KIND, receipts=receipts)
    decoded = decode(decoder, *pulls)
    assert acknowledged == []
    *tokens, last = decoded.tokens
    receipts.settle(tokens)
    assert sorted(acknowledged) == [
        number for number, pull in enumerate(pulls) if pull.receipt != last.receipt
    ]
    receipts.settle([last])
    assert sorted(acknowledged) == [0, 1, 2]


def test_a_pull_has_one_token_in_each_fragment_and_one_for_its_letters() -> None:
    receipts = Receipts()
    receipt = receipts.issue(1, 1, lambda: None)
    decoder = decoder_of(hook("a"), hook("b"), receipts=receipts)
    decoded = decode(decoder, pull_of(*SAMPLES, b"nope", b"nope", receipt=receipt))
    assert [len(batch.tokens) for _, batch in decoded.fragments] == [1, 1]
    assert [len(letters.tokens) for letters in decoded.letters] == [1]
    assert len(set(decoded.tokens)) == 3


def test_a_pull_of_which_all_is_filtered_is_acknowledged_at_the_end_of_the_bundle() -> None:
    receipts = Receipts()
    acknowledged: list[str] = []
    receipt = receipts.issue(1, 1, lambda: acknowledged.append("now"))
    decoder = decoder_of(hook("off", enabled=False), receipts=receipts)
    assert list(decoder.decode(pull_of(*SAMPLES, receipt=receipt))) == []
    assert acknowledged == []
    decoder.finish()
    assert acknowledged == ["now"]


def test_settling_before_the_bundle_has_ended_does_not_acknowledge() -> None:
    receipts = Receipts()
    acknowledged: list[str] = []
    receipt = receipts.issue(1, 1, lambda: acknowledged.append("now"))
    decoder = decoder_of(hook("a", max_request_bytes=1), receipts=receipts)
    receipts.settle(sort_out(decoder.decode(pull_of(*SAMPLES, receipt=receipt))).tokens)
    assert acknowledged == []
    decoder.finish()
    assert acknowledged == ["now"]


def test_a_retried_bundle_gives_the_same_shares_under_a_new_reading() -> None:
    receipts = Receipts()
    acknowledged: list[str] = []
    receipt = receipts.issue(1, 1, lambda: acknowledged.append("now"))
    pull = pull_of(*SAMPLES, b"nope", receipt=receipt)
    dropped = decode(decoder_of(*EVERY_KIND, receipts=receipts), pull)
    again = decode(decoder_of(*EVERY_KIND, receipts=receipts), pull)
    assert [token._replace(reading=2) for token in dropped.tokens] == again.tokens
    receipts.settle(dropped.tokens)
    assert acknowledged == []
    receipts.settle(again.tokens)
    assert acknowledged == ["now"]


def test_a_pull_without_a_receipt_carries_no_tokens() -> None:
    assert decode(decoder_of(*EVERY_KIND), pull_of(*SAMPLES, b"nope")).tokens == []
