"""Which lanes are suspended: told by markers, and by whoever attends the lane."""

from pathlib import Path

import pytest

from runtime.hold import suspensions
from runtime.hold.suspensions import OURS_SECONDS, Suspensions
from tests.pipeline.running import eventually


def test_a_marker_of_another_process_is_seen_and_its_end_as_well(tmp_path: Path) -> None:
    ours, others = Suspensions(str(tmp_path)), Suspensions(str(tmp_path))
    ours.mark("crm", "suspended")
    others.refresh()
    assert others.state_of("crm") == "suspended"
    ours.mark("crm", "resuming")
    others.refresh()
    assert others.state_of("crm") == "resuming"
    ours.mark("crm", None)
    others.refresh()
    assert others.state_of("crm") is None


def test_what_this_process_says_counts_at_once_and_more_than_an_old_listing(tmp_path: Path) -> None:
    ours = Suspensions(str(tmp_path))
    ours.mark("crm", "suspended")
    assert ours.state_of("crm") == "suspended"
    (tmp_path / "suspended" / "crm").unlink()
    ours.refresh()
    assert ours.state_of("crm") == "suspended"
    ours.mark("crm", None)
    assert ours.state_of("crm") is None
    assert ours.lanes() == []


def test_who_attends_a_lane_no_more_believes_the_markers(tmp_path: Path) -> None:
    """Else a lane that another process has resumed would be suspended here for ever."""
    now = [0.0]
    ours, others = Suspensions(str(tmp_path), lambda: now[0]), Suspensions(str(tmp_path))
    ours.mark("crm", "suspended")
    others.mark("crm", None)
    now[0] += OURS_SECONDS
    ours.refresh()
    assert ours.state_of("crm") is None
    ours.mark("crm", "suspended")
    others.refresh()
    assert (tmp_path / "suspended" / "crm").exists()


def test_markers_that_cannot_be_read_leave_what_is_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, others = (Suspensions(str(tmp_path / "held")) for _ in range(2))
    others.mark("crm", "suspended")
    ours.refresh()
    folder = tmp_path / "held" / "suspended"
    (folder / "crm").unlink()
    folder.rmdir()
    folder.symlink_to(folder)
    ours.refresh()
    assert ours.state_of("crm") == "suspended"
    (told,) = caplog.messages
    assert told.startswith(f"which lanes are suspended cannot be read: storage: {folder}: ")


def test_a_marker_that_cannot_be_written_is_written_at_the_next_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "held").write_text("a file where the folder should be")
    ours = Suspensions(str(tmp_path / "held"))
    ours.mark("crm", "suspended")
    why = f"storage: {tmp_path / 'held' / 'suspended' / 'crm'}: File exists"
    assert f"the state of lane crm cannot be told to others: {why}" in caplog.messages
    (tmp_path / "held").unlink()
    ours.mark("crm", "suspended")
    assert (tmp_path / "held" / "suspended" / "crm").exists()


def test_who_follows_the_markers_sees_what_others_have_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspensions, "LOOK_SECONDS", 0.01)
    ours, others = (Suspensions(str(tmp_path / "held")) for _ in range(2))
    ours.follow()
    try:
        others.mark("crm", "suspended")
        assert eventually(lambda: ours.state_of("crm") == "suspended")
        others.mark("crm", None)
        assert eventually(lambda: ours.state_of("crm") is None)
    finally:
        ours.close()
