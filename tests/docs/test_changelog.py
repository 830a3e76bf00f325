"""The changelog: its newest version is the one that is installed, and its promises are about what is there."""

import ast
import re
from typing import Any

from schemas.dead_letter import AVRO_SCHEMA
from tests.docs.blocks import ROOT

PAGE = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
VERSIONS = re.findall(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d{2}-\d{2})$", PAGE, re.MULTILINE)


def version_of_setup() -> str:
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    given = [node for node in ast.walk(tree) if isinstance(node, ast.keyword)]
    (version,) = [node.value for node in given if node.arg == "version"]
    value: Any = ast.literal_eval(version)
    return str(value)


def test_the_newest_version_is_the_one_of_setup() -> None:
    assert VERSIONS[0][0] == version_of_setup()


def test_versions_stand_newest_first() -> None:
    def known(version: str) -> list[int]:
        return [int(part) for part in version.split(".")]

    assert sorted(VERSIONS, key=lambda one: (known(one[0]), one[1]), reverse=True) == VERSIONS
    assert all(text.strip() for text in re.split(r"^## \d+\..*$", PAGE, flags=re.MULTILINE)[1:])


def test_the_promises_name_what_there_is() -> None:
    promised = PAGE.partition("## What a version number promises")[2].partition("\n## ")[0]
    assert f"`{AVRO_SCHEMA['namespace']}.{AVRO_SCHEMA['name']}`" in promised
    for what in ("command line", "connectors file", "report", "dead letters", "hold", "state"):
        assert what in promised.lower()
