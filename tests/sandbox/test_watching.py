"""Watching a run by the files that it writes, which may be absent, half written or odd at any time."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from runtime.hold.directory import HoldQueue
from runtime.hold.lane_statuses import write_status
from runtime.hold.objects import HeldBatch
from sandbox.feed import Feed
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.pubsub import EmbeddedPubSub
from sandbox.watching import Depth, Rate, RunWatch, read_hold, read_report
from schemas.lane_status import LaneStatus
from schemas.report import ConnectorReport, Report
from tests.pipeline.running import eventually

CONNECTORS = [{"name": "hook", "kind": "postback"}, {"name": "lake", "kind": "avro_files"}]
WHEN = 1_800_000_000_000


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    with EmbeddedPubSub() as pubsub:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.address)
        with Feed() as found:
            yield found


@pytest.fixture
def partners() -> Iterator[PartnerSandbox]:
    with PartnerSandbox({"hook": PostbackSite()}) as found:
        yield found


@pytest.fixture
def watch(tmp_path: Path, partners: PartnerSandbox, feed: Feed) -> Iterator[RunWatch]:
    with RunWatch(tmp_path, partners, CONNECTORS, feed) as found:
        yield found


def hold(folder: Path, lane: str, oldest_ms: int, count: int) -> None:
    """Hold events as the pipeline does."""
    batch = HeldBatch(
        part="",
        oldest_ms=oldest_ms,
        newest_ms=oldest_ms + 5,
        first_failed_ms=oldest_ms,
        reason="status_503",
        events=[b"{}"] * count,
    )
    HoldQueue(str(folder)).put(lane, [batch])


def status_of(lane: str, state: Any) -> LaneStatus:
    return LaneStatus(
        lane=lane, connector="hook", state=state, reason="status_503", since="", probes_failed=2
    )


def write_report(folder: Path, **counts: Any) -> None:
    report = ConnectorReport("postback", "healthy", proves_delivery=True, **counts)
    whole = Report("", "", "", 5, 1, {"hook": report}, balanced=True)
    (folder / "report.json").write_bytes(msgspec.json.encode(whole))


def connector(watch: RunWatch, name: str = "hook") -> Any:
    return next(one for one in watch.state()["connectors"] if one["name"] == name)


def news(watch: RunWatch) -> list[tuple[str | None, str, str]]:
    return [(one["connector"], one["what"], one["detail"]) for one in watch.state()["news"]]


# The files.


def test_a_hold_is_read_as_the_pipeline_writes_it(tmp_path: Path) -> None:
    hold(tmp_path, "hook+ios", WHEN + 60_000, 3)
    hold(tmp_path, "hook+ios", WHEN, 2)
    hold(tmp_path, "other", WHEN, 1)
    write_status(str(tmp_path), status_of("hook+ios", "suspended"))
    found = read_hold(tmp_path)
    assert found.queues["hook+ios"] == Depth(5, WHEN)
    assert (found.held("hook"), found.state("hook")) == (5, "suspended")
    assert (found.held("other"), found.state("other")) == (1, "holding")
    assert found.state("lake") == "healthy"


def test_a_hold_that_is_not_there_or_odd_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    assert read_hold(tmp_path / "nothing").queues == {}
    for path in ("queue/hook/notes.txt", "queue/no-folder", "status/hook.json", "status/x.tmp"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b'{"lane": "\xff"}')
    found = read_hold(tmp_path)
    assert (found.held("hook"), found.state("hook"), dict(found.statuses)) == (0, "healthy", {})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"received": "<script>"}', "\udcff"])
def test_a_report_that_is_no_report_is_none(text: str, tmp_path: Path) -> None:
    assert read_report(tmp_path / "report.json") is None
    (tmp_path / "report.json").write_bytes(text.encode(errors="surrogateescape"))
    assert read_report(tmp_path / "report.json") is None


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    assert [rate.a_second(60 * at, at) for at in range(4)] == [0, 60, 60, 60]
    assert [rate.a_second(180, at) for at in range(4, 9)] == [45, 30, 15, 0, 0]
    assert rate.a_second(10, 9) == 0  # another run has begun to count


def test_a_number_that_is_told_every_few_seconds_keeps_its_rate_until_then() -> None:
    rate = Rate()
    assert [
        rate.a_second(number, at) for number, at in ((0, 0), (300, 5), (300, 5), (350, 10))
    ] == [
        *(0, 60, 60, 10),
    ]


# The run.


def test_states_held_events_and_news_follow_the_hold(watch: RunWatch, tmp_path: Path) -> None:
    held = tmp_path / "held"
    hold(held, "hook", WHEN, 7)
    assert eventually(lambda: connector(watch)["state"] == "holding")
    write_status(str(held), status_of("hook", "suspended"))
    assert eventually(lambda: connector(watch)["state"] == "suspended")
    [lane] = connector(watch)["lanes"]
    assert (lane["held"], lane["oldest"], lane["status"]["probes_failed"]) == (7, WHEN, 2)
    for path in [*(held / "queue" / "hook").iterdir(), held / "status" / "hook.json"]:
        path.unlink()
    assert eventually(lambda: connector(watch)["state"] == "healthy")
    assert connector(watch)["held"] == 0
    told = news(watch)
    assert told == [
        ("hook", "holding", ""),
        ("hook", "suspended", "status_503"),
        ("hook", "healthy", ""),
    ]


def test_names_and_texts_that_are_no_utf_8_are_told_all_the_same(
    watch: RunWatch, partners: PartnerSandbox, tmp_path: Path
) -> None:
    """A folder may be called anything, and a header may hold anything."""
    partners.tell_run(watch.state)
    folder = tmp_path / "held" / "queue" / os.fsdecode(b"hook+\xff")
    folder.mkdir(parents=True)
    (folder / f"{WHEN}-{WHEN}-7-{'0' * 32}").touch()
    assert eventually(lambda: connector(watch)["held"] == 7)
    odd = {"Content-Type": b"\xff\xfe"}
    requests.post(partners.url("hook") + "/%ff?%fe", data=b"\xff", headers=odd, timeout=10)
    state, exchange = (
        requests.get(f"{partners.page_url}_sandbox/{path}", timeout=10).json()
        for path in ("state", "sites/hook/requests/0")
    )
    [lane] = state["run"]["connectors"][0]["lanes"]
    assert lane["lane"] == "hook+\udcff"
    assert (exchange["headers"]["content-type"], exchange["body"]) == ("\udcff\udcfe", "\ufffd")


def test_the_books_and_dead_letters_are_those_of_the_report(
    watch: RunWatch, tmp_path: Path
) -> None:
    write_report(tmp_path, offered=4, delivered=3, dead={"rejected": 1})
    assert eventually(lambda: bool(news(watch)))
    state = watch.state()
    assert (state["invalid"], state["balanced"]) == (1, True)
    assert connector(watch)["counts"]["delivered"] == 3
    write_report(tmp_path, offered=6, delivered=3, dead={"rejected": 3})
    assert eventually(lambda: len(news(watch)) == 2)
    assert [detail for _, _, detail in news(watch)] == ["1 rejected", "2 rejected"]


def test_a_fault_is_news_once_though_it_finds_out_whom_it_rejects(
    watch: RunWatch, partners: PartnerSandbox
) -> None:
    partners.set_fault("hook", Fault(reject_next=True))
    assert eventually(lambda: [what for _, what, _ in news(watch)] == ["fault"])
    body = json.dumps({"events": [{"event_type": "t", "id": "1", "time": 1}]})
    requests.post(partners.url("hook"), data=body, timeout=10)
    assert partners.fault("hook") == Fault(reject_ids=frozenset({"1"}))
    assert eventually(lambda: watch.phase == "running")  # it has looked again since
    partners.set_fault("hook", None)
    assert eventually(lambda: [what for _, what, _ in news(watch)][-1] == "repaired")
    assert [what for _, what, _ in news(watch)] == ["fault", "running", "repaired"]


def test_samples_tell_what_arrived_and_what_was_held(
    watch: RunWatch, partners: PartnerSandbox, tmp_path: Path
) -> None:
    hold(tmp_path / "held", "hook", WHEN, 7)
    headers = {"Braze-Currents-Version": "1", "Content-Type": "application/json"}
    events = [{"event_type": "t", "id": str(number), "time": 1} for number in range(20)]
    assert eventually(lambda: len(connector(watch)["delivered"]) >= 1)
    body = json.dumps({"events": events})
    assert requests.post(partners.url("hook"), data=body, headers=headers, timeout=10).ok
    assert eventually(lambda: max(connector(watch)["delivered"]) > 0)
    assert connector(watch)["holding"][-1] == 7
    assert connector(watch)["states"].endswith("h")
    assert connector(watch, "lake")["holding"][-1] == 0


# The feed.


def test_a_feed_publishes_with_trouble_in_its_midst_and_then_at_a_pace(feed: Feed) -> None:
    feed.publish_samples(10)
    assert feed.published == 13
    feed.keep_publishing(rate=200)
    assert eventually(lambda: feed.published >= 100)
    feed.stop()
    stopped = feed.published
    feed.stop()
    assert feed.published == stopped
