"""Makes the pages on partners and on settings, from the catalogue, the sinks and `partners/notes/`.

`python -m docs.pages` writes `connectors.md` and `partners/<kind>.md`; a test compares them.
"""

import inspect
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from schemas.catalogue import CURRENTS_VERSION, EventType, event_types
from schemas.connector import Connector, decode_hook, secret_references
from schemas.setting_texts import setting_texts
from sinks import sink_kinds
from sinks.sink import Answer, Sink, Verdict

FOLDER = Path(__file__).parent
COMMAND = "python -m docs.pages"
_SOURCES = FOLDER.parent / "schemas" / "facts" / "sources" / "partner_names.json"
_GOLDEN = "../../tests/golden"
_MADE = f"<!-- made by `{COMMAND}` -->"

_ORDER = ["postback", "rudderstack", "treasure_data", "segment", "mparticle", "avro_files"]
_WITH_NAMES = {"segment", "mparticle"}

_ANSWERS = {
    "200, 202, 204": Answer(status=200),
    "301, 302 (never followed)": Answer(status=302),
    "400": Answer(status=400),
    "422, other 4xx": Answer(status=422),
    "401, 403, 407": Answer(status=401),
    "404": Answer(status=404),
    "408, 425, 429": Answer(status=429),
    "413": Answer(status=413),
    "5xx": Answer(status=503),
    "none in time, connection refused or reset, no such name": Answer(error="network"),
    "an address that is not allowed": Answer(error="address"),
}
_WRITES = {
    "written": Answer(status=200),
    "permission refused": Answer(error="permission"),
    "no such bucket": Answer(error="missing"),
    "anything else": Answer(error="storage"),
}
_VERDICTS = {
    Verdict.DELIVERED: "delivered",
    Verdict.RETRY: "tried again up to twice within 2 s, then held",
    Verdict.SUSPEND: "held; the lane is suspended at once, and tried again with its oldest events",
    Verdict.TOO_LARGE: "split in two and sent again; a single event is buried as `too_large`",
    Verdict.REJECTED: "halved until the bad event is found; it is buried as `rejected` if another "
    "event of its batch was accepted, else all are held",
}


def pages() -> dict[Path, str]:
    """The text of every page that is made, by its path."""
    kinds = sink_kinds()
    made = {FOLDER / "connectors.md": "\n".join(_connectors_page()) + "\n"}
    for kind in sorted(kinds):
        path = FOLDER / "partners" / f"{kind}.md"
        made[path] = "\n".join(_partner_page(kinds[kind])) + "\n"
    return made


def _connectors_page() -> Iterator[str]:
    yield from ("# Settings of connectors", "", _MADE, "")
    yield "A setting that is unknown, or has a value that is not allowed, is refused with its name."
    yield "`currents schema` prints the same as JSON Schema. What a kind takes besides is on its page:"
    yield ", ".join(f"[{kind}](partners/{kind}.md)" for kind in _ORDER) + "."
    yield ""
    yield from _settings(Connector, Connector.__struct_fields__)
    yield from ("", "## Defaults by kind", "")
    kinds = [sink_kinds()[kind] for kind in _ORDER]
    yield from _table(
        ["", *_ORDER],
        [
            ["`max_events`", *(f"{sink.limits.max_events:,}" for sink in kinds)],
            ["`max_request_bytes`", *(f"{sink.limits.max_request_bytes:,}" for sink in kinds)],
            ["at most", *(f"{sink.limits.most_request_bytes:,}" for sink in kinds)],
            ["`batch_window`", *(f"{sink.limits.batch_window_seconds} s" for sink in kinds)],
            ["`rate_limit`", *(_rate(sink) for sink in kinds)],
            ["needs `external_user_id`", *(_yes(sink.needs_external_user_id) for sink in kinds)],
            ["2xx proves delivery", *(_yes(sink.proves_delivery) for sink in kinds)],
        ],
    )


def _partner_page(sink: type[Sink[Any]]) -> Iterator[str]:
    kind = sink.kind
    notes = (FOLDER / "partners" / "notes" / f"{kind}.md").read_text("utf-8")
    sent, _, unknown = notes.partition("## What nobody publishes\n")
    yield from (f"# {kind}", "", _MADE, "", inspect.getdoc(sink) or "", "")
    yield from ("## What is sent", "", sent.strip(), "")
    yield f"Events and the requests that they become: [tests/golden/{kind}]({_GOLDEN}/{kind})."
    yield from ("", "## Event types", "", *_types(sink), "")
    yield from ("## Limits", "", *_limits(sink), "")
    yield from ("## What an answer means", "", *_answers(sink), "")
    own = [name for name in sink.settings_type.__struct_fields__ if name not in _common()]
    yield from ("## Settings of its own", "", *_settings(sink.settings_type, own))
    yield from ("", "Those of every kind: [settings of connectors](../connectors.md).", "")
    yield from ("## What nobody publishes", "", unknown.strip())


def _common() -> Sequence[str]:
    return Connector.__struct_fields__


def _settings(settings_type: type[Connector], names: Iterable[str]) -> Iterator[str]:
    texts = setting_texts(settings_type)
    defaults = {field.name: _default(field) for field in msgspec.structs.fields(settings_type)}
    yield from _table(
        ["setting", "default", "what it does"],
        [[f"`{name}`", defaults[name], texts[name]] for name in names],
    )


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return "none"
    if field.default is msgspec.NODEFAULT:
        return "required"
    if field.default is None:
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _types(sink: type[Sink[Any]]) -> Iterator[str]:
    known = sorted(event_types().values(), key=lambda found: found.name)
    if sink.kind not in _WITH_NAMES:
        current = sum(not found.retired for found in known)
        yield f"All {current} types of version {CURRENTS_VERSION}, the {len(known) - current} retired"
        yield "ones, and types that the catalogue does not know."
        if sink.needs_external_user_id:
            yield _WITHOUT_USER
        return
    named = [found for found in known if found.name_at(sink.kind)]
    others = [found for found in known if not found.name_at(sink.kind)]
    yield f"{len(named)} types have a name. The letters say where it was read:"
    sources = json.loads(_SOURCES.read_text("utf-8"))["_meta"]["sources"]
    yield "; ".join(f"**{letter}** {text}" for letter, text in sources.items()) + "."
    yield ""
    has_feeds = sink.kind == "mparticle"
    yield from _table(
        ["event type", "name", "read in", *(["feed", "read in"] if has_feeds else []), "note"],
        [_type_row(found, sink.kind, has_feeds) for found in named],
    )
    yield ""
    left_out = [found.name for found in others if not found.is_exported_to(sink.kind)]
    if left_out:
        yield f"Never sent, for the platform does not export it there: `{left_out[0]}`."
        yield ""
    yield "Without a published name, hence filtered as `unsupported` unless `unnamed_events: raw`:"
    yield ", ".join(f"`{found.name}`" for found in others if found.name not in left_out) + ","
    yield "and every type that the catalogue does not know."
    yield _WITHOUT_USER


_WITHOUT_USER = (
    "Events of `agentconsole.ToolInvocation` and `users.UserDeleteRequest` have no\n"
    "`external_user_id`, so they are filtered as `no_external_user_id`."
)


def _type_row(found: EventType, kind: str, has_feeds: bool) -> list[str]:
    at = found.partners[kind]
    feed = [at.feed or "", at.feed_source] if has_feeds else []
    retired = ["retired"] if found.retired else []
    note = [found.note] if found.note else []
    return [f"`{found.name}`", str(at.name), at.source, *feed, "; ".join(retired + note)]


def _limits(sink: type[Sink[Any]]) -> Iterator[str]:
    limits = sink.limits
    unit = "file" if sink.kind == "avro_files" else "request"
    rows = [
        [f"events a {unit}", f"{limits.max_events:,}", "`max_events` lowers it"],
        [f"bytes a {unit}", f"{limits.max_request_bytes:,}", "`max_request_bytes` lowers it"],
        ["time that events wait", f"{limits.batch_window_seconds} s", "`batch_window`"],
    ]
    if limits.max_event_bytes:
        what = "bytes of a user batch" if sink.kind == "mparticle" else "bytes of an encoded event"
        rows.append([what, f"{limits.max_event_bytes:,}", "more is a dead letter, `too_large`"])
    if sink.rate_unit:
        rows.append(["rate", _rate(sink), "`rate_limit`"])
    yield from _table(["limit", "value", "setting"], rows)


def _rate(sink: type[Sink[Any]]) -> str:
    limit = sink.limits.rate_limit
    return "none" if limit is None else f"{limit:,} {sink.rate_unit}/s"


def _answers(sink: type[Sink[Any]]) -> Iterator[str]:
    example = _example(sink)
    answers = _WRITES if sink.kind == "avro_files" else _ANSWERS
    secrets = dict.fromkeys(secret_references(example.settings), "https://example.com")
    has_probe = example.probe("", secrets) is not None
    yield from _table(
        [
            "answer",
            "what becomes of the events",
            *(["what `check --probe` says of it"] * has_probe),
        ],
        [
            [
                said,
                _VERDICTS[example.judge(answer)],
                *([example.what_probe_proves(answer)] * has_probe),
            ]
            for said, answer in answers.items()
        ],
    )
    if sink.kind != "avro_files":
        yield ""
        yield "`Retry-After` is honoured, in seconds and as a date."
    if not sink.proves_delivery:
        yield ""
        yield "2xx is **no proof** that the partner kept the events; reports say so"
        yield "(`proves_delivery: false`)."


_EXAMPLES: dict[str, dict[str, Any]] = {
    "postback": {"url": "https://hooks.example.com/"},
    "rudderstack": {"url": "https://data.example.com/v1/webhook"},
    "treasure_data": {"url": "https://td.example.com/"},
    "segment": {"write_key": "env:KEY"},
    "mparticle": {"feeds": {"unbound": {"key": "env:KEY", "secret": "env:SECRET"}}},
    "avro_files": {"path": "lake"},
}


def _example(sink: type[Sink[Any]]) -> Sink[Any]:
    settings = {"name": "example", **_EXAMPLES[sink.kind]}
    return sink(msgspec.convert(settings, sink.settings_type, dec_hook=decode_hook))


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def main() -> None:
    """Write the pages."""
    for path, text in pages().items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
