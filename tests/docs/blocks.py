"""The blocks of code in our pages, and the commands in them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Block(NamedTuple):
    """A fenced block."""

    page: str
    """Its path from the root of the project."""
    heading: str
    """The heading that it stands below."""
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}: {self.heading}: {self.text.strip().splitlines()[0][:50]}"


def pages() -> list[Path]:
    """All our pages; what is below `notes` is a part of another page."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    found += [ROOT / "benchmarks" / "README.md", ROOT / "tests" / "golden" / "README.md"]
    return sorted(page for page in found if page.parent.name != "notes")


def blocks_of(page: Path) -> Iterator[Block]:
    heading = language = ""
    lines: list[str] | None = None
    for line in page.read_text(encoding="utf-8").splitlines():
        if lines is None and (found := re.match(r"#+ (.*)", line)):
            heading = found[1]
        elif lines is None and line.startswith("```"):
            language, lines = line[3:].strip(), []
        elif lines is not None and line.startswith("```"):
            yield Block(str(page.relative_to(ROOT)), heading, language, "\n".join(lines) + "\n")
            lines = None
        elif lines is not None:
            lines.append(line)


def all_blocks() -> list[Block]:
    return [block for page in pages() for block in blocks_of(page)]


def commands_in(text: str) -> list[str]:
    """The commands of a block for a shell: lines, those that go on joined, without comments."""
    joined = text.replace("\\\n", " ")
    lines = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in joined.splitlines())
    return [re.sub(r"\s+", " ", line) for line in lines if line]
