"""What is installed on workers: the shipped folders, with their data, and nothing else."""

import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_source_distribution_holds_the_catalogue_and_no_tests(tmp_path: Path) -> None:
    """Workers install exactly this; an editable install hides what it lacks."""
    copy = tmp_path / "tree"
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    for name in listed.decode().split("\0")[:-1]:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(tmp_path)],
        cwd=copy,
        capture_output=True,
        check=True,
    )
    (package,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(package) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"schemas/facts/events.json", "sinks/segment.py", "runtime/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "sandbox/", "benchmarks/"))]
