"""The books balance to the event: bounded runs over random mixes of events, sizes and faults."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sandbox.partners import (
    Fault,
    MParticleSite,
    PartnerSandbox,
    PostbackSite,
    RudderStackSite,
    SegmentSite,
    TreasureDataSite,
)
from sandbox.samples import sample_event, sample_events
from tests.pipeline.running import (
    dead_letters,
    held_events,
    ids_of,
    report_of,
    run_files,
    write_connectors,
)

FEEDS = ("ios", "web", "unbound")
SITES = {
    "hook": PostbackSite(),
    "brand": PostbackSite(),
    "warehouse": RudderStackSite(write_key="key"),
    "cdp": TreasureDataSite(write_key="1/key"),
    "analytics": SegmentSite(write_key="key"),
    "mobile": MParticleSite(feeds=dict.fromkeys(FEEDS, ("key", "secret"))),
}
INVALID = [b"nope", b"{}", b'{"event_type":"a","id":1,"time":2}', b'{"event_type":"a"', b"[1]"]


def connectors_on(sandbox: PartnerSandbox, folder: Path) -> list[dict[str, Any]]:
    return [
        {"name": "hook", "kind": "postback", "url": sandbox.url("hook") + "/all"},
        {
            "name": "brand",
            "kind": "postback",
            "url": sandbox.url("brand"),
            "app_group_ids": ["brand-a"],
            "events": ["users.messages.*"],
        },
        {"name": "warehouse", "kind": "rudderstack", "url": "env:WAREHOUSE"},
        {"name": "cdp", "kind": "treasure_data", "url": "env:CDP"},
        {
            "name": "analytics",
            "kind": "segment",
            "write_key": "env:KEY",
            "endpoint": sandbox.url("analytics"),
        },
        {
            "name": "mobile",
            "kind": "mparticle",
            "feeds": {feed: {"key": "env:KEY", "secret": "env:SECRET"} for feed in FEEDS},
            "endpoint": sandbox.url("mobile"),
        },
        {"name": "lake", "kind": "avro_files", "path": str(folder / "lake")},
    ]


def environment_on(sandbox: PartnerSandbox) -> dict[str, str]:
    return {
        "WAREHOUSE": sandbox.url("warehouse") + "/v1/webhook?writeKey=key",
        "KEY": "key",
        "SECRET": "secret",
        "CDP": sandbox.url("cdp") + "/postback/v3/event/d/t?td_write_key=1%2Fkey",
    }


def random_fault(chance: random.Random, ids: list[str]) -> Fault | None:
    return chance.choice(
        [
            None,
            Fault(status=503),
            Fault(status=401),
            Fault(status=503, times=3),
            Fault(status=413, times=2),
            Fault(reset=True, times=2),
            Fault(reject_ids=frozenset(chance.sample(ids, 3))),
        ]
    )


def random_messages(chance: random.Random) -> list[bytes]:
    messages = list(sample_events(chance.randrange(300, 900), seed=chance.randrange(1_000)))
    for _ in range(chance.randrange(3)):
        giant = sample_event("users.messages.email.Open", seed=chance.randrange(1_000))
        giant["properties"]["message_extras"] = "x" * chance.choice([100_000, 899_000, 950_000])
        messages.append(json.dumps(giant).encode())
    messages += chance.choices(INVALID, k=chance.randrange(5))
    chance.shuffle(messages)
    return messages


def assert_the_books_balance(report: dict[str, Any]) -> None:
    assert report["balanced"]
    for name, connector in report["connectors"].items():
        fates = connector["delivered"] + connector["held"]
        fates += sum(connector["filtered"].values()) + sum(connector["dead"].values())
        assert connector["offered"] + connector["adopted"] == fates, name
        if name != "brand":
            assert report["received"] == report["invalid"] + connector["offered"]


@pytest.mark.parametrize("seed", range(8))
def test_every_event_is_delivered_filtered_buried_or_held(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    messages = random_messages(chance)
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(messages) + b"\n")
    with PartnerSandbox(SITES) as sandbox:
        write_connectors(tmp_path, connectors_on(sandbox, tmp_path))
        environment = {**environment_on(sandbox), "PYTHONHASHSEED": str(seed)}
        valid = [message for message in messages if message.startswith(b'{"event_type":"users')]
        for name in SITES:
            sandbox.set_fault(name, random_fault(chance, ids_of(valid[:200])))

        ended = run_files(tmp_path, tmp_path / "events.ndjson", environment=environment)
        report = report_of(tmp_path)
        held = sum(connector["held"] for connector in report["connectors"].values())
        assert ended.returncode == (3 if held else 0), ended.stderr
        assert report["received"] == len(messages)
        assert_the_books_balance(report)
        for name in SITES:
            assert_each_id_has_one_fate(name, sandbox, tmp_path, report)

        for name in SITES:
            sandbox.set_fault(name, None)
        again = run_files(tmp_path, environment=environment)
        assert_the_books_balance(report_of(tmp_path))
        assert sum(c["adopted"] for c in report_of(tmp_path)["connectors"].values()) == held
        assert again.returncode == 0, again.stderr


def assert_each_id_has_one_fate(
    name: str, sandbox: PartnerSandbox, folder: Path, report: dict[str, Any]
) -> None:
    """Found by id at the partner, in the hold and in the dead letters: as many as reported."""
    connector = report["connectors"][name]
    accepted = Counter(sandbox.accepted_ids(name))
    held = ids_of([event for lane in lanes_of(folder, name) for event in held_events(folder, lane)])
    dead = [letter for letter in dead_letters(folder) if letter["connector"] == name]
    assert (len(held), len(dead)) == (connector["held"], sum(connector["dead"].values()))
    assert accepted.total() == connector["delivered"]
    assert not set(accepted) & set(held)
    assert not set(accepted) & set(ids_of([letter["event"] for letter in dead]))


def lanes_of(folder: Path, connector: str) -> list[str]:
    """The queues that a connector has in the hold: one, or one for each feed."""
    return sorted(
        path.name
        for path in (folder / "held" / "queue").glob("*")
        if path.name.partition("+")[0] == connector
    )


def test_what_is_held_is_delivered_before_what_is_read(tmp_path: Path) -> None:
    held, fresh = list(sample_events(50, seed=1)), list(sample_events(50, seed=2))
    (tmp_path / "held.ndjson").write_bytes(b"\n".join(held))
    (tmp_path / "fresh.ndjson").write_bytes(b"\n".join(fresh))
    with PartnerSandbox({"hook": PostbackSite()}) as sandbox:
        write_connectors(
            tmp_path, [{"name": "hook", "kind": "postback", "url": sandbox.url("hook")}]
        )
        sandbox.set_fault("hook", Fault(status=401))
        assert run_files(tmp_path, tmp_path / "held.ndjson").returncode == 3
        sandbox.set_fault("hook", None)
        assert run_files(tmp_path, tmp_path / "fresh.ndjson").returncode == 0
        assert sandbox.accepted_ids("hook") == ids_of([*held, *fresh])
    report = report_of(tmp_path)["connectors"]["hook"]
    assert (report["adopted"], report["offered"], report["delivered"]) == (50, 50, 100)


def test_a_stray_file_in_the_hold_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "held" / "queue").mkdir(parents=True)
    (tmp_path / "held" / "queue" / "notes.txt").write_text("left here by a person")
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(sample_events(20)))
    with PartnerSandbox({"hook": PostbackSite()}) as sandbox:
        write_connectors(
            tmp_path, [{"name": "hook", "kind": "postback", "url": sandbox.url("hook")}]
        )
        assert run_files(tmp_path, tmp_path / "events.ndjson").returncode == 0


def test_an_object_that_is_not_whole_is_set_aside_and_the_run_is_no_success(
    tmp_path: Path,
) -> None:
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(sample_events(20)))
    with PartnerSandbox({"hook": PostbackSite()}) as sandbox:
        write_connectors(
            tmp_path, [{"name": "hook", "kind": "postback", "url": sandbox.url("hook")}]
        )
        sandbox.set_fault("hook", Fault(status=503))
        assert run_files(tmp_path, tmp_path / "events.ndjson").returncode == 3
        (held,) = (tmp_path / "held" / "queue" / "hook").iterdir()
        held.write_bytes(held.read_bytes()[:-100])
        sandbox.set_fault("hook", None)
        ended = run_files(tmp_path)
    assert ended.returncode == 1
    assert f"the object {held.name} of lane hook is not whole" in ended.stderr
    assert (tmp_path / "held" / "set-aside" / "hook" / held.name).exists()


def test_a_damaged_file_does_not_keep_the_others_back_and_is_no_success(tmp_path: Path) -> None:
    events = list(sample_events(40))
    packed = gzip.compress(b"\n".join(events[:20]))
    (tmp_path / "a.ndjson.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "b.ndjson").write_bytes(b"\n".join(events[20:]))
    with PartnerSandbox({"hook": PostbackSite()}) as sandbox:
        write_connectors(
            tmp_path, [{"name": "hook", "kind": "postback", "url": sandbox.url("hook")}]
        )
        ended = run_files(tmp_path, tmp_path / "a.ndjson.gz", tmp_path / "b.ndjson")
        assert set(ids_of(events[20:])) <= set(sandbox.accepted_ids("hook"))
    assert ended.returncode == 1
    assert "a.ndjson.gz" in ended.stderr
