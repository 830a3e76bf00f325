"""What mutmut has found out: it keeps the exit code of the tests of every mutant."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

KILLED, SURVIVED, TIMEOUTS, OPEN = "killed", "survived", "timeouts", "open"
COLUMNS = (KILLED, SURVIVED, TIMEOUTS, OPEN)

_VERDICTS: Mapping[int | None, str] = {
    **dict.fromkeys((1, 3), KILLED),
    **dict.fromkeys((0, 5, 33), SURVIVED),  # the last two: no test came by
    **dict.fromkeys((-24, 24, 36, 152, 255, -9, -11), TIMEOUTS),  # hung, or crashed
    **dict.fromkeys((None, 2), OPEN),
}

Verdicts = Mapping[str, Mapping[str, str]]
"""What became of each mutant, by module and by the mutant's name."""


def read_verdicts(kept: Path, modules: Iterable[str]) -> Verdicts:
    """Of these modules, or of those in these packages.

    An exit code that is not known counts as survival: it has to be looked at.
    """
    wanted = tuple(f"{module}." for module in modules)
    found = {}
    for path in sorted(kept.rglob("*.meta")):
        module = ".".join(path.relative_to(kept).parts).removesuffix(".py.meta")
        codes = json.loads(path.read_text())["exit_code_by_key"]
        if codes and f"{module}.".startswith(wanted):
            found[module] = {name: _VERDICTS.get(code, SURVIVED) for name, code in codes.items()}
    return found


def names_with(verdicts: Verdicts, *wanted: str) -> Iterator[str]:
    """The mutants with one of these verdicts."""
    for of_module in verdicts.values():
        yield from (name for name, verdict in of_module.items() if verdict in wanted)


def table(verdicts: Verdicts) -> str:
    """A line for each module, and one for all."""
    counts = {module: Counter(found.values()) for module, found in verdicts.items()}
    total = sum(counts.values(), Counter[str]())
    head = f"{'module':<32}{'mutants':>10}" + "".join(f"{column:>10}" for column in COLUMNS)
    return "\n".join([head, *(_line(*row) for row in [*counts.items(), ("all", total)])])


def _line(name: str, counts: Counter[str]) -> str:
    numbers = [sum(counts.values()), *(counts[column] for column in COLUMNS)]
    return f"{name:<32}" + "".join(f"{number:>10,}" for number in numbers)
