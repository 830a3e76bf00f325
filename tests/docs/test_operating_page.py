"""The page on operating names what is written."""

import re

import msgspec
import pytest

from schemas.alert import Alert
from schemas.figures import ConnectorFigures, DeadFigures, HeldFigures
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("figures", [ConnectorFigures, DeadFigures, HeldFigures])
def test_the_table_of_figures_names_every_field_and_no_other(figures: type) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(figures)}
    event = fields.pop("event").default
    (row,) = re.findall(rf"^\| `{event}` \|(.*)$", PAGE, re.MULTILINE)
    named = re.findall(r"`(\w+)`", row)
    assert sorted(named) == sorted(fields)


def test_the_fields_of_alerts_are_those_that_are_named() -> None:
    fields = PAGE.partition("Fields: ")[2].partition("times\nare RFC 3339")[0]
    assert set(re.findall(r"`(\w+)`", fields)) == set(Alert.__struct_fields__)
