"""Writing the golden requests anew, and events for the types that have none."""

import zlib
from pathlib import Path

from runtime.showing import pretty
from sandbox.samples import sample_event
from schemas.catalogue import event_types
from tests.golden.cases import FOLDER, Case, orphans, outcome_of, stored_cases

EVERY_TYPE = ("mparticle", "segment")
"""Kinds that encode each event type in a way of its own: every type has a case of its name."""


def rewrite(folder: Path = FOLDER) -> list[Path]:
    """Make every request what the product makes of its stored event; returns what has changed.

    A type without an event gets a sample, which stays as it is from then on. Files that belong to
    no event are removed.
    """
    changed = [write_sample(folder, kind, name) for kind, name in missing_types(folder)]
    changed += [case.request for case in stored_cases(folder) if _write_request(case)]
    for path in orphans(folder):
        path.unlink()
        changed.append(path)
    return changed


def missing_types(folder: Path = FOLDER) -> list[tuple[str, str]]:
    """Kinds and event types that have no case of the type's name."""
    return [
        (kind, name)
        for kind in EVERY_TYPE
        for name in event_types()
        if not Case(folder, kind, name).event.exists()
    ]


def write_sample(folder: Path, kind: str, event_type: str) -> Path:
    """Store a sample event of a type, the same wherever it is asked for."""
    path = Case(folder, kind, event_type).event
    seed = zlib.crc32(event_type.encode())
    path.write_text(pretty(sample_event(event_type, seed)) + "\n", encoding="utf-8")
    return path


def _write_request(case: Case) -> bool:
    outcome = outcome_of(case)
    if case.request.exists() and case.request.read_text(encoding="utf-8") == outcome:
        return False
    case.request.write_text(outcome, encoding="utf-8")
    return True
