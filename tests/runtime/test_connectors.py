"""The connectors file: what is valid is taken, what is not is told in one line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.address import PUBLIC_ONLY, AddressPolicy
from runtime.connectors import (
    ConfigError,
    connectors_schema,
    parse_config,
    read_config,
    warnings_of,
)
from sinks import sink_kinds
from tests.runtime.configs import config_of, hook, parse, segment

EXAMPLE = """
connectors:
  - name: crm-hook                       # [a-z0-9-]{1,63}, unique
    kind: postback
    app_group_ids: [brand-a]             # whose events; none given: all
    url: https://hooks.example.com/currents?app_group=Brand%20A
    token: env:CRM_TOKEN
  - name: warehouse
    kind: rudderstack
    url: env:RUDDERSTACK_WEBHOOK_URL
    region: us
  - name: cdp
    kind: treasure_data
    url: gcp-secret:projects/p/secrets/td-url/versions/latest
  - name: analytics
    kind: segment
    write_key: env:SEGMENT_WRITE_KEY
    region: us
  - name: mobile
    kind: mparticle
    pod: us1
    environment: production
    identity_key: customerid
    app_feeds: {app-ios-1: ios, app-web-1: web}
    feeds:
      ios:     {key: env:MP_IOS_KEY, secret: env:MP_IOS_SECRET}
      android: {key: env:MP_AND_KEY, secret: env:MP_AND_SECRET}
      web:     {key: env:MP_WEB_KEY, secret: env:MP_WEB_SECRET}
      unbound: {key: env:MP_UNB_KEY, secret: env:MP_UNB_SECRET}
  - name: lake
    kind: avro_files
    path: gs://bucket/currents
    credentials: file:/secrets/sa.json
"""


def refusal_of(*connectors: Any) -> str:
    """The one line that is said of connectors, the last of which is not valid."""
    config, problems = parse(*connectors)
    (problem,) = problems
    assert len(config.connectors) == len(connectors) - 1
    assert "\n" not in str(problem)
    return str(problem)


@pytest.mark.parametrize("value", [10**400, -(10**400), "9" * 400 + " s", "1e400"])
@pytest.mark.parametrize("setting", ["timeout", "batch_window", "max_event_age"])
def test_a_length_of_time_that_no_float_can_hold_is_refused(setting: str, value: Any) -> None:
    said = refusal_of(hook("a", **{setting: value}))
    assert said.startswith(f"connector 'a': {setting}: a length of time is 10, '10 s'")
    assert said.endswith(f"; found {value!r:.60}")
    assert len(said) < 200


@pytest.mark.parametrize(
    "changes",
    [{"contact": "\ud800"}, {"enabled": "\udfff"}, {"events": ["\ud800"]}, {"\ud800": 1}],
)
def test_half_a_character_is_refused_wherever_it_stands(changes: Mapping[str, Any]) -> None:
    said = refusal_of({**hook("a"), **changes})
    assert said == r"connector 'a': holds half a character (\ud800 to \udfff)"


def test_half_a_character_in_a_name_is_refused_and_not_repeated() -> None:
    said = refusal_of({**hook("a"), "name": "a\ud800"})
    assert said == r"connector 'number 1': holds half a character (\ud800 to \udfff)"


def refusal_of_file(content: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(content, PUBLIC_ONLY)
    (problem,) = caught.value.problems
    assert str(problem).startswith("connectors file: ")
    assert "\n" not in str(problem)
    return str(problem)


# What is valid


def test_every_kind_of_the_example_file_is_read() -> None:
    config, problems = parse_config(EXAMPLE.encode(), PUBLIC_ONLY)
    assert problems == []
    kinds = {name: entry.sink.kind for name, entry in config.connectors.items()}
    assert kinds == {
        "crm-hook": "postback",
        "warehouse": "rudderstack",
        "cdp": "treasure_data",
        "analytics": "segment",
        "mobile": "mparticle",
        "lake": "avro_files",
    }
    assert set(kinds.values()) == set(sink_kinds())


def test_a_connector_knows_the_references_of_all_its_secrets() -> None:
    config, _ = parse_config(EXAMPLE.encode(), PUBLIC_ONLY)
    references = {name: entry.references for name, entry in config.connectors.items()}
    assert references["crm-hook"] == ("env:CRM_TOKEN",)
    assert references["warehouse"] == ("env:RUDDERSTACK_WEBHOOK_URL",)
    assert references["lake"] == ("file:/secrets/sa.json",)
    assert len(references["mobile"]) == 8
    assert {"env:MP_UNB_KEY", "env:MP_UNB_SECRET"} < set(references["mobile"])


def test_json_is_read_as_yaml_is() -> None:
    from_yaml, _ = parse_config(EXAMPLE.encode(), PUBLIC_ONLY)
    content = json.dumps(yaml.safe_load(EXAMPLE)).encode()
    from_json, problems = parse_config(b"\xef\xbb\xbf\n " + content, PUBLIC_ONLY)
    assert problems == []
    assert {name: entry.settings for name, entry in from_json.connectors.items()} == {
        name: entry.settings for name, entry in from_yaml.connectors.items()
    }


def test_the_version_follows_from_the_content_alone() -> None:
    assert config_of(hook("a")).version == config_of(hook("a")).version
    assert config_of(hook("a")).version != config_of(hook("b")).version


def test_a_file_without_connectors_is_valid() -> None:
    assert not config_of().connectors


def test_one_bad_connector_does_not_spoil_the_others() -> None:
    config, problems = parse(hook("a"), hook("b", url="nowhere"), hook("c"))
    assert set(config.connectors) == {"a", "c"}
    assert [problem.connector for problem in problems] == ["b"]


# What is not: one line with connector, field, what was found and what is allowed

FORMS = "env:NAME, file:/path or gcp-secret:projects/P/secrets/S/versions/V"
KINDS = "allowed: 'avro_files', 'mparticle', 'postback', 'rudderstack', 'segment', 'treasure_data'"
NAMES = "allowed: what matches ^[a-z0-9-]{1,63}$"
HTTPS = "allowed: https (or --allow_network, --allow_local_partners)"

REFUSALS: dict[str, tuple[Any, str]] = {
    "unknown kind": (hook("a", kind="postbak"), f"connector 'a': kind: found 'postbak'; {KINDS}"),
    "kind of a wrong type": (hook("a", kind=["x"]), f"connector 'a': kind: found ['x']; {KINDS}"),
    "no kind": ({"name": "a"}, f"connector 'a': kind: is missing; {KINDS}"),
    "no name": (
        {"kind": "postback", "url": "https://x.example.com"},
        "connector 'number 1': name: is missing",
    ),
    "name of nothing": (
        {**hook("a"), "name": None},
        f"connector 'number 1': name: expected `str`, got `null`; {NAMES}",
    ),
    "name with a slash": (
        hook("a/b"),
        f"connector 'a/b': name: found 'a/b'; {NAMES}",
    ),
    "no settings at all": ("a", "connector 'number 1': expected settings, found str"),
    "missing setting": ({"name": "a", "kind": "postback"}, "connector 'a': url: is missing"),
    "wrong type": (
        hook("a", shards="two"),
        "connector 'a': shards: expected `int`, got `str`; allowed: at least 1 and at most 1000",
    ),
    "too small": (
        hook("a", shards=0),
        "connector 'a': shards: found 0; allowed: at least 1 and at most 1000",
    ),
    "too small where null is allowed": (
        hook("a", max_events=0),
        "connector 'a': max_events: found 0; allowed: at least 1",
    ),
    "no boolean": (hook("a", enabled="yes"), "connector 'a': enabled: expected `bool`, got `str`"),
    "redacting what tells events apart": (
        hook("a", redact={"hash": ["id"]}),
        "connector 'a': redact: 'id' cannot be redacted: every partner tells events by it",
    ),
    "removing and hashing": (
        hook("a", redact={"remove": ["x"], "hash": ["x"]}),
        "connector 'a': redact: 'x' is to be removed and hashed; one of the two is possible",
    ),
    "redacting a field without a name": (
        hook("a", redact={"remove": [""]}),
        "connector 'a': redact: a field's name is not empty",
    ),
    "secret that is no text": (
        hook("a", token=4711),
        f"connector 'a': token: a secret is given as {FORMS}; found int",
    ),
    "one anonymous user of all": (
        {
            "name": "a",
            "kind": "rudderstack",
            "url": "env:RS_URL",
            "redact": {"remove": ["user_id"]},
        },
        (
            "connector 'a': redact.remove: 'user_id' would be the same for all users; "
            "allowed: to hash it"
        ),
    ),
    "one user of all": (
        segment("a", redact={"remove": ["external_user_id"]}),
        (
            "connector 'a': redact.remove: 'external_user_id' would be the same for all users; "
            "allowed: to hash it"
        ),
    ),
    "region": (
        segment("a", region="mars"),
        "connector 'a': region: found 'mars'; allowed: 'eu', 'us'",
    ),
    "length of time": (
        hook("a", timeout="soon"),
        "connector 'a': timeout: a length of time is 10, '10 s', '5 min' or '48h'; found 'soon'",
    ),
    "no url": (
        hook("a", url="ftp://x.example.com"),
        (
            "connector 'a': url: a URL starts with https:// and a host, without user or password; "
            f"one that holds a key is a secret and is given as {FORMS}"
        ),
    ),
    "plain http": (
        hook("a", url="http://x.example.com"),
        f"connector 'a': url: plain http is refused; {HTTPS}",
    ),
    "plain http endpoint": (
        segment("a", endpoint="http://x.example.com"),
        f"connector 'a': endpoint: plain http is refused; {HTTPS}",
    ),
    "larger requests than the partner takes": (
        segment("a", max_request_bytes=500_001),
        "connector 'a': max_request_bytes: found 500001, at most 500000 is allowed",
    ),
    "more events than the partner takes": (
        hook("a", max_events=101),
        "connector 'a': max_events: found 101, at most 100 is allowed",
    ),
    "unknown setting within a setting": (
        {
            "name": "a",
            "kind": "mparticle",
            "feeds": {"ios": {"key": "env:K", "secret": "env:S", "pod": "us1"}},
        },
        "connector 'a': feeds[...].pod: is unknown",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_is_not_valid_is_told_with_what_is_allowed(what: str) -> None:
    raw, line = REFUSALS[what]
    assert refusal_of(raw) == line


def test_a_mistyped_setting_is_told_with_the_one_that_may_be_meant() -> None:
    line = refusal_of(segment("a", writekey="env:KEY"))
    assert line == "connector 'a': writekey: is unknown; did you mean 'write_key'?"


def test_an_unknown_setting_is_told_with_all_that_there_are() -> None:
    line = refusal_of(segment("a", shape="round"))
    start = "connector 'a': shape: is unknown; allowed: "
    assert line.startswith(start)
    known = [name.strip("'") for name in line.removeprefix(start).split(", ")]
    assert known == sorted(sink_kinds()["segment"].settings_type.__struct_fields__)


def test_a_name_is_taken_once() -> None:
    line = refusal_of(hook("a"), hook("a", url="https://other.example.com"))
    assert line == "connector 'a': name: is taken by an earlier connector"


def test_limits_may_be_lowered_to_what_the_partner_takes() -> None:
    entry = config_of(segment("a", max_request_bytes=500_000, max_events=1)).connectors["a"]
    assert (entry.sink.max_request_bytes, entry.sink.max_events) == (500_000, 1)


def test_plain_http_is_taken_where_local_partners_are() -> None:
    content = json.dumps({"connectors": [hook("a", url="http://127.0.0.1:1/x")]}).encode()
    for policy in (AddressPolicy(allow_local=True), AddressPolicy(("10.0.0.0/8",))):
        config, problems = parse_config(content, policy)
        assert (set(config.connectors), problems) == ({"a"}, [])


# Secrets are references

SECRET = "sk_live_4711"
LITERALS: dict[str, tuple[Mapping[str, Any], str]] = {
    "token": (hook("a", token=SECRET), "token"),
    "write key": (segment("a", write_key=SECRET), "write_key"),
    "feed's secret": (
        {"name": "a", "kind": "mparticle", "feeds": {"ios": {"key": "env:K", "secret": SECRET}}},
        "feeds[...].secret",
    ),
    "credentials": (
        {"name": "a", "kind": "avro_files", "path": "/lake", "credentials": SECRET},
        "credentials",
    ),
}


@pytest.mark.parametrize("what", LITERALS)
def test_a_literal_secret_is_refused_and_never_repeated(what: str) -> None:
    raw, field = LITERALS[what]
    found = "found a literal of 12 characters"
    assert refusal_of(raw) == f"connector 'a': {field}: a secret is given as {FORMS}; {found}"


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("rudderstack", f"https://x.example.com/v1/webhook?writeKey={SECRET}"),
        ("treasure_data", f"https://x.example.com/postback/v3/event/d/t?td_write_key={SECRET}"),
    ],
)
def test_a_url_with_a_key_in_it_is_a_secret(kind: str, url: str) -> None:
    line = refusal_of({"name": "a", "kind": kind, "url": url})
    assert line.startswith("connector 'a': a URL that holds a key is a secret")
    assert FORMS in line
    assert SECRET not in line


@pytest.mark.parametrize(
    "content",
    [
        "connectors: [{token: sk_live_4711",
        "connectors: [{token: !!int sk_live_4711}]",
        "connectors:\n  - token: sk_live_4711\n name: a",
        "connectors: [{token: !!bool sk_live_4711}]",
        '{"connectors": [{"token": "sk_live_4711"]}',
        "connectors: [{token: 'sk_live_4711\x01'}]",
        "sk_live_4711",
    ],
)
def test_a_broken_file_does_not_show_its_secrets(content: str) -> None:
    assert "sk_live" not in refusal_of_file(content.encode())


# The same place twice


def test_the_same_url_and_token_twice_is_refused() -> None:
    twin = {"url": "https://x.example.com", "token": "env:T"}
    assert refusal_of(hook("a", **twin), hook("b", **twin)) == (
        "connector 'b': delivers to the same place with the same key as 'a'; "
        "allowed with allow_duplicate: true"
    )


@pytest.mark.parametrize(
    "other",
    [
        {"url": "https://x.example.com", "token": "env:OTHER"},
        {"url": "https://x.example.com"},
        {"url": "https://y.example.com", "token": "env:T"},
        {"url": "https://x.example.com", "token": "env:T", "allow_duplicate": True},
    ],
)
def test_another_place_or_key_or_permission_is_no_twin(other: dict[str, Any]) -> None:
    config = config_of(hook("a", url="https://x.example.com", token="env:T"), hook("b", **other))
    assert set(config.connectors) == {"a", "b"}


def test_the_same_write_key_twice_is_refused_whatever_the_region() -> None:
    line = refusal_of(segment("a"), segment("b", write_key="env:A_KEY", region="eu"))
    assert "connector 'b': delivers to the same place with the same key as 'a'" in line


def test_a_connector_that_is_not_valid_is_nobodys_twin() -> None:
    same = "https://x.example.com"
    config, problems = parse(hook("a", url=same, shards=0), hook("b", url=same))
    assert set(config.connectors) == {"b"}
    assert [problem.connector for problem in problems] == ["a"]


# Files that are no list of connectors


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "connectors: is missing or no list of connectors"),
        ("- name: a", "connectors: is missing or no list of connectors"),
        ("connectors: {name: a}", "connectors: is missing or no list of connectors"),
        ("connectors: []\nconector: []", "conector: is unknown; allowed: 'connectors'"),
        (
            "connectors: [&a {name: a}, *a]",
            "is neither YAML nor JSON: aliases (*name) are not allowed (line 1)",
        ),
        (
            "connectors:\n  - {name: a",
            "is neither YAML nor JSON: did not find expected ',' or '}' (line 3)",
        ),
        (
            '{"connectors": [}',
            "is neither YAML nor JSON: Expecting value (line 1)",
        ),
        (
            "connectors: [2024-13-45]",
            "is neither YAML nor JSON: a value is not of the type that it looks like",
        ),
        ('{"connectors": ' + "[" * 5_000, "is neither YAML nor JSON: it is nested too deeply"),
        (
            "connectors: " + "[" * 5_000,
            "is neither YAML nor JSON: exceeded maximum nesting depth (line 1)",
        ),
    ],
)
def test_a_file_that_is_no_list_of_connectors_is_told_why(content: str, line: str) -> None:
    assert refusal_of_file(content.encode()) == f"connectors file: {line}"


def test_a_file_that_is_no_text_is_told_why() -> None:
    assert refusal_of_file(b"connectors: [\xff]").endswith("JSON: invalid start byte")


def test_a_file_that_is_not_there_is_told_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(ConfigError) as caught:
        read_config(str(path), PUBLIC_ONLY)
    assert str(caught.value) == (
        f"connectors file: cannot be read: missing: {path}: No such file or directory"
    )


# What is valid and seldom meant


def warnings(*connectors: Mapping[str, Any]) -> list[str]:
    return [str(problem) for problem in warnings_of(config_of(*connectors))]


def test_a_pattern_that_no_known_type_has_is_warned_of_with_what_may_be_meant() -> None:
    (line,) = warnings(hook("a", events=["users.messages.emial.Open", "users.messages.*.Send"]))
    assert line == (
        "connector 'a': events: no event type that is known is 'users.messages.emial.Open'; "
        "did you mean 'users.messages.email.Open'?"
    )
    (line,) = warnings(hook("a", events=["*.nothing.like.it.*"]))
    assert line.endswith("'*.nothing.like.it.*'")
    spelled = hook("a", events=["users.message.email.Open"])  # as older documents have it
    assert warnings(spelled) == []


# Segment connectors that overlap


def overlaps(*connectors: Mapping[str, Any]) -> list[str]:
    return [line for line in warnings(*connectors) if "overlaps" in line]


def test_overlapping_segment_connectors_are_warned_of() -> None:
    (line,) = overlaps(segment("a"), segment("b", app_group_ids=["brand-a"]))
    assert line.startswith("connector 'b': app_group_ids: overlaps with the Segment connector 'a'")
    assert "one of them loses data" in line


def test_every_pair_that_overlaps_is_warned_of() -> None:
    lines = overlaps(*[segment(name, app_group_ids=["brand-a"]) for name in ("a", "b", "c")])
    assert len(lines) == 3


def test_a_common_type_is_named_however_it_is_spelled() -> None:
    (line,) = overlaps(
        segment("a", events=["users.message.email.Op*"]), segment("b", events=["*.email.Open"])
    )
    assert "both take users.messages.email.Open" in line


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"app_group_ids": ["brand-a"]}, {"app_group_ids": ["brand-b", "brand-c"]}),
        ({"events": ["users.messages.email.*"]}, {"events": ["users.messages.sms.*"]}),
        ({}, {"enabled": False}),
        ({}, {"events": ["users.messages.of_tomorrow.Send"]}),
    ],
)
def test_segment_connectors_that_share_no_event_are_fine(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert overlaps(segment("a", **one), segment("b", **other)) == []


def test_only_segment_loses_what_overlaps() -> None:
    assert overlaps(segment("a"), hook("b"), hook("c")) == []


# The schema of the file


def accepts(rule: Mapping[str, Any], value: Any, root: Mapping[str, Any]) -> bool:
    """Whether a JSON Schema takes a value, by the keywords that msgspec writes."""
    if "$ref" in rule:
        return accepts(root["$defs"][rule["$ref"].rsplit("/", 1)[-1]], value, root)
    if "anyOf" in rule:
        return any(accepts(alternative, value, root) for alternative in rule["anyOf"])
    if "enum" in rule:
        return value in rule["enum"]
    types = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    if not any(isinstance(value, JSON_TYPES[name]) for name in types):
        return False
    if isinstance(value, list):
        return all(accepts(rule["items"], item, root) for item in value)
    return not isinstance(value, dict) or accepts_object(rule, value, root)


JSON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "array": list,
    "object": dict,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def accepts_object(
    rule: Mapping[str, Any], value: Mapping[str, Any], root: Mapping[str, Any]
) -> bool:
    properties, others = rule.get("properties", {}), rule.get("additionalProperties", True)
    return set(rule.get("required", ())) <= value.keys() and all(
        accepts(properties[name], item, root)
        if name in properties
        else others is True or (others is not False and accepts(others, item, root))
        for name, item in value.items()
    )


def references_in(part: Any) -> set[str]:
    if isinstance(part, dict):
        found = {part["$ref"]} if "$ref" in part else set()
        return found.union(*map(references_in, part.values()))
    return set().union(*map(references_in, part)) if isinstance(part, list) else set()


def test_the_schema_takes_the_example_file() -> None:
    schema = json.loads(json.dumps(connectors_schema()))
    assert accepts(schema, yaml.safe_load(EXAMPLE), schema)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"connectors": [], "more": 1},
        {"connectors": [hook("a", kind="postbak")]},
        {"connectors": [hook("a", shards="two")]},
        {"connectors": [hook("a", unheard_of=1)]},
        {"connectors": [{"name": "a", "url": "https://x.example.com"}]},
        {"connectors": [segment("a", region="mars")]},
    ],
)
def test_the_schema_refuses_what_the_parser_refuses(document: Any) -> None:
    schema = connectors_schema()
    assert not accepts(schema, document, schema)


def test_the_schema_has_a_definition_for_each_of_its_references() -> None:
    schema = connectors_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert references_in(schema) <= {f"#/$defs/{name}" for name in schema["$defs"]}
    kinds = [
        definition["properties"]["kind"]["enum"]
        for definition in schema["$defs"].values()
        if "kind" in definition["properties"]
    ]
    assert sorted(kinds) == [[kind] for kind in sorted(sink_kinds())]


def test_an_editor_is_told_what_a_setting_does_and_in_which_forms_it_is_given() -> None:
    known = connectors_schema()["$defs"]["PostbackConnector"]["properties"]
    assert known["timeout"]["description"] == (
        "The time for one whole exchange, from connecting to the last byte of the answer; "
        "10 s by default."
    )
    length, url, secret = (known[name]["anyOf"][0] for name in ("timeout", "endpoint", "token"))
    assert length == {"type": ["number", "string"], "description": length["description"]}
    assert "`10 s`" in length["description"]
    assert url == {"type": "string", "description": url["description"]}
    assert "the reference of a secret" in url["description"]
    assert secret == {"type": "string", "pattern": "^(env|file|gcp-secret):"}


def test_a_connectors_events_are_names_or_patterns_in_any_spelling() -> None:
    entry = config_of(
        hook("a", events=["users.message.sms.*", "users_canvas_abort", "*.Purchase"])
    ).connectors["a"]
    assert entry.selects("users.messages.sms.Send")
    assert entry.selects("users.canvas.Abort")
    assert entry.selects("users.behaviors.Purchase")
    assert not entry.selects("users.canvas.Entry")
    assert not entry.selects("Users.Messages.sms.Send")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"timeout": 0}, "timeout: found 0 s; allowed: over 0 and at most 300 s"),
        ({"timeout": "9999999 d"}, "timeout: found 8.64e+11 s; allowed: over 0 and at most 300 s"),
        ({"batch_window": "2 d"}, "batch_window: found 172800 s; allowed: over 0 and at most"),
        ({"name": "a\n"}, "name: ends with a line break"),
        ({"url": "https://user:pass@a.example.com"}, "url: a URL starts with https:// and a host"),
        ({"url": "https://"}, "url: a URL starts with https:// and a host"),
    ],
)
def test_what_would_do_harm_is_refused(settings: dict[str, Any], problem: str) -> None:
    _, (found,) = parse({**hook("a"), **settings})
    assert problem in str(found)


def test_a_feed_key_of_another_connector_is_refused() -> None:
    def mobile(name: str, *feeds: str) -> dict[str, Any]:
        keys = {feed: {"key": f"env:{feed}", "secret": "env:S"} for feed in feeds}
        return {"name": name, "kind": "mparticle", "feeds": keys}

    _, (problem,) = parse(mobile("a", "ios", "web"), mobile("b", "ios"))
    assert "delivers to the same place with the same key as 'a'" in str(problem)


@pytest.mark.parametrize(
    "content",
    [
        b"connectors: []\nconnectors: []\n",
        b'{"connectors": [], "connectors": []}',
        b"connectors:\n  - {name: a, name: b}\n",
    ],
)
def test_a_key_that_stands_twice_is_refused_for_one_of_them_would_be_lost(content: bytes) -> None:
    with pytest.raises(ConfigError, match="the same key twice"):
        parse_config(content, PUBLIC_ONLY)


@pytest.mark.parametrize("value", ["2026-13-45", "0b_", "="])
def test_no_yaml_value_ends_in_a_traceback(value: str) -> None:
    with pytest.raises(ConfigError, match="neither YAML nor JSON"):
        parse_config(f"connectors: [{value}]".encode(), PUBLIC_ONLY)


def test_a_storage_whose_library_is_not_installed_is_refused_before_anything_is_read() -> None:
    lake = {"name": "lake", "kind": "avro_files", "path": "az://bucket/lake"}
    _, (problem,) = parse(lake)
    assert "az:// cannot be used here" in str(problem)
