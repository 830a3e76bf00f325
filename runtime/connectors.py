"""The connectors file: read, validated connector by connector, and turned into sinks."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import yaml

from runtime.address import AddressPolicy
from runtime.problems import Problem, allowed_values, describe, show
from runtime.storage import StorageError, check_place, read_file
from runtime.suggesting import suggestion
from schemas.catalogue import event_types, is_type
from schemas.connector import Connector, Url, decode_hook, schema_hook, secret_references
from schemas.setting_texts import setting_texts
from sinks import sink_kinds
from sinks.sink import Sink

MAX_FILE_BYTES = 16_000_000
"""Some 50,000 connectors. YAML takes a hundred times its length in memory, and a minute for so much."""
_MAX_NUMBER_CHARS = 40
"""Of a number in YAML: to read a longer one, and to print it, takes time that grows with its square."""

MAX_TIMEOUT_SECONDS = 300
MAX_WINDOW_SECONDS = 86_400


@dataclass(frozen=True)
class ConnectorEntry:
    """A connector, ready to be used."""

    settings: Connector
    sink: Sink[Any]
    references: tuple[str, ...]
    """The secret references among its settings."""

    def selects(self, event_type: str) -> bool:
        """Whether its event list takes the (canonical) event type."""
        patterns = self.settings.events
        return patterns is None or any(is_type(event_type, pattern) for pattern in patterns)


@dataclass(frozen=True)
class Config:
    """All connectors of one version of the file; `version` is a hash of its content."""

    version: str
    connectors: Mapping[str, ConnectorEntry]


class ConfigError(Exception):
    """A connectors file that cannot be used, with a line for each problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


def read_config(uri: str, policy: AddressPolicy) -> tuple[Config, list[Problem]]:
    """The connectors of a file that are valid, and what is wrong with the others.

    Raises:
        ConfigError: the file cannot be read or is no list of connectors.
    """
    try:
        content = read_file(uri)
    except StorageError as error:
        raise ConfigError([Problem("", "", f"cannot be read: {error}")]) from error
    return parse_config(content, policy)


def parse_config(content: bytes, policy: AddressPolicy) -> tuple[Config, list[Problem]]:
    """As `read_config`, of a file's content."""
    problems: list[Problem] = []
    entries: dict[str, ConnectorEntry] = {}
    identities: dict[tuple[str, str], str] = {}
    for number, raw in enumerate(_parse_list(content), 1):
        try:
            entry = _entry_of(raw, number, policy)
            _refuse_twin(entry, entries, identities)
        except ConfigError as error:
            problems.extend(error.problems)
        else:
            entries[entry.settings.name] = entry
    return Config(hashlib.sha256(content).hexdigest()[:12], entries), problems


def of_all_app_groups(config: Config) -> frozenset[str]:
    """The connectors that are offered all events."""
    return frozenset(
        name for name, entry in config.connectors.items() if entry.settings.app_group_ids is None
    )


def with_historical(config: Config) -> Config:
    """The connectors, those that have the setting `historical` with it set."""
    return Config(
        config.version, {name: _historical(entry) for name, entry in config.connectors.items()}
    )


def _historical(entry: ConnectorEntry) -> ConnectorEntry:
    if not hasattr(entry.settings, "historical"):
        return entry
    settings = msgspec.structs.replace(entry.settings, historical=True)
    return replace(entry, settings=settings, sink=type(entry.sink)(settings))


def warnings_of(config: Config) -> Iterator[Problem]:
    """What is valid and yet seldom meant."""
    yield from _segment_overlaps(config)
    for entry in config.connectors.values():
        for pattern in entry.settings.events or ():
            if not any(is_type(event_type, pattern) for event_type in event_types()):
                yield Problem(
                    entry.settings.name,
                    "events",
                    f"no event type that is known is {pattern!r}"
                    + suggestion(pattern, event_types()),
                )


def _segment_overlaps(config: Config) -> Iterator[Problem]:
    """Warn of Segment connectors that would send the same event twice.

    Segment de-duplicates on `messageId` across sources and workspaces (Segment, "Handling duplicate
    data"), so the second one loses data.
    """
    enabled = [
        entry
        for entry in config.connectors.values()
        if entry.settings.kind == "segment" and entry.settings.enabled
    ]
    for one, other in itertools.combinations(enabled, 2):
        common = _common_type(one, other)
        if _groups_overlap(one.settings, other.settings) and common:
            yield Problem(
                other.settings.name,
                "app_group_ids",
                f"overlaps with the Segment connector {one.settings.name!r} (both take {common}): "
                "Segment de-duplicates across workspaces, so one of them loses data",
            )


def connectors_schema() -> dict[str, Any]:
    """JSON Schema of a connectors file; each setting has its text as `description`."""
    types = [sink.settings_type for sink in sink_kinds().values()]
    schemas, components = msgspec.json.schema_components(types, schema_hook=schema_hook)
    for settings_type in types:
        component = components[settings_type.__name__]
        component["required"] = [*component.get("required", []), "kind"]
        for name, text in setting_texts(settings_type).items():
            component["properties"][name]["description"] = text
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Connectors of currents-pipeline",
        "type": "object",
        "properties": {"connectors": {"type": "array", "items": {"anyOf": list(schemas)}}},
        "required": ["connectors"],
        "additionalProperties": False,
        "$defs": components,
    }


def _parse_list(content: bytes) -> list[Any]:
    try:
        document = _parse(content)
    except _UNREADABLE as error:
        raise ConfigError([Problem("", "", f"is neither YAML nor JSON: {_said(error)}")]) from None
    if not isinstance(document, dict) or not isinstance(document.get("connectors"), list):
        raise ConfigError([Problem("", "connectors", "is missing or no list of connectors")])
    unknown = sorted(str(name) for name in document if name != "connectors")
    if unknown:
        raise ConfigError([Problem("", unknown[0], "is unknown; allowed: 'connectors'")])
    return document["connectors"]


_UNREADABLE = (
    yaml.YAMLError,
    RecursionError,
    # PyYAML lets through what int(), date() and its own tables say of a value that is none.
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    ArithmeticError,
)


def _said(error: Exception) -> str:
    """What is wrong and where, without a word of the file: it may be a secret."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (line {error.lineno})"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    mark = getattr(error, "problem_mark", None)
    where = f" (line {mark.line + 1})" if mark else ""
    said = getattr(error, "problem", None) or getattr(error, "reason", None)
    return f"{said or 'a value is not of the type that it looks like'}{where}"


def _parse(content: bytes) -> Any:
    if len(content) > MAX_FILE_BYTES:
        raise _Unreadable(f"it has {len(content)} bytes, at most {MAX_FILE_BYTES} are read")
    text = content.decode("utf-8-sig")
    if text.lstrip().startswith("{"):
        return json.loads(text, object_pairs_hook=_without_twins)
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        problem = _problem_of(event)
        if problem:
            raise yaml.MarkedYAMLError(
                problem=problem,
                problem_mark=event.start_mark,  # type: ignore[arg-type] # of libyaml, reads alike
            )
    return yaml.load(text, Loader=_YamlLoader)  # noqa: S506 - a SafeLoader


def _problem_of(event: yaml.Event) -> str | None:
    """What is not taken of all that YAML can say."""
    if isinstance(event, yaml.AliasEvent):  # a few of them can unfold to gigabytes
        return "aliases (*name) are not allowed"
    if getattr(event, "tag", None) is not None:  # an error about one would repeat it
        return "tags (!name) are not allowed; a text that begins with ! stands in quotes"
    if getattr(event, "value", None) == "<<" and event.implicit[0]:  # type: ignore[attr-defined]
        return "merge keys (<<) are not allowed"
    return None


class _Unreadable(ValueError):
    """A file that is not even looked at."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _TwinKey(ValueError):
    """A mapping that has a key twice, of which one value would silently win."""

    reason = "a mapping has the same key twice"


def _without_twins(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise _TwinKey
    return mapping


class _YamlLoader(yaml.CSafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len({str(key) for key in keys}) < len(keys):
            raise yaml.MarkedYAMLError(problem=_TwinKey.reason, problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: Any) -> Any:
        """The number, or the text where it has more digits than any setting; `1:1:1` is in base 60."""
        if len(node.value) > _MAX_NUMBER_CHARS:
            return node.value
        is_float = node.tag.endswith("float")
        return self.construct_yaml_float(node) if is_float else self.construct_yaml_int(node)


for _tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
    _YamlLoader.add_constructor(_tag, _YamlLoader.construct_number)


def _entry_of(raw: Any, number: int, policy: AddressPolicy) -> ConnectorEntry:
    kinds = sink_kinds()
    name = str(raw.get("name") or "") if isinstance(raw, dict) else ""
    who = name if name.isprintable() and 0 < len(name) < 100 else f"number {number}"
    if not isinstance(raw, dict):
        raise ConfigError([Problem(who, "", f"expected settings, found {type(raw).__name__}")])
    if not _is_text(raw):
        raise ConfigError([Problem(who, "", r"holds half a character (\ud800 to \udfff)")])
    sink_type = kinds.get(str(raw.get("kind")))
    if sink_type is None:
        found = f"found {show(raw['kind'])}" if "kind" in raw else "is missing"
        raise ConfigError([Problem(who, "kind", f"{found}; {allowed_values(kinds)}")])
    try:
        settings = msgspec.convert(raw, sink_type.settings_type, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        raise ConfigError([describe(error, who, raw, sink_type.settings_type)]) from None
    sink = sink_type(settings)
    problems = [
        *_limit_problems(settings, sink),
        *_address_problems(settings, policy),
        *_storage_problems(settings),
    ]
    if problems:
        raise ConfigError(problems)
    return ConnectorEntry(settings, sink, tuple(dict.fromkeys(secret_references(settings))))


def _is_text(raw: Mapping[Any, Any]) -> bool:
    """Whether all that it says can be written: JSON and YAML can name halves of characters."""
    try:
        json.dumps(raw, ensure_ascii=False, skipkeys=True, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


def _limit_problems(settings: Connector, sink: Sink[Any]) -> Iterator[Problem]:
    if settings.name.endswith("\n"):  # which the end of a pattern lets through
        yield Problem(settings.name, "name", "ends with a line break")
    for name, most in (
        ("max_request_bytes", sink.limits.most_request_bytes),
        ("max_events", sink.limits.max_events),
    ):
        found = getattr(settings, name)
        if found is not None and found > most:
            yield Problem(settings.name, name, f"found {found}, at most {most} is allowed")
    if settings.rate_limit is not None and sink.rate_unit is None:
        yield Problem(settings.name, "rate_limit", f"{settings.kind} has no rate to limit")
    removed = settings.redact.remove if settings.redact else ()
    for name in sorted(sink.tells_users_by.intersection(removed)):
        text = f"{name!r} would be the same for all users; allowed: to hash it"
        yield Problem(settings.name, "redact.remove", text)
    for name, longest in (("timeout", MAX_TIMEOUT_SECONDS), ("batch_window", MAX_WINDOW_SECONDS)):
        seconds = getattr(settings, name)
        if seconds is not None and not 0 < seconds <= longest:
            yield Problem(
                settings.name,
                name,
                f"found {seconds:g} s; allowed: over 0 and at most {longest:g} s",
            )


def _address_problems(settings: Connector, policy: AddressPolicy) -> Iterator[Problem]:
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, Url) and value.startswith("http://") and not policy.allows_plain_http:
            yield Problem(
                settings.name,
                name,
                "plain http is refused; allowed: https (or --allow_network, --allow_local_partners)",
            )


def _storage_problems(settings: Connector) -> Iterator[Problem]:
    for place in settings.storage_places():
        try:
            check_place(place)
        except StorageError as error:
            yield Problem(settings.name, "", error.detail)


def _refuse_twin(
    entry: ConnectorEntry,
    entries: Mapping[str, ConnectorEntry],
    identities: dict[tuple[str, str], str],
) -> None:
    settings = entry.settings
    if settings.name in entries:
        raise ConfigError([Problem(settings.name, "name", "is taken by an earlier connector")])
    for identity in settings.identities():
        twin = identities.setdefault((settings.kind, identity), settings.name)
        if twin != settings.name and not settings.allow_duplicate:
            text = (
                f"delivers to the same place with the same key as {twin!r}; "
                "allowed with allow_duplicate: true"
            )
            raise ConfigError([Problem(settings.name, "", text)])


def _groups_overlap(one: Connector, other: Connector) -> bool:
    if one.app_group_ids is None or other.app_group_ids is None:
        return True
    return not set(one.app_group_ids).isdisjoint(other.app_group_ids)


def _common_type(one: ConnectorEntry, other: ConnectorEntry) -> str | None:
    return next(
        (
            event_type
            for event_type in event_types()
            if all(
                entry.selects(event_type) and entry.sink.supports(event_type)
                for entry in (one, other)
            )
        ),
        None,
    )
