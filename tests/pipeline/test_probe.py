"""`currents check --probe` and `currents send-test` against every partner's stand-in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from sandbox.partners import (
    Fault,
    MParticleSite,
    PartnerSandbox,
    PostbackSite,
    RudderStackSite,
    SegmentSite,
    TreasureDataSite,
)
from schemas.catalogue import event_types
from schemas.placeholder import TEST_USER, placeholder_event
from tests.pipeline.running import write_connectors

TYPES = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}
SECRETS = {"TOKEN": "t0ken-12345", "WRITE_KEY": "write-key-1", "KEY": "feed-key-1", "SECRET": "s-1"}


@pytest.fixture
def sandbox() -> Iterator[PartnerSandbox]:
    sites = {
        "hook": PostbackSite(token=SECRETS["TOKEN"]),
        "warehouse": RudderStackSite(write_key=SECRETS["WRITE_KEY"]),
        "cdp": TreasureDataSite(write_key="1/key"),
        "analytics": SegmentSite(write_key=SECRETS["WRITE_KEY"]),
        "mobile": MParticleSite(
            feeds=dict.fromkeys(("ios", "unbound"), (SECRETS["KEY"], SECRETS["SECRET"]))
        ),
    }
    with PartnerSandbox(sites) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, sandbox: PartnerSandbox, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(
        "RS_URL", f"{sandbox.url('warehouse')}/v1/webhook?writeKey={SECRETS['WRITE_KEY']}"
    )
    monkeypatch.setenv("TD_KEY", "1/key")
    feed = {"key": "env:KEY", "secret": "env:SECRET"}
    td_url = f"{sandbox.url('cdp')}/postback/v3/event/db/table"
    connectors: list[dict[str, Any]] = [
        {"name": "hook", "kind": "postback", "url": sandbox.url("hook"), "token": "env:TOKEN"},
        {"name": "warehouse", "kind": "rudderstack", "url": "env:RS_URL"},
        {"name": "cdp", "kind": "treasure_data", "url": td_url, "write_key": "env:TD_KEY"},
        {"name": "analytics", "kind": "segment", "write_key": "env:WRITE_KEY"},
        {"name": "mobile", "kind": "mparticle", "feeds": {"ios": feed, "unbound": feed}},
        {"name": "lake", "kind": "avro_files", "path": str(tmp_path / "lake")},
        {"name": "off", "kind": "postback", "url": sandbox.url("hook") + "/off", "enabled": False},
    ]
    for connector in connectors:
        if connector["name"] in ("analytics", "mobile"):
            connector["endpoint"] = sandbox.url(connector["name"])
    write_connectors(tmp_path, connectors)
    return tmp_path


def currents(folder: Path, command: str, *arguments: str) -> Result:
    given = [command, str(folder / "connectors.json"), "--allow_local_partners", *arguments]
    return CliRunner().invoke(main, given)


def probes_of(ended: Result) -> dict[str, str]:
    found = json.loads(ended.stdout)["probes"]
    return {"/".join(filter(None, (one["connector"], one["part"]))): one["result"] for one in found}


HEALTHY = {
    "hook": "accepted",
    "warehouse": "accepted",
    "cdp": "not_probed",
    "analytics": "accepted",
    "mobile/ios": "accepted",
    "mobile/unbound": "accepted",
    "lake": "not_probed",
}


def test_good_credentials_are_accepted_and_no_event_is_sent(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    ended = currents(folder, "check", "--probe", "--json")
    assert ended.exit_code == 0, ended.output
    assert probes_of(ended) == HEALTHY
    for name in ("hook", "warehouse", "analytics", "mobile"):
        assert sandbox.accepted_ids(name) == []
    assert not (folder / "lake").exists()


def test_people_are_told_what_an_answer_proves(folder: Path) -> None:
    text = currents(folder, "check", "--probe").stdout
    assert "accepted    hook: the address answers and takes the credentials (200" in text
    assert "accepted    analytics: the address answers; the key is not checked" in text
    assert "not probed  cdp: its secrets can be read" in text
    assert "off" not in text


@pytest.mark.parametrize(
    ("variable", "connectors"),
    [("TOKEN", {"hook"}), ("SECRET", {"mobile/ios", "mobile/unbound"}), ("RS_URL", {"warehouse"})],
)
def test_wrong_credentials_are_refused_where_the_partner_tells(
    folder: Path,
    sandbox: PartnerSandbox,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    connectors: set[str],
) -> None:
    wrong = (
        f"{sandbox.url('warehouse')}/v1/webhook?writeKey=wr0ng-key"
        if variable == "RS_URL"
        else "wr0ng-key"
    )
    monkeypatch.setenv(variable, wrong)
    ended = currents(folder, "check", "--probe", "--json")
    assert ended.exit_code == 1
    assert probes_of(ended) == HEALTHY | dict.fromkeys(connectors, "refused")
    assert "wr0ng-key" not in ended.output


def test_a_missing_secret_and_a_silent_partner_are_told_apart(
    folder: Path, sandbox: PartnerSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WRITE_KEY")
    sandbox.set_fault("hook", Fault(status=503))
    ended = currents(folder, "check", "--probe", "--json")
    assert ended.exit_code == 1
    assert probes_of(ended) == HEALTHY | {"analytics": "refused", "hook": "no_answer"}


def test_where_no_answer_comes_nothing_is_said_to_be_proven(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    sandbox.set_fault("hook", Fault(reset=True))
    text = currents(folder, "check", "--probe").stdout
    (line,) = [line for line in text.splitlines() if " hook: " in line]
    assert line.startswith("NO ANSWER   hook: nothing: no answer came (network")


def test_programs_are_told_what_became_of_test_events(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    ended = currents(folder, "send-test", "--connector", "analytics", "--json")
    found = json.loads(ended.stdout)
    assert sum(found["delivered"].values()) == len(sandbox.accepted_ids("analytics"))
    assert found["proves_delivery"] is False
    assert found["refused"] == []


@pytest.mark.parametrize("connector", ["hook", "warehouse", "cdp", "analytics", "mobile", "lake"])
def test_a_test_event_of_each_type_is_taken_by_every_stand_in(
    folder: Path, sandbox: PartnerSandbox, connector: str
) -> None:
    ended = currents(folder, "send-test", "--connector", connector)
    assert ended.exit_code == 0, ended.output
    count = int(ended.stdout.split()[0])
    assert count >= 55
    if connector != "lake":
        ids = sandbox.accepted_ids(connector)
        assert len(ids) == count
        assert all(event_id.startswith("currents-test-") for event_id in ids)
    else:
        assert len(list((folder / "lake").rglob("*.avro"))) == count
    left_out = [line for line in ended.stdout.splitlines() if line.startswith("left out")]
    assert len(left_out) <= 3  # a line for each reason
    types = [name for line in left_out for name in line.partition(": ")[2].split(", ")]
    assert count + len(types) == len(event_types())


def test_only_selected_types_are_sent_and_a_refusal_is_told(
    folder: Path, sandbox: PartnerSandbox
) -> None:
    document = json.loads((folder / "connectors.json").read_text())
    document["connectors"][0]["events"] = ["users.messages.sms.*"]
    (folder / "connectors.json").write_text(json.dumps(document))
    sandbox.set_fault("hook", Fault(status=403))
    ended = currents(folder, "send-test", "--connector", "hook")
    assert ended.exit_code == 1
    refused = [line for line in ended.stdout.splitlines() if line.startswith("REFUSED")]
    assert refused
    assert all("403" in line and "users.messages.sms." in line for line in refused)
    assert "users.messages.email" not in ended.stdout
    assert SECRETS["TOKEN"] not in ended.output


def test_a_connector_that_is_not_there_is_bad_usage(folder: Path) -> None:
    ended = currents(folder, "send-test", "--connector", "nobody")
    assert ended.exit_code == 2
    assert "'nobody'" in ended.output


@pytest.mark.parametrize("event_type", event_types().values(), ids=lambda known: known.name)
def test_a_placeholder_has_every_property_and_says_that_it_is_a_test(event_type: Any) -> None:
    event = placeholder_event(event_type, "e-1", 5, app_id="a")
    properties = event["properties"]
    assert (properties["currents_test"], properties["app_id"]) == (True, "a")
    assert event["user"] == {"user_id": TEST_USER, "external_user_id": TEST_USER}
    for name, json_type in event_type.http_properties.items():
        assert type(properties[name]) is TYPES[json_type], name
        assert json_type != "string" or name in ("app_id", "platform") or "test" in properties[name]


def test_a_placeholders_platform_is_one_that_partners_with_feeds_know() -> None:
    with_platform = [of for of in event_types().values() if "platform" in of.http_properties]
    assert with_platform
    for event_type in event_types().values():
        properties = placeholder_event(event_type, "e-1", 5)["properties"]
        assert properties.get("platform") == ("ios" if event_type in with_platform else None)


def test_a_placeholder_of_a_type_that_is_only_stored_has_what_is_stored() -> None:
    event = placeholder_event(event_types()["users.profile.Update"], "e-1", 5)
    properties = event["properties"]
    assert properties["archived"] is True
    assert properties["time_ms"] == 1
    assert properties["home_city"] == "test home_city"
    assert not properties.keys() & {"id", "time", "timezone", *event["user"]}
