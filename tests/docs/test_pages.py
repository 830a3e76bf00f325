"""The pages on partners and settings are what they are made from, and lead where they say."""

import re

import pytest

from docs.pages import COMMAND, FOLDER, pages
from schemas.catalogue import event_types
from sinks import sink_kinds

PAGES = {str(path.relative_to(FOLDER)): text for path, text in pages().items()}
LINK = re.compile(r"\]\(([^)#]+)\)")


def test_each_kind_has_a_page_and_none_is_left_over() -> None:
    found = {path.stem for path in (FOLDER / "partners").glob("*.md")}
    assert found == set(sink_kinds())


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_what_it_is_made_from(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == PAGES[name], f"run: {COMMAND}"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_links_lead_somewhere(name: str) -> None:
    links = LINK.findall(PAGES[name])
    assert links
    for link in links:
        assert ((FOLDER / name).parent / link).exists(), link


@pytest.mark.parametrize("kind", sorted(sink_kinds()))
def test_a_page_names_every_setting_of_its_own(kind: str) -> None:
    settings = set(sink_kinds()[kind].settings_type.__struct_fields__)
    named = set(re.findall(r"^\| `(\w+)` \|", PAGES[f"partners/{kind}.md"], re.MULTILINE))
    common = set(re.findall(r"^\| `(\w+)` \|", PAGES["connectors.md"], re.MULTILINE))
    assert settings <= named | common


@pytest.mark.parametrize("kind", ["segment", "mparticle"])
def test_every_event_type_is_told_of(kind: str) -> None:
    told = re.findall(r"`(\w+(?:\.\w+)+)`", PAGES[f"partners/{kind}.md"])
    assert set(event_types()) <= set(told)
