"""What holds events, or says something of them, is its owner's alone, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.storage import make_folder, write_whole, writing_whole
from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from sandbox.samples import sample_events
from tests.pipeline.running import run_files, write_connectors


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_files_and_the_folders_that_are_made_for_them_are_private(tmp_path: Path) -> None:
    write_whole(f"{tmp_path}/a/b/one", b"x")
    with writing_whole(f"{tmp_path}/c/two") as file:
        file.write(b"x")
    make_folder(f"{tmp_path}/d/e")
    for path in tmp_path.rglob("*"):
        assert mode_of(path) == (0o700 if path.is_dir() else 0o600), path


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)
    write_whole(f"{shared}/one", b"x")
    assert mode_of(shared) == 0o2775


def test_all_that_a_run_writes_is_private(tmp_path: Path) -> None:
    """Hold, status, dead letters, Avro files and the report, written by a process with umask 0."""
    (tmp_path / "events.ndjson").write_bytes(b"\n".join([*sample_events(40), b"nope"]))
    given = {path.name for path in tmp_path.iterdir()} | {"connectors.json"}
    with PartnerSandbox({"hook": PostbackSite()}) as sandbox:
        sandbox.set_fault("hook", Fault(status=503))
        hook = {"name": "hook", "kind": "postback", "url": sandbox.url("hook")}
        lake = {"name": "lake", "kind": "avro_files", "path": f"{tmp_path}/lake/deep"}
        write_connectors(tmp_path, [hook, lake])
        before = os.umask(0)
        try:
            ended = run_files(tmp_path, tmp_path / "events.ndjson")
        finally:
            os.umask(before)
    assert ended.returncode == 3, ended.stderr
    written = [
        path for path in tmp_path.rglob("*") if path.relative_to(tmp_path).parts[0] not in given
    ]
    assert {path.suffix for path in written if path.is_file()} >= {".avro", ".json", ""}
    assert {path.relative_to(tmp_path).parts[0] for path in written} == {
        *("held", "dead", "lake", "report.json")
    }
    for path in written:
        assert mode_of(path) == (0o700 if path.is_dir() else 0o600), path
