"""What the page on personal data says of files."""

import stat
from pathlib import Path

from runtime.dead_letters import write_letters
from runtime.hold.directory import HoldQueue
from tests.docs.blocks import ROOT
from tests.runtime.test_dead_letters import letter_of
from tests.runtime.test_erasing import batch, event

PAGE = (ROOT / "docs" / "operating-data.md").read_text(encoding="utf-8")


def test_local_files_can_be_read_by_the_account_of_the_process_alone(tmp_path: Path) -> None:
    assert "(mode 0600)" in PAGE
    HoldQueue(str(tmp_path / "held")).put("crm", [batch(event(1))])
    write_letters(str(tmp_path / "dead"), [letter_of()])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_the_days_are_those_of_terraform() -> None:
    variables = (ROOT / "deploy" / "terraform" / "variables.tf").read_text(encoding="utf-8")
    for name, days in (("hold_days", 14), ("dead_letter_days", 30)):
        block = variables.partition(f'variable "{name}"')[2].partition("\n}")[0]
        assert f"default     = {days}" in block
        assert f"{days} " in PAGE
