"""What a run is made of, found out before anything is read."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import fsspec
import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, StandardOptions

from pipeline.exits import UsageError
from pipeline.run import Run, prepare, run
from runtime.address import PUBLIC_ONLY, AddressPolicy
from transforms.engine import Engine

SUBSCRIPTION = "projects/my-project/subscriptions/s"
PLACES = ("--hold", "gs://b/held", "--dead_letters", "gs://b/dead")
DATAFLOW = ("--runner", "DataflowRunner", "--project", "p", "--subscription", SUBSCRIPTION)
GOOGLE_SECRET = "gcp-secret:projects/p/secrets/s/versions/1"


@pytest.fixture
def connectors(tmp_path: Path) -> str:
    return write(tmp_path)


def write(folder: Path, **settings: Any) -> str:
    path = folder / "connectors.json"
    hook = {"name": "a", "kind": "postback", "url": "https://a.example.com", **settings}
    path.write_text(json.dumps({"connectors": [hook]}))
    return str(path)


def write_shared(**settings: Any) -> str:
    """As `write`, to a storage that is no path of this machine."""
    uri = "memory://shared/connectors.json"
    hook = {"name": "a", "kind": "postback", "url": "https://a.example.com", **settings}
    fsspec.filesystem("memory").pipe_file(uri, json.dumps({"connectors": [hook]}).encode())
    return uri


def refusal_of(*arguments: str) -> str:
    with pytest.raises(UsageError) as caught:
        prepare(list(arguments))
    return str(caught.value)


def streams(run: Run) -> bool:
    return bool(run.options.view_as(StandardOptions).streaming)


def test_a_file_run_is_bounded_and_holds_where_it_was_started(
    connectors: str, tmp_path: Path
) -> None:
    (tmp_path / "events.ndjson").write_text("{}\n")
    run = prepare(["--connectors", connectors, "--input", f"{tmp_path}/*.ndjson"])
    assert (run.source.engine, run.runner, streams(run)) == (Engine.BOUNDED, "FnApiRunner", False)
    assert [part.path for part in run.source.ranges] == [f"{tmp_path}/events.ndjson"]
    assert (run.settings.hold, run.settings.dead_letters) == ("./held", "./dead-letters")
    assert run.settings.address_policy == PUBLIC_ONLY


def test_without_a_source_a_run_is_bounded_and_reads_nothing(connectors: str) -> None:
    run = prepare(["--connectors", connectors])
    assert (run.source.engine, run.source.subscription, run.source.ranges) == (
        Engine.BOUNDED,
        None,
        [],
    )


def test_an_empty_file_is_legal(connectors: str, tmp_path: Path) -> None:
    (tmp_path / "empty.ndjson").touch()
    run = prepare(["--connectors", connectors, "--input", f"{tmp_path}/empty.ndjson"])
    assert run.source.ranges == []


def test_a_subscription_streams_on_the_engine_that_acknowledges_by_receipts(
    connectors: str,
) -> None:
    run = prepare(["--connectors", connectors, "--subscription", SUBSCRIPTION, *PLACES])
    assert (run.source.engine, run.runner) == (Engine.DIRECT, "BundleBasedDirectRunner")
    assert (run.source.subscription, streams(run)) == (SUBSCRIPTION, True)


def test_a_subscription_on_an_engine_that_nobody_tried_is_refused(connectors: str) -> None:
    arguments = ["--connectors", connectors, "--subscription", SUBSCRIPTION, *PLACES]
    assert refusal_of(*arguments, "--runner", "PrismRunner") == (
        "--subscription on PrismRunner is not known to work; use DirectRunner"
    )


def test_behind_a_job_server_we_read_and_its_engine_acknowledges(connectors: str) -> None:
    arguments = ["--connectors", connectors, "--subscription", SUBSCRIPTION, *PLACES]
    arguments += ["--runner", "PortableRunner"]
    assert refusal_of(*arguments) == (
        "--job_endpoint is missing: PortableRunner sends the job there"
    )
    run = prepare([*arguments, "--job_endpoint", "localhost:8099"])
    assert (run.source.engine, run.runner, streams(run)) == (
        Engine.PORTABLE,
        "PortableRunner",
        True,
    )


def test_a_job_that_is_submitted_is_not_named_after_the_process_that_submits_it(
    connectors: str,
) -> None:
    """Whose end would let other runs on this machine take the lanes that the job attends."""
    arguments = ["--connectors", connectors, "--subscription", SUBSCRIPTION, *PLACES]
    arguments += ["--runner", "PortableRunner", "--job_endpoint", "localhost:8099"]
    ours = f"-{os.getpid()}-"
    assert ours not in prepare([*arguments, "--environment_type", "EXTERNAL"]).settings.job
    assert ours in prepare([*arguments, "--environment_type", "LOOPBACK"]).settings.job


def test_flink_is_told_to_make_checkpoints_and_short_bundles(connectors: str) -> None:
    """Its own defaults would acknowledge nothing, and let timers be a second late."""
    arguments = ["--connectors", connectors, "--subscription", SUBSCRIPTION, *PLACES]
    arguments += ["--runner", "FlinkRunner", "--job_endpoint", "localhost:8099"]
    run = prepare(arguments)
    assert (run.source.engine, run.runner) == (Engine.PORTABLE, "PortableRunner")
    options = run.options.get_all_options()
    assert (options["checkpointing_interval"], options["max_bundle_time_mills"]) == (5_000, 50)
    options = prepare([*arguments, "--checkpointing_interval", "900"]).options.get_all_options()
    assert options["checkpointing_interval"] == 900


def test_the_settings_are_what_the_options_say(connectors: str) -> None:
    run = prepare(
        [
            *("--connectors", connectors, *PLACES, "--report", "r.json"),
            *("--config_refresh", "2min", "--max_event_bytes", "1000"),
            *("--allow_network", "10.0.0.0/8", "--allow_network", "::1/128"),
            "--allow_local_partners",
        ]
    )
    settings = run.settings
    assert (settings.connectors, settings.hold) == (connectors, "gs://b/held")
    assert (settings.config_refresh_seconds, settings.max_event_bytes) == (120, 1_000)
    assert settings.address_policy == AddressPolicy(("10.0.0.0/8", "::1/128"), True)
    assert (run.report, run.report_every_seconds) == ("r.json", 5.0)


@pytest.mark.parametrize(("text", "seconds"), [("5", 5), ("0.5", 0.5), ("5 s", 5), ("1h", 3_600)])
def test_a_refresh_time_has_a_unit_or_is_in_seconds(
    text: str, seconds: float, connectors: str
) -> None:
    run = prepare(["--connectors", connectors, "--config_refresh", text])
    assert run.settings.config_refresh_seconds == seconds


def test_a_refresh_time_of_nothing_is_refused(connectors: str) -> None:
    line = refusal_of("--connectors", connectors, "--config_refresh", "0")
    assert line == "argument --config_refresh: a time above zero is needed"


def test_beams_own_options_pass_through(connectors: str) -> None:
    run = prepare(["--connectors", connectors, "--project", "p", "--region=europe-west1"])
    cloud = run.options.view_as(GoogleCloudOptions)
    assert (cloud.project, cloud.region) == ("p", "europe-west1")


def test_an_abbreviated_option_is_an_unknown_one(connectors: str) -> None:
    assert refusal_of("--connectors", connectors, "--rep", "r.json").startswith(
        "unknown option --rep;"
    )


def test_every_problem_of_the_connectors_is_told(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("connectors: [{name: a, kind: x}, {name: b}, {name: c, kind: postback}]")
    lines = refusal_of("--connectors", str(path)).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"connector '{name}'" for name in "abc"]


# Dataflow


def test_on_dataflow_a_subscription_streams_and_workers_share_the_places() -> None:
    connectors = write_shared(token=GOOGLE_SECRET)
    run = prepare(["--connectors", connectors, *DATAFLOW, *PLACES])
    assert (run.source.engine, run.runner, streams(run)) == (
        Engine.DISTRIBUTED,
        "DataflowRunner",
        True,
    )


@pytest.mark.parametrize("place", ["--hold", "--dead_letters"])
def test_on_dataflow_a_local_place_is_refused(place: str, connectors: str) -> None:
    arguments = ["--connectors", connectors, *DATAFLOW, *PLACES, place, "/tmp/x"]
    assert refusal_of(*arguments) == (f"{place} /tmp/x is a local path: workers do not share one")


@pytest.mark.parametrize("reference", ["env:CURRENTS_TOKEN", "file:/secrets/token"])
def test_on_dataflow_only_the_secrets_of_secret_manager_are_taken(
    reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURRENTS_TOKEN", "right")
    connectors = write_shared(token=reference)
    assert refusal_of("--connectors", connectors, *DATAFLOW, *PLACES) == (
        f"connector 'a': {reference}: on DataflowRunner a secret is "
        "gcp-secret:projects/P/secrets/S/versions/V"
    )


@pytest.mark.parametrize("reference", ["env:HOOK", "file:/run/hook"])
def test_the_webhook_of_alerts_on_dataflow_is_a_secret_of_secret_manager(reference: str) -> None:
    said = refusal_of(
        "--connectors", write_shared(), *DATAFLOW, *PLACES, "--alert_webhook", reference
    )
    assert said.startswith(
        f"--alert_webhook: {reference}: on DataflowRunner a secret is gcp-secret:"
    )


def test_a_webhook_whose_secret_is_not_there_is_told_at_the_start(connectors: str) -> None:
    said = refusal_of("--connectors", connectors, "--alert_webhook", "env:NO_SUCH_VARIABLE")
    assert said.startswith("--alert_webhook: env:NO_SUCH_VARIABLE: ")


@pytest.mark.parametrize("subscription", ["projects/p/subscriptions/s", "projects/my-project/s"])
def test_a_subscription_that_beam_would_not_take_is_refused(
    connectors: str, subscription: str
) -> None:
    said = refusal_of("--connectors", connectors, *PLACES, "--subscription", subscription)
    assert "projects/P/subscriptions/S" in said


def test_dataflow_wants_a_project(connectors: str) -> None:
    arguments = ["--connectors", connectors, "--runner", "DataflowRunner", *PLACES]
    assert refusal_of(*arguments) == "--project is missing: DataflowRunner wants it"


def test_what_is_refused_is_not_preceded_by_warnings(
    connectors: str, caplog: pytest.LogCaptureFixture
) -> None:
    refusal_of("--connectors", connectors, "--input", "/none/*.ndjson")
    refusal_of("--connectors", connectors, "--unheard_of")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_bounded_run_on_dataflow_has_no_local_places_either(connectors: str) -> None:
    on_dataflow = ("--connectors", connectors, "--runner", "DataflowRunner", "--project", "p")
    assert "--hold is missing" in refusal_of(*on_dataflow)
    local = ("--hold", "./held", "--dead_letters", "gs://b/dead")
    assert "--hold ./held is a local path" in refusal_of(*on_dataflow, *local)


def test_a_bounded_run_on_dataflow_takes_secrets_of_secret_manager_only() -> None:
    connectors = write_shared(token="env:TOKEN")
    refused = refusal_of(
        "--connectors", connectors, "--runner", "DataflowRunner", "--project", "p", *PLACES
    )
    assert "env:TOKEN: on DataflowRunner a secret is gcp-secret:" in refused


def test_the_secret_of_a_disabled_connector_is_not_asked_for(tmp_path: Path) -> None:
    connectors = write(tmp_path, token="env:NOT_SET_ANYWHERE", enabled=False)
    assert prepare(["--connectors", connectors, *PLACES]).source.engine is Engine.BOUNDED


def test_on_dataflow_a_local_connectors_file_and_a_local_lake_are_refused(connectors: str) -> None:
    assert f"--connectors {connectors} is a local path" in refusal_of(
        "--connectors", connectors, *DATAFLOW, *PLACES
    )
    uri = "memory://shared/lake.json"
    lake = {"name": "lake", "kind": "avro_files", "path": "./lake"}
    fsspec.filesystem("memory").pipe_file(uri, json.dumps({"connectors": [lake]}).encode())
    assert refusal_of("--connectors", uri, *DATAFLOW, *PLACES) == (
        "connector 'lake': path: ./lake is a local path: workers do not share one"
    )


@pytest.mark.parametrize(
    "text", ["nonsense", "projects/p/subscriptions/s", "projects/project/subscriptions/"]
)
def test_a_subscription_has_its_form(text: str, connectors: str) -> None:
    refused = refusal_of("--connectors", connectors, *PLACES, "--subscription", text)
    assert refused.startswith(f"--subscription {text}: it has the form projects/P/subscriptions/S")


def test_a_size_that_would_bury_everything_is_refused(connectors: str) -> None:
    refused = refusal_of("--connectors", connectors, *PLACES, "--max_event_bytes", "-1")
    assert refused == "--max_event_bytes -1: at least 1000 is allowed"


def test_a_hold_that_cannot_be_made_is_told_before_anything_is_read(
    connectors: str, tmp_path: Path
) -> None:
    (tmp_path / "held").write_text("in the way")
    (tmp_path / "events").write_text("")
    arguments = ["--connectors", connectors, "--input", str(tmp_path / "events")]
    with pytest.raises(UsageError, match="--hold cannot be written"):
        run(
            [*arguments, "--hold", str(tmp_path / "held"), "--dead_letters", str(tmp_path / "dead")]
        )
