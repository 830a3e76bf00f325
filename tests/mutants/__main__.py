"""Mutation testing: which changes of the code does no test notice?

    python -m tests.mutants                    all modules, as `./run_tests.sh --mutants` does
    python -m tests.mutants sinks.segment runtime.hold
    python -m tests.mutants --again sinks      those that have survived too: there are new tests
    python -m tests.mutants --show sinks       what was found before, without running anything

mutmut works on a copy in build/mutants, and keeps there what it has found, so that a run that was
stopped goes on. A module that has changed is tried afresh; `rm -r build/mutants` forgets all. At the
end come the diff of every mutant that has survived, and a table.
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
    parser.add_argument("--again", action="store_true", help="try survivors again")
    parser.add_argument("--show", action="store_true", help="run nothing")
    given = parser.parse_args(arguments)
    found: dict[str, Verdicts] = {}
    for name, group in GROUPS.items():
        wanted = given.modules or [group.package]
        modules = [module for module in wanted if module.split(".")[0] == group.package]
        if modules and not given.show:
            _run(WORK / name, group, modules, again=given.again)
        found[name] = read_verdicts(WORK / name / "mutants", modules)
    for name, verdicts in found.items():
        _print_survivors(WORK / name, verdicts)
    together = {module: of for verdicts in found.values() for module, of in verdicts.items()}
    sys.stdout.write(f"\n{table(together)}\n")
    return 0


def _run(folder: Path, group: Group, wanted: Sequence[str], *, again: bool) -> None:
    """Let mutmut try the mutants of these modules that are undecided."""
    changed = _copy_tree(folder)
    (folder / "setup.cfg").write_text(_settings(group))
    tried = [OPEN, SURVIVED, TIMEOUTS] if again else [OPEN]
    names: list[str] = []
    for path in _paths(group, wanted):
        kept = folder / "mutants" / f"{path}.meta"
        if path in changed:
            kept.unlink(missing_ok=True)
        verdicts = read_verdicts(folder / "mutants", [_module_of(path)])
        names += names_with(verdicts, *tried) if kept.exists() else [f"{_prefix_of(path)}.x*"]
    if names:
        _mutmut(folder, names)


def _paths(group: Group, wanted: Sequence[str]) -> list[str]:
    """The files of the group's modules that are wanted."""
    found = [
        path for module in group.modules for path in (ROOT / group.package).glob(f"{module}.py")
    ]
    paths = {path.relative_to(ROOT).as_posix() for path in found}.difference(NOT_MUTATED)
    starts = tuple(f"{module}." for module in wanted)
    return [path for path in sorted(paths) if f"{_module_of(path)}.".startswith(starts)]


def _module_of(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _prefix_of(path: str) -> str:
    """What the names of the module's mutants begin with."""
    return _module_of(path).removesuffix(".__init__")


def _mutmut(folder: Path, names: Sequence[str]) -> None:
    path = folder.with_suffix(".log")
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(PROCESSES), *names]
    with path.open("w") as log:
        code = subprocess.run(command, cwd=folder, stdout=log, stderr=log, check=False).returncode
    if code:
        raise SystemExit(f"mutmut ends with {code}: see {path}")


def _copy_tree(folder: Path) -> set[str]:
    """Bring the copy up to date; returns what has changed. mutmut looks at the times of files."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    changed = set()
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if not source.is_file():
            target.unlink(missing_ok=True)
        elif not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            changed.add(name)
    return changed


def _settings(group: Group) -> str:
    copied = sorted(path.name for path in ROOT.iterdir() if not path.name.startswith("."))
    lists = {
        "source_paths": [group.package],
        "only_mutate": [f"{group.package}/{module}.py" for module in group.modules],
        "do_not_mutate": NOT_MUTATED,
        "also_copy": [name for name in copied if name not in (group.package, "build")],
        "pytest_add_cli_args_test_selection": group.tests,
        "pytest_add_cli_args": [
            *("-p", "no:cacheprovider", "-p", "tests.mutants.quick"),
            *(f"--ignore={name}" for name in group.ignored),
        ],
    }
    lines = ["[mutmut]"]
    for option, values in lists.items():
        lines += [f"{option} =", *(f"    {value}" for value in values)]
    return "\n".join(lines) + "\n"


def _print_survivors(folder: Path, verdicts: Verdicts) -> None:
    if names := list(names_with(verdicts, SURVIVED)):
        command = [sys.executable, "-m", "tests.mutants.differences"]
        sys.stdout.flush()
        subprocess.run(command, cwd=folder, input="\n".join(names), text=True, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
