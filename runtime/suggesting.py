"""What somebody may have meant by a name that is not known."""

import difflib
from collections.abc import Iterable

CLOSE = 0.75
"""Of 1: a letter or two of a word; less would name what has nothing to do with it."""


def suggestion(given: str, known: Iterable[str], after: str = ";") -> str:
    """The end of a sentence, `after` a sign, that names what is most like it; empty where nothing is."""
    found = difflib.get_close_matches(given, list(known), n=1, cutoff=CLOSE)
    return f"{after} did you mean {found[0]!r}?" if found else ""
