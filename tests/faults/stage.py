"""All cells and their stand-ins, which fail as their cases say, and are mended."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec

from sandbox.partners import Fault, PartnerSandbox, PostbackSite
from tests.faults.cases import NEVER_FAILS, PATIENT, Case, Place
from tests.faults.judging import Found
from tests.faults.partners import KINDS, Cell
from tests.faults.places import Certificates, Door
from tests.pipeline.running import dead_letters, ids_of, report_of, write_connectors

SOON_SECONDS = 3_600
"""Later than any fault lasts here."""


class Stage:
    """The cells of some cases, and a trap for what is redirected; lasts as long as the `with`."""

    def __init__(self, cases: Sequence[Case], folder: Path) -> None:
        self.cells = [Cell(case, kind) for case in cases for kind in KINDS]
        self.folder = folder
        self._certificates = Certificates(folder)
        self._trap = PartnerSandbox({"elsewhere": PostbackSite()})
        self._stack = ExitStack()
        self._doors = {key: self._door_to(key) for key in {_door_of(cell) for cell in self.cells}}

    def __enter__(self) -> "Stage":
        self._stack.enter_context(self._trap)
        for door in self._doors.values():
            self._stack.enter_context(door)
        self._connect({})
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def environment(self) -> Mapping[str, str]:
        """What the pipeline is to be run with, so that it trusts the right certificates."""
        return {"SSL_CERT_FILE": str(self._certificates.trusted)}

    @property
    def calm(self) -> list[Cell]:
        """The cells whose partners work."""
        return [cell for cell in self.cells if cell.case.name == NEVER_FAILS]

    @property
    def trapped(self) -> int:
        """How many requests have followed a redirect."""
        return self._trap.counts("elsewhere").requests

    def door(self, cell: Cell) -> Door:
        return self._doors[_door_of(cell)]

    def fail(self, events: slice = slice(None)) -> None:
        """Have each partner fail as its case says; what it refuses is the first of these events."""
        for door in self._doors.values():
            door.fail()
        for cell in self.cells:
            if cell.case.fault is not None:
                fault = self._filled(cell, cell.case.fault, cell.ids[events][0])
                self.door(cell).sandbox.set_fault(cell.name, fault)
        self._connect({cell.name: {"timeout": cell.case.timeout} for cell in self.cells})

    def mend(self, changes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Lift all faults; `changes` are settings of connectors, by name."""
        for door in self._doors.values():
            door.mend()
        for cell in self.cells:
            self.door(cell).sandbox.set_fault(cell.name, None)
        self._connect(changes or {})

    def find(self) -> Mapping[str, Found]:
        """Where the events of each cell are; what is on its way may be at both of its places."""
        held = {cell.name: self._held(cell) for cell in self.cells}
        dead = self._dead_by_reason()  # read after the hold, which they leave, as are the partners
        return {
            cell.name: Found(
                accepted=self.door(cell).accepted_ids(cell.name),
                held=held[cell.name].ids,
                answers=held[cell.name].answers,
                dead=dead[cell.name],
                requests=self.door(cell).requests(cell.name),
                refused=self.door(cell).refused(cell.name),
            )
            for cell in self.cells
        }

    def books(self) -> Mapping[str, Any]:
        """What the report says of each connector."""
        return report_of(self.folder)["connectors"]

    def _connect(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the connectors file, and the secrets beside it."""
        for cell in self.cells:
            cell.write_secrets(self.folder, self.door(cell).address(cell.name))
        settings = [{**cell.settings(self.folder), "timeout": PATIENT} for cell in self.cells]
        write_connectors(self.folder, [{**one, **changes.get(one["name"], {})} for one in settings])

    def _door_to(self, key: tuple[Place, bool]) -> Door:
        sites = {cell.name: cell.site() for cell in self.cells if _door_of(cell) == key}
        return Door(key[0], sites, self._certificates)

    def _filled(self, cell: Cell, fault: Fault, poison: str) -> Fault:
        """The fault with the addresses, the date and the id that its case leaves open."""
        soon = datetime.now(timezone.utc) + timedelta(seconds=SOON_SECONDS)
        known = {
            "elsewhere": self._trap.url("elsewhere"),
            "itself": self.door(cell).address(cell.name),
            "soon": format_datetime(soon, usegmt=True),
        }
        asked = fault.retry_after
        return msgspec.structs.replace(
            fault,
            headers={name: text.format(**known) for name, text in fault.headers.items()},
            retry_after=asked.format(**known) if asked else asked,
            reject_ids=frozenset({poison}) if cell.case.poisoned else frozenset(),
        )

    def _held(self, cell: Cell) -> "_Held":
        """What its lane has, read as a person would: a line on each batch, and then its events."""
        while True:
            held = _Held()
            try:
                for path in sorted((self.folder / "held" / "queue" / cell.lane).glob("[0-9]*")):
                    held.add(path.read_bytes())
            except FileNotFoundError:  # it was rewritten meanwhile
                continue
            return held

    def _dead_by_reason(self) -> Mapping[str, Mapping[str, list[str]]]:
        """The dead letters of each connector."""
        letters: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for letter in dead_letters(self.folder):
            letters[letter["connector"]][letter["reason"]] += ids_of([letter["event"]])
        return letters


def _door_of(cell: Cell) -> tuple[Place, bool]:
    """Those whose partners work have a server of their own."""
    return cell.case.place, cell.case.name == NEVER_FAILS


class _Held:
    """Events and answers by the reason for which they are held."""

    def __init__(self) -> None:
        self.ids: dict[str, list[str]] = defaultdict(list)
        self.answers: dict[str, str] = {}

    def add(self, content: bytes) -> None:
        reason = ""
        for line in map(json.loads, content.splitlines()):
            if "event_type" in line:
                self.ids[reason].append(line["id"])
            else:
                reason = line["reason"]
                self.answers[reason] = line.get("answer", "")


def peak_megabytes(process_id: int) -> float:
    """What a process has had at the most (`VmHWM`, in kB of 1,024 bytes); 0 where it has ended."""
    status = Path(f"/proc/{process_id}/status").read_text()
    peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peaks[0]) * 1_024 / 1_000_000 if peaks else 0
