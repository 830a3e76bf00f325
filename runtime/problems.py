"""What is wrong with a connectors file, in words: connector, field, what was found, what is allowed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

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
        return where + (f"{self.field}: " if self.field else "") + self.text


def describe(
    error: msgspec.ValidationError, connector: str, raw: Mapping[str, Any], settings_type: type
) -> Problem:
    """Say what msgspec found wrong with a connector's settings."""
    text, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").removeprefix(".")
    schema = _schema_of(settings_type)
    if "unknown field" in text or "missing required field" in text:
        unknown = text.split("`")[1]
        known = schema["properties"] if not field else {}
        allowed = f"; {allowed_values(known)}" if "unknown" in text and known else ""
        what = "is unknown" if "unknown field" in text else "is missing"
        return Problem(connector, f"{field}.{unknown}".lstrip("."), what + allowed)
    rule = schema["properties"].get(field, {})
    if "enum" in rule:
        return Problem(
            connector, field, f"found {_show(raw.get(field))}; {allowed_values(rule['enum'])}"
        )
    return Problem(connector, field, f"{text[0].lower()}{text[1:]}{_allowed(rule)}")


def allowed_values(values: Iterable[object]) -> str:
    """The values as the end of a sentence."""
    return "allowed: " + ", ".join(repr(value) for value in sorted(values, key=str))


def _schema_of(settings_type: type) -> dict[str, Any]:
    (reference,), components = msgspec.json.schema_components(
        [settings_type], schema_hook=schema_hook
    )
    return components[reference["$ref"].rsplit("/", 1)[-1]]


def _allowed(rule: Mapping[str, Any]) -> str:
    if "pattern" in rule:
        return f"; allowed: what matches {rule['pattern']}"
    bounds = [f"{word} {rule[key]}" for key, word in _BOUNDS.items() if key in rule]
    return f"; allowed: {' and '.join(bounds)}" if bounds else ""


_BOUNDS = {"minimum": "at least", "maximum": "at most"}


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_FOUND_CHARS else f"{text[:_MAX_FOUND_CHARS]}…"
