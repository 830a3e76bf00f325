"""`python -m tests.golden`: write every golden request anew, for review by `git diff`."""

import sys

from tests.golden.rewriting import rewrite


def main() -> None:
    """Rewrite, and say which files have changed."""
    for path in rewrite():
        sys.stdout.write(f"{path.parent.name}/{path.name}\n")


if __name__ == "__main__":
    main()
