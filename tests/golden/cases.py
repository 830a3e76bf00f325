"""What becomes of a golden event: routed and packed by the product, printed for people."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from runtime.address import PUBLIC_ONLY
from runtime.connectors import Config, ConnectorEntry, parse_config
from runtime.decoding import Decoder
from runtime.keeping import Letters
from runtime.receipts import Receipts
from runtime.routing import Router
from runtime.showing import pretty, shown
from schemas.batch import Batch
from schemas.lane import Lane
from schemas.limits import MAX_EVENT_BYTES
from schemas.pull import Pull
from sinks import sink_kinds

FOLDER = Path(__file__).parent
COMMAND = "python -m tests.golden"
PUBLISHED_MS = 1_769_903_999_000
"""2026-01-31 23:59:59 UTC, the moment at which every golden event is published."""

_OF_EVENT = ".event.json"
_KEYS_IN_URLS = {
    "env:RUDDERSTACK_WEBHOOK_URL": "https://acme.dataplane.example.com/v1/webhook?writeKey={}",
    "env:TREASURE_DATA_URL": (
        "https://in.treasuredata.com/postback/v3/event/currents/events?td_write_key={}"
    ),
    "env:SECRET_HOOK_URL": "https://hooks.example.com/currents?key={}&app_group=Brand%20A",
}
"""URLs that are secrets because there is a key in them, which is shown as the reference."""


class Case(NamedTuple):
    """One event file in the folder of a kind; `folder` holds the folders of all kinds."""

    folder: Path
    kind: str
    name: str

    @property
    def event(self) -> Path:
        return self.folder / self.kind / f"{self.name}{_OF_EVENT}"

    @property
    def settings(self) -> Path:
        return self.folder / self.kind / f"{self.name}.settings.json"

    @property
    def request(self) -> Path:
        return self.folder / self.kind / f"{self.name}.request.json"


def stored_cases(folder: Path = FOLDER) -> list[Case]:
    """Every case that has an event."""
    return [
        Case(folder, kind, path.name.removesuffix(_OF_EVENT))
        for kind in sorted(sink_kinds())
        for path in sorted((folder / kind).glob(f"*{_OF_EVENT}"))
    ]


def orphans(folder: Path = FOLDER) -> list[Path]:
    """Files that belong to no event, and are no connector of a kind either."""
    expected = {folder / kind / "connector.json" for kind in sink_kinds()}
    for case in stored_cases(folder):
        expected |= {case.event, case.settings, case.request}
    return sorted(set(folder.glob("*/*.json")) - expected)


def outcome_of(case: Case) -> str:
    """What becomes of the case's event, as the text of its request file.

    A request, `{"filtered": reason}` or `{"dead": reason, "detail": …}`; a list where there are
    several.
    """
    outcomes = list(_outcomes(config_of(case), messages_of(case)))
    return pretty(outcomes[0] if len(outcomes) == 1 else outcomes) + "\n"


def messages_of(case: Case) -> list[bytes]:
    """The events as they are published: compact, every value in the file's own spelling."""
    text = case.event.read_bytes()
    events = msgspec.json.decode(text, type=list[Raw]) if text.startswith(b"[") else [Raw(text)]
    return [msgspec.json.format(bytes(event), indent=-1) for event in events]


def config_of(case: Case) -> Config:
    """The case's connector, as the only one of a connectors file."""
    settings = json.loads((case.folder / case.kind / "connector.json").read_bytes())
    if case.settings.exists():
        changes = json.loads(case.settings.read_bytes())
        settings = {**settings, **changes}
    content = json.dumps({"connectors": [settings]}).encode()
    config, problems = parse_config(content, PUBLIC_ONLY)
    if problems:
        raise ValueError(f"{case.kind}/{case.name}: {problems[0]}")
    return config


def _outcomes(config: Config, messages: Sequence[bytes]) -> Iterator[Mapping[str, Any]]:
    ((name, entry),) = config.connectors.items()
    decoder = Decoder(Router(config), Receipts(), MAX_EVENT_BYTES)
    pull = Pull(PUBLISHED_MS, PUBLISHED_MS, list(messages))
    for output in [*decoder.decode(pull), *decoder.flush()]:
        yield from _of_letters(output) if isinstance(output, Letters) else _packed(entry, *output)
    for reason, count in decoder.take_tally().of(name).filtered.items():
        yield from [{"filtered": reason}] * count


def _of_letters(letters: Letters) -> Iterable[Mapping[str, Any]]:
    return [{"dead": letter.reason, "detail": letter.detail} for letter in letters.letters]


def _packed(entry: ConnectorEntry, lane: str, batch: Batch) -> Iterator[Mapping[str, Any]]:
    secrets = {
        reference: _KEYS_IN_URLS.get(reference, "{}").format(f"<{reference}>")
        for reference in entry.references
    }
    packed = entry.sink.pack(batch.events, Lane.of(lane).part, secrets)
    for request in packed.requests:
        yield shown(request)
    for unpackable in packed.unpackable:
        yield {"dead": unpackable.reason, "detail": unpackable.detail}
