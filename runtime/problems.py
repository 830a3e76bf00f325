"""What is wrong with a connectors file, in words: connector, field, what was found, what is allowed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from runtime.suggesting import suggestion
from schemas.connector import schema_hook

_MAX_FOUND_CHARS = 60


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; prints as one line."""

    connector: str
    field: str
    text: str

    def __str__(self) -> str:
        where = f"connector {self.connector!r}: " if self.connector else "connectors file: "
        field = f"{_cut(self.field)}: " if self.field else ""
        return "".join(map(_visible, where + field + self.text))


def describe(
    error: msgspec.ValidationError, connector: str, raw: Mapping[str, Any], settings_type: type
) -> Problem:
    """Say what msgspec found wrong with a connector's settings."""
    text, _, path = str(error).partition(" - at `")
    field = path.removeprefix("key` in `").rstrip("`").removeprefix("$").removeprefix(".")
    properties = _properties_of(settings_type)
    if "unknown field" in text or "missing required field" in text:
        return _misnamed(text, connector, field, properties)
    # What our own types say is complete, and they know what is a secret and must not be repeated.
    rule = _rule_of(properties, field) if text.startswith(_OF_MSGSPEC) else {}
    allowed = _allowed(rule)
    if allowed and ", got `" not in text:
        text = f"found {show(raw.get(field))}"
    return Problem(connector, field, f"{text[0].lower()}{text[1:]}{allowed}")


def allowed_values(values: Iterable[object]) -> str:
    """The values as the end of a sentence."""
    return "allowed: " + ", ".join(repr(value) for value in sorted(values, key=str))


_OF_MSGSPEC = ("Expected", "Invalid enum")


def _misnamed(text: str, connector: str, field: str, properties: Mapping[str, Any]) -> Problem:
    """A setting that there is not, or that has to be there."""
    given = text.split("`")[1]
    name = f"{field}.{given}".lstrip(".")
    if "missing" in text:
        return Problem(connector, name, "is missing")
    if field:
        return Problem(connector, name, "is unknown")
    meant = suggestion(given, properties)
    return Problem(connector, name, f"is unknown{meant or f'; {allowed_values(properties)}'}")


def _properties_of(settings_type: type) -> dict[str, Any]:
    """JSON Schema of each setting."""
    (reference,), components = msgspec.json.schema_components(
        [settings_type], schema_hook=schema_hook
    )
    return components[reference["$ref"].rsplit("/", 1)[-1]]["properties"]


def _rule_of(properties: Mapping[str, Any], field: str) -> dict[str, Any]:
    """The JSON Schema of a setting; of one that may be null, what holds for its other values."""
    rule: dict[str, Any] = dict(properties.get(field, {}))
    for alternative in rule.get("anyOf", ()):
        rule |= alternative
    return rule


def _allowed(rule: Mapping[str, Any]) -> str:
    if "enum" in rule:
        return f"; {allowed_values(rule['enum'])}"
    if "pattern" in rule:
        return f"; allowed: what matches {rule['pattern']}"
    bounds = [f"{word} {rule[key]}" for key, word in _BOUNDS.items() if key in rule]
    return f"; allowed: {' and '.join(bounds)}" if bounds else ""


_BOUNDS = {"minimum": "at least", "maximum": "at most"}


def show(value: object) -> str:
    """What was found, but not more of it than fits a line."""
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_FOUND_CHARS else f"{text[:_MAX_FOUND_CHARS]}…"


def _visible(char: str) -> str:
    """The character, or what a programmer writes for one that a terminal or a log would obey."""
    return char if char.isprintable() else char.encode("unicode_escape").decode()
