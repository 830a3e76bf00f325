"""The ConfigStore takes edits, refuses bad ones connector by connector, and keeps the last good."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from runtime import config_store
from runtime.address import PUBLIC_ONLY
from runtime.config_store import ConfigStore
from runtime.connectors import ConfigError
from tests.runtime.configs import hook

SECRET = "sk_live_4711"


@pytest.fixture(autouse=True)
def _settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_store, "SETTLED_SECONDS", 0.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "connectors.json"


@pytest.fixture
def opened(file: Path) -> Iterator[Callable[..., ConfigStore]]:
    """Opens a store on a file with these connectors."""
    stores: list[ConfigStore] = []

    def begin(*connectors: Mapping[str, Any], refresh_seconds: float = 3_600) -> ConfigStore:
        write(file, *connectors)
        stores.append(ConfigStore(str(file), PUBLIC_ONLY, refresh_seconds))
        return stores[-1]

    yield begin
    for store in stores:
        store.close()


def write(file: Path, *connectors: Mapping[str, Any]) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps({"connectors": connectors}))
    beside.replace(file)


def urls(store: ConfigStore) -> dict[str, str]:
    return {
        name: str(entry.settings.url)  # type: ignore[attr-defined]
        for name, entry in store.current().connectors.items()
    }


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in caplog.records if record.name == "runtime.config_store"]
    assert {record.levelno for record in records} <= {logging.INFO, logging.ERROR}
    records = [record for record in records if record.levelno == logging.ERROR]
    return [record.getMessage() for record in records]


def test_a_backfill_sets_what_old_events_need_and_keeps_it_through_edits(file: Path) -> None:
    feeds = {"unbound": {"key": "env:K", "secret": "env:S"}}
    mobile = {"name": "mobile", "kind": "mparticle", "feeds": feeds}
    write(file, mobile, hook("a"))
    store = ConfigStore(str(file), PUBLIC_ONLY, 3_600, historical=True)
    write(file, {**mobile, "pod": "eu1"}, hook("a"))
    before = store.current().connectors["mobile"]
    store.refresh()
    after = store.current().connectors["mobile"]
    assert (before.settings.pod, after.settings.pod) == ("us1", "eu1")  # type: ignore[attr-defined]
    assert not before.sink.age_limits
    assert not after.sink.age_limits
    as_ever = ConfigStore(str(file), PUBLIC_ONLY, 3_600)
    assert as_ever.current().connectors["mobile"].sink.age_limits


def test_a_store_opens_on_a_valid_file_only(opened: Callable[..., ConfigStore]) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(hook("a"), hook("b", shards=0), hook("c", url="nowhere"))
    assert [problem.connector for problem in caught.value.problems] == ["b", "c"]


def test_an_edit_is_taken_at_the_next_refresh(
    opened: Callable[..., ConfigStore], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(hook("a"), hook("b"))
    before = store.current()
    write(file, hook("a", url="https://new.example.com"), hook("c"))
    assert store.current() is before
    store.refresh()
    assert urls(store) == {"a": "https://new.example.com", "c": "https://c.example.com/"}
    assert store.current().version != before.version
    assert errors_in(caplog) == []


def test_a_file_that_did_not_change_leaves_the_very_same_connectors(
    opened: Callable[..., ConfigStore],
) -> None:
    store = opened(hook("a"))
    before = store.current()
    store.refresh()
    assert store.current() is before


def test_a_bad_edit_is_refused_for_its_connector_alone(
    opened: Callable[..., ConfigStore], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(hook("a"), hook("b"), hook("gone"))
    write(file, hook("a", shards=0), hook("b", url="https://new.example.com"), hook("c"))
    store.refresh()
    assert urls(store) == {
        "a": "https://a.example.com/",
        "b": "https://new.example.com",
        "c": "https://c.example.com/",
    }
    (error,) = errors_in(caplog)
    assert error == (
        "the edit is refused, the last good settings stay: "
        "connector 'a': shards: found 0; allowed: at least 1 and at most 1000"
    )


def test_a_new_connector_that_is_not_valid_is_not_there(
    opened: Callable[..., ConfigStore], file: Path
) -> None:
    store = opened(hook("a"))
    write(file, hook("a"), hook("b", shards=0), {"kind": "postback"})
    store.refresh()
    assert set(urls(store)) == {"a"}


def test_an_edit_may_not_take_away_the_encryption(
    opened: Callable[..., ConfigStore], file: Path
) -> None:
    hook = {"kind": "postback", "name": "hook"}
    store = opened({**hook, "url": "https://partner.example/"})
    write(file, {**hook, "url": "http://partner.example/"})
    store.refresh()
    assert urls(store) == {"hook": "https://partner.example/"}


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Crm-Hook"},
        {"name": "crm_hook"},
        {"name": None},
        {"name": 7},
        {"name": "crm-\ud800"},
        {"name": "other"},  # which is taken
    ],
)
def test_a_wrong_name_removes_nothing(
    changes: Mapping[str, Any],
    opened: Callable[..., ConfigStore],
    file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    crm = hook("crm-hook")
    store = opened(hook("other"), crm, hook("gone"))
    write(file, hook("other"), {**crm, **changes}, hook("new"))
    store.refresh()
    assert set(urls(store)) == {"other", "crm-hook", "gone", "new"}
    (error,) = errors_in(caplog)
    assert "no connector is removed until the file is valid" in error
    write(file, hook("other"), hook("new"))
    store.refresh()
    assert set(urls(store)) == {"other", "new"}


def test_an_edit_of_nobody_knows_whom_does_not_double_a_connector_that_was_renamed(
    opened: Callable[..., ConfigStore], file: Path
) -> None:
    store = opened(hook("a"), hook("b"))
    write(file, hook("renamed", url="https://a.example.com/"), hook("B"))
    store.refresh()
    assert set(urls(store)) == {"renamed", "b"}


@pytest.mark.parametrize("changes", [{"timeout": 10**400}, {"enabled": "\ud800"}])
def test_a_value_that_python_cannot_take_is_refused_like_any_other(
    changes: Mapping[str, Any], opened: Callable[..., ConfigStore], file: Path
) -> None:
    store = opened(hook("a"), hook("b"))
    write(file, hook("a", **changes), hook("b", url="https://new.example.com"))
    store.refresh()
    assert urls(store) == {"a": "https://a.example.com/", "b": "https://new.example.com"}


def test_the_last_good_settings_stay_through_any_number_of_bad_edits(
    opened: Callable[..., ConfigStore], file: Path
) -> None:
    store = opened(hook("a"))
    for shards in (0, -1, 2_000):
        write(file, hook("a", shards=shards))
        store.refresh()
        assert urls(store) == {"a": "https://a.example.com/"}
    write(file, hook("a", url="https://new.example.com"))
    store.refresh()
    assert urls(store) == {"a": "https://new.example.com"}


@pytest.mark.parametrize("content", [None, "", "connectors: [", "connectors: 7"])
def test_an_unreadable_file_leaves_all_as_it_was(
    content: str | None,
    opened: Callable[..., ConfigStore],
    file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = opened(hook("a"), hook("b"))
    before = store.current()
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    store.refresh()
    assert store.current() is before
    (error,) = errors_in(caplog)
    assert "the last good settings stay: connectors file: " in error


def test_the_log_of_a_refused_edit_holds_no_secret(
    opened: Callable[..., ConfigStore], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(hook("a", token="env:TOKEN"))
    write(file, hook("a", token=SECRET))
    store.refresh()
    file.write_text(f"connectors: [{{token: {SECRET}")
    store.refresh()
    assert len(errors_in(caplog)) == 2
    assert SECRET not in caplog.text


def test_a_store_that_follows_its_file_takes_edits_by_itself(
    opened: Callable[..., ConfigStore], file: Path
) -> None:
    store = opened(hook("a"), refresh_seconds=0.01)
    store.follow()
    write(file, hook("a"), hook("b"))
    until = time.monotonic() + 10
    while "b" not in store.current().connectors and time.monotonic() < until:
        time.sleep(0.01)
    assert set(urls(store)) == {"a", "b"}


def test_a_closed_store_reads_no_more(opened: Callable[..., ConfigStore], file: Path) -> None:
    store = opened(hook("a"), refresh_seconds=0.01)
    store.follow()
    store.follow()
    store.close()
    write(file, hook("b"))
    assert [thread for thread in threading.enumerate() if thread.name == "config"] == []
    assert set(urls(store)) == {"a"}


def test_a_refused_edit_is_logged_once_and_not_at_every_reading(
    opened: Callable[..., ConfigStore], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(hook("a"))
    write(file, hook("a", events=3))
    for _ in range(3):
        store.refresh()
    assert len(caplog.records) == 1
    write(file, hook("a", shards=0))
    store.refresh()
    assert len(caplog.records) == 1 + 1


def test_a_file_that_is_still_being_written_is_not_read_yet(
    opened: Callable[..., ConfigStore], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a YAML file is a valid one of fewer connectors."""
    monkeypatch.setattr(config_store, "SETTLED_SECONDS", 1.0)
    store = opened(hook("a"), hook("b"))
    yaml = "connectors:\n" + "".join(
        f"- {{name: {name}, kind: postback, url: 'https://{name}.example.com/'}}\n"
        for name in "abc"
    )
    file.write_text(yaml[:120])
    refreshing = threading.Thread(target=store.refresh)
    refreshing.start()
    file.write_text(yaml)
    refreshing.join()
    assert set(store.current().connectors) == {"a", "b", "c"}


def test_what_an_edit_adds_removes_and_changes_is_logged(
    opened: Callable[..., ConfigStore], file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(hook("a"), hook("b"), hook("c"))
    write(file, hook("b", paused=True), hook("c"), hook("d"))
    with caplog.at_level(logging.INFO, "runtime.config_store"):
        store.refresh()
    assert sorted(caplog.messages) == [
        "connector 'a' is removed",
        "connector 'b' is changed",
        "connector 'd' is added",
    ]


def test_only_what_was_there_throughout_was_offered_everything(
    opened: Callable[..., ConfigStore], file: Path
) -> None:
    store = opened(hook("a"), hook("b"), hook("c", app_group_ids=["g"]))
    assert store.throughout == {"a", "b"}
    write(file, hook("a"), hook("c"))
    store.refresh()
    write(file, hook("a"), hook("b"), hook("c"))
    store.refresh()
    assert store.throughout == {"a"}
