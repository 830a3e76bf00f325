"""Makes `events.json`, which workers read, from the facts in `sources/`: `python -m schemas.facts.generate`.

A fact is changed in `sources/`, whose files say where theirs were read; the catalogue is never
edited by hand, and a test compares the two.
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
CATALOGUE = FOLDER / "events.json"


def generate() -> str:
    """The text of the catalogue: an event type a line, so that a change shows as one."""
    storage, http, names = (_facts(name) for name in ("storage", "http", "partner_names"))
    lines = [
        f"{json.dumps(name)}: {_compact(_event_type(facts, http.get(name), names.get(name, {})))}"
        for name, facts in sorted(storage.items())
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _facts(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / "sources" / f"{name}.json").read_text("utf-8"))["events"]


def _event_type(
    storage: dict[str, Any], http: dict[str, Any] | None, names: dict[str, Any]
) -> dict[str, Any]:
    fields = storage["fields"]
    known = http or {"user_fields": [], "properties": {}}
    return {
        "storage_fields": [[name, kind, nullable] for name, kind, nullable, _ in fields],
        "personal_fields": [name for name, _, _, personal in fields if personal],
        "http_properties": known["properties"],
        "user_fields": known["user_fields"],
        "has_external_user_id": any(name == "external_user_id" for name, *_ in fields),
        "in_http": http is not None,
        "retired": storage["retired"],
        "partners": {kind: found for kind, found in names.items() if kind != "note"},
        "note": names.get("note", ""),
    }


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


if __name__ == "__main__":
    CATALOGUE.write_text(generate(), "utf-8")
