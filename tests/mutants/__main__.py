"""Mutation testing: which changes of the code does no test notice?

    python -m tests.mutants                    all modules, as `./run_tests.sh --mutants` does
    python -m tests.mutants sinks.segment runtime.hold
    python -m tests.mutants --show sinks       what was found before, without running anything

mutmut works on a copy in build/mutants, and keeps there what it has found. What was killed is tried
again when its function has changed; what was not, every time. `rm -r build/mutants` starts afresh. At
the end come the diff of every mutant that has survived, and a table.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.groups import GROUPS, NOT_MUTATED, Group
from tests.mutants.verdicts import (
    OPEN,
    SURVIVED,
    TIMEOUTS,
    Verdicts,
    names_with,
    read_verdicts,
    table,
)

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "mutants"
PROCESSES = 2


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", help="such as sinks.segment, or a package: sinks")
    parser.add_argument("--show", action="store_true", help="run nothing")
    given = parser.parse_args(arguments)
    found: dict[str, Verdicts] = {}
    for package, group in GROUPS.items():
        wanted = given.modules or [package]
        modules = [module for module in wanted if module.split(".")[0] == package]
        if modules and not given.show:
            _run(package, group, modules)
        found[package] = read_verdicts(WORK / package / "mutants", modules)
    for package, verdicts in found.items():
        _print_survivors(package, verdicts)
    together = {module: of for verdicts in found.values() for module, of in verdicts.items()}
    sys.stdout.write(f"\n{table(together)}\n")
    return 0


def _run(package: str, group: Group, modules: Sequence[str]) -> None:
    """Let mutmut try every mutant of these modules that was not killed before."""
    folder = WORK / package
    _copy_tree(folder)
    (folder / "setup.cfg").write_text(_settings(package, group))
    names = list(names_with(_read(package, modules), SURVIVED, TIMEOUTS, OPEN))
    every = [pattern for module in modules for pattern in (f"{module}.x*", f"{module}.*.x*")]
    _mutmut(folder, names or every)
    # Functions that have changed have other mutants by now.
    if names and (new := list(names_with(_read(package, modules), OPEN))):
        _mutmut(folder, new)


def _read(package: str, modules: Sequence[str]) -> Verdicts:
    return read_verdicts(WORK / package / "mutants", modules)


def _mutmut(folder: Path, names: Sequence[str]) -> None:
    path = folder.with_suffix(".log")
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(PROCESSES), *names]
    with path.open("w") as log:
        code = subprocess.run(command, cwd=folder, stdout=log, stderr=log, check=False).returncode
    if code:
        raise SystemExit(f"mutmut ends with {code}: see {path}")


def _copy_tree(folder: Path) -> None:
    """Bring the copy up to date; files that are the same keep their times, which mutmut looks at."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if not source.is_file():
            target.unlink(missing_ok=True)
        elif not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def _settings(package: str, group: Group) -> str:
    copied = sorted(path.name for path in ROOT.iterdir() if not path.name.startswith("."))
    lists = {
        "source_paths": [package],
        "only_mutate": [f"{package}/{module}.py" for module in group.modules],
        "do_not_mutate": NOT_MUTATED,
        "also_copy": [name for name in copied if name not in (package, "build")],
        "pytest_add_cli_args_test_selection": group.tests,
        "pytest_add_cli_args": [
            *("-p", "no:cacheprovider"),
            *(f"--ignore={name}" for name in group.ignored),
        ],
    }
    lines = ["[mutmut]"]
    for option, values in lists.items():
        lines += [f"{option} =", *(f"    {value}" for value in values)]
    return "\n".join(lines) + "\n"


def _print_survivors(package: str, verdicts: Verdicts) -> None:
    if names := list(names_with(verdicts, SURVIVED)):
        command = [sys.executable, "-m", "tests.mutants.differences", *names]
        sys.stdout.flush()
        subprocess.run(command, cwd=WORK / package, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
