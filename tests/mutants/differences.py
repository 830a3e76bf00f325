"""Print the diffs of the mutants whose names come on standard input, in a folder of mutmut's.

It stands alone, for it needs mutmut, which reads its settings when it is imported.
"""

import sys
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant

if __name__ == "__main__":
    for name in sys.stdin.read().split():
        module = name[: name.rindex(".x")]
        package = Path(*module.split("."))
        path = package / "__init__.py" if package.is_dir() else package.with_suffix(".py")
        sys.stdout.write(f"\n# {name}\n{get_diff_for_mutant(name, path=path).strip()}\n")
