"""The matrix in the README."""

from collections.abc import Iterable
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
_BEGIN, _END = "<!-- the matrix: .venv/bin/python -m tests.faults --readme -->", "<!-- its end -->"


def read_matrix() -> list[str]:
    """The lines of the table."""
    return _split(README.read_text("utf-8"))[1].strip().splitlines()


def write_matrix(lines: Iterable[str]) -> None:
    """Put the table in the place of the one that is there."""
    before, _, after = _split(README.read_text("utf-8"))
    README.write_text("\n".join([before + _BEGIN, *lines, _END + after]), "utf-8")


def _split(text: str) -> tuple[str, str, str]:
    before, _, rest = text.partition(_BEGIN)
    matrix, _, after = rest.partition(_END)
    return before, matrix, after
