"""The local run, as a newcomer starts it."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.running import eventually, letters_in
from tests.sandbox.local_run import LocalRun

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "sandbox.run_local"]


pytestmark = pytest.mark.slow
needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")


def processes_of(folder: Path) -> dict[int, str]:
    """Command lines of running processes that were given the folder, by process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        if str(folder) in line:
            found[int(path.parent.name)] = line
    return found


def test_it_ends_by_itself_with_balanced_books_of_every_kind(tmp_path: Path) -> None:
    ended = subprocess.run(
        [ROOT / "run_local.sh", "--events", "1000", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "the books balance" in ended.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    kinds = sorted(connector["kind"] for connector in report["connectors"].values())
    assert kinds == [
        "avro_files",
        "mparticle",
        "postback",
        "rudderstack",
        "segment",
        "treasure_data",
    ]
    assert (report["received"], report["invalid"]) == (1_003, 2)
    assert report["connectors"]["warehouse"]["filtered"]["no_external_user_id"] > 0
    reasons = {letter["reason"] for letter in letters_in(tmp_path / "dead-letters")}
    assert {"invalid_json", "rejected", "too_large"} <= reasons


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = subprocess.run(
            [*COMMAND, "--folder", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"another local run has {tmp_path}: end it")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_its_own_folder_is_emptied_and_another_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / ".run_local", tmp_path / "other"):
        (folder / "held" / "queue").mkdir(parents=True)
        (folder / "held" / "left").touch()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for arguments in ([], ["--folder", "other"]):
        command = [*COMMAND, "--events", "20", *arguments]
        subprocess.run(command, env=environment, capture_output=True, timeout=110, check=True)
    assert not (tmp_path / ".run_local" / "held" / "left").exists()
    assert (tmp_path / "other" / "held" / "left").exists()


@needs_proc
def test_keep_stays_up_until_it_is_told_and_leaves_no_process(tmp_path: Path) -> None:
    with LocalRun(tmp_path) as run:
        assert eventually((tmp_path / "report.json").exists, 60)
        assert run.process.poll() is None
        run.process.terminate()
        assert run.process.wait(timeout=90) == 0
        assert "the books balance" in run.output
    assert processes_of(tmp_path) == {}


@needs_proc
def test_a_pipeline_that_ends_by_itself_is_told_of_and_the_rest_stays(tmp_path: Path) -> None:
    with LocalRun(tmp_path) as run:
        assert eventually(lambda: run.state["run"]["phase"] == "running", 90)
        [pipeline] = [pid for pid, line in processes_of(tmp_path).items() if "pipeline run" in line]
        os.kill(pipeline, signal.SIGKILL)
        assert eventually(lambda: run.state["run"]["phase"] == "ended", 30)
        assert run.state["run"]["exit_code"] == -signal.SIGKILL
        assert run.process.poll() is None
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(timeout=90) == 1
        assert "the books do not balance" in run.output
    assert processes_of(tmp_path) == {}
