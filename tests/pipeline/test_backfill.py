"""An archive is delivered to a new partner: what one run stored, another reads and sends."""

import contextlib
import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import fastavro
import pytest

from sandbox.partners import MParticleSite, PartnerSandbox, PostbackSite
from sandbox.samples import sample_event, sample_events
from schemas.catalogue import event_types
from tests.pipeline.running import ids_of, report_of, run_files, write_connectors

OPEN = "users.messages.email.Open"
NEW_TYPE = "users.messages.telepathy/New"


def events_of_all_types() -> list[bytes]:
    """One of each type of the catalogue, some of a new one, and a file of several blocks of another."""
    known = [sample_event(name, seed) for seed, name in enumerate(event_types())]
    new = {"event_type": NEW_TYPE, "time": 1_764_064_800, "properties": {"thought": [1.50, None]}}
    events = [json.dumps(event) for event in [*known, *({**new, "id": f"n-{n}"} for n in range(9))]]
    return [*map(str.encode, events), *sample_events(200, seed=1_000, event_types=[OPEN])]


EVENTS = events_of_all_types()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run left that had a storage connector and was given a message that is no event."""
    folder = tmp_path_factory.mktemp("written")
    (folder / "events.ndjson").write_bytes(b"\n".join([*EVENTS, b"no event"]))
    write_connectors(folder, [lake_in(folder / "archive")])
    ended = run_files(folder, folder / "events.ndjson")
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture
def archive(written: Path, tmp_path: Path) -> Path:
    """A folder of archived files that the test may change."""
    return Path(shutil.copytree(written / "archive", tmp_path / "archive"))


def lake_in(folder: Path) -> dict[str, Any]:
    return {"name": "lake", "kind": "avro_files", "path": str(folder)}


def hook_at(sandbox: PartnerSandbox) -> dict[str, Any]:
    return {"name": "hook", "kind": "postback", "url": sandbox.url("hook")}


def records_below(folder: Path) -> list[str]:
    """The records of all files, in whatever order."""
    found: list[str] = []
    for path in folder.rglob("*.avro"):
        with path.open("rb") as file:
            found += [json.dumps(record, sort_keys=True) for record in fastavro.reader(file)]
    return sorted(found)


def ids_in_whole_blocks(path: Path) -> set[str]:
    """The ids of a file as fastavro tells them, until it is cut off."""
    found: set[str] = set()
    with path.open("rb") as file, contextlib.suppress(ValueError, EOFError):
        for block in fastavro.block_reader(file):
            found.update(record["id"] for record in block)
    return found


def test_an_archive_is_delivered_once_and_stored_again_as_it_was(
    archive: Path, tmp_path: Path
) -> None:
    with PartnerSandbox({"hook": PostbackSite()}) as sandbox:
        write_connectors(tmp_path, [hook_at(sandbox), lake_in(tmp_path / "again")])
        ended = run_files(tmp_path, archive / "**" / "*.avro")
        assert ended.returncode == 0, ended.stderr
        assert Counter(sandbox.accepted_ids("hook")) == Counter(ids_of(EVENTS))
    assert len(set(ids_of(EVENTS))) == len(EVENTS)
    report = report_of(tmp_path)
    assert (report["received"], report["invalid"], report["balanced"]) == (len(EVENTS), 0, True)
    for connector in report["connectors"].values():
        assert connector["offered"] == connector["delivered"] == len(EVENTS)
    again = records_below(tmp_path / "again")
    assert len(again) == len(EVENTS)
    assert again == records_below(archive)


def test_a_cut_off_file_keeps_nothing_else_back_and_is_no_success(
    archive: Path, tmp_path: Path
) -> None:
    (cut,) = archive.glob(f"*/event_type={OPEN}/**/*.avro")
    whole = ids_in_whole_blocks(cut)
    cut.write_bytes(cut.read_bytes()[:-20])
    left = ids_in_whole_blocks(cut)
    assert 0 < len(left) < len(whole)
    expected = set(ids_of(EVENTS)) - (whole - left)
    with PartnerSandbox({"hook": PostbackSite()}) as sandbox:
        write_connectors(tmp_path, [hook_at(sandbox)])
        ended = run_files(tmp_path, archive / "**" / "*.avro")
        assert Counter(sandbox.accepted_ids("hook")) == Counter(expected)
    assert ended.returncode == 1
    assert f"the rest of a file cannot be read: {cut}: " in ended.stderr
    report = report_of(tmp_path)
    assert (report["received"], report["balanced"]) == (len(expected), True)


def test_dead_letters_are_refused_before_anything_is_sent(
    archive: Path, written: Path, tmp_path: Path
) -> None:
    (letters,) = (written / "dead").rglob("*.avro")
    shutil.copy(letters, archive / "zz.avro")
    with PartnerSandbox({"hook": PostbackSite()}) as sandbox:
        write_connectors(tmp_path, [hook_at(sandbox)])
        ended = run_files(tmp_path, archive / "**" / "*.avro")
        assert sandbox.accepted_ids("hook") == []
    assert ended.returncode == 2
    assert "zz.avro: it holds dead letters, which `currents replay` sends" in ended.stderr


def test_old_events_of_a_backfill_go_where_mparticle_takes_them(tmp_path: Path) -> None:
    now = int(time.time())
    ages = {"young": 3_600, "old": 4 * 86_400, "older": 60 * 86_400}
    events = [
        sample_event(OPEN, n, id=name, time=now - age) for n, (name, age) in enumerate(ages.items())
    ]
    (tmp_path / "events.ndjson").write_text("\n".join(map(json.dumps, events)))
    feeds = {"unbound": {"key": "env:KEY", "secret": "env:SECRET"}}
    with PartnerSandbox({"mobile": MParticleSite(feeds={"unbound": ("k", "s")})}) as sandbox:
        connector = {"name": "mobile", "kind": "mparticle", "feeds": feeds}
        write_connectors(tmp_path, [{**connector, "endpoint": sandbox.url("mobile")}])
        secrets = {"KEY": "k", "SECRET": "s"}
        ended = run_files(tmp_path, tmp_path / "events.ndjson", "--historical", environment=secrets)
        assert ended.returncode == 0, ended.stderr
        arrived = {request.path: request.event_ids for request in sandbox.requests("mobile")}
        accepted = sorted(sandbox.accepted_ids("mobile"))
    assert {path: sorted(ids) for path, ids in arrived.items()} == {
        "/v2/bulkevents": ["young"],
        "/v2/bulkevents/historical": ["old", "older"],
    }
    assert accepted == sorted(ages)
