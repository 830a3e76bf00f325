"""What can be checked of the Terraform files without Google: they are read by the form that fmt gives."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hcl2
import lark
import pytest

from tests.deploy.monitoring import FOLDER as MONITORING
from tests.deploy.monitoring import policies, read
from tests.deploy.provider_schema import FILE, META, Schema, known
from tests.deploy.test_flex_template import PARAMETERS, matches

FOLDER = MONITORING.parent / "terraform"
FILES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.tf"))}
EVERYTHING = "\n".join(FILES.values())
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


class Block(NamedTuple):
    """A block of the top of a file: its kind, its labels, and its lines without comments."""

    kind: str
    labels: tuple[str, ...]
    body: str

    def value(self, name: str) -> str | None:
        """What an argument of the block itself is set to."""
        found = re.search(rf"^  {name} += (.+)$", self.body, re.MULTILINE)
        return found[1] if found else None


def blocks(kind: str, *labels: str) -> list[Block]:
    """The blocks of this kind whose labels begin so."""
    return [
        block for block in _blocks() if block.kind == kind and block.labels[: len(labels)] == labels
    ]


def _blocks() -> Iterator[Block]:
    opened = r"^(\w+)((?: \"[^\"]+\")*) \{\n(.*?)^\}$"
    for kind, labels, body in re.findall(opened, EVERYTHING, re.MULTILINE | re.DOTALL):
        code = re.sub(r"^ *#.*\n", "", body, flags=re.MULTILINE)
        yield Block(kind, tuple(re.findall(r'"([^"]+)"', labels)), code)


def resource(*labels: str) -> Block:
    (block,) = blocks("resource", *labels)
    return block


@pytest.mark.parametrize(
    "path", [*FOLDER.glob("*.tf"), *FOLDER.glob("*.example")], ids=lambda p: p.name
)
def test_every_file_is_of_terraforms_grammar(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert hcl2.loads(text)
    with pytest.raises(lark.exceptions.UnexpectedInput):
        hcl2.loads(text.replace(" = ", " = = ", 1))


def test_every_file_is_read_whole() -> None:
    """Or the checks below would look past a block."""
    opened = sum(
        line.endswith("{") and not line[0].isspace() for line in EVERYTHING.splitlines() if line
    )
    assert len(list(_blocks())) == opened
    assert len(blocks("resource")) == 18


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
def test_files_are_formatted() -> None:
    told = subprocess.run(
        ["terraform", f"-chdir={FOLDER}", "fmt", "-check", "-diff"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert told.returncode == 0, told.stdout + told.stderr


# Against the provider's schema


def mistakes(text: str) -> list[str]:
    """What the provider would refuse of a file's resources: names it has not, and what is missing."""
    return [
        mistake
        for one in hcl2.loads(text).get("resource", ())
        for kind, named in one.items()
        for body in named.values()
        for mistake in _mistakes(kind.strip('"'), body, known()[kind.strip('"')])
    ]


def _mistakes(where: str, body: dict[str, Any], schema: Schema) -> Iterator[str]:
    given = dict(_given(body))
    yield from (f"{where}: {name} is unknown" for name in given.keys() - schema.keys())
    for name, what in schema.items():
        is_block = isinstance(what, dict)
        if name not in given:
            if name and (what[""] if is_block else what) == "required":
                yield f"{where}: {name} is missing"
        elif is_block:
            for block in given[name]:
                yield from _mistakes(f"{where}.{name}", block, what)


def _given(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Arguments and blocks, those that are made one by one as if they stood there."""
    for name, value in body.items():
        if name == "dynamic":
            for dynamic in value:
                for block, made in dynamic.items():
                    yield block.strip('"'), made["content"]
        elif name not in META and not name.startswith("__"):
            yield name, value


@pytest.mark.parametrize("name", FILES)
def test_the_provider_takes_every_resource(name: str) -> None:
    assert mistakes(FILES[name]) == []


@pytest.mark.parametrize(
    ("file", "right", "wrong", "mistake"),
    [
        ("pubsub.tf", "ack_deadline_seconds", "ack_deadline", ": ack_deadline is unknown"),
        ("pubsub.tf", "    ttl = ", "    tll = ", ".expiration_policy: ttl is missing"),
        ("monitoring.tf", "combiner ", "combine ", ": combiner is missing"),
    ],
)
def test_what_the_provider_would_refuse_is_found(
    file: str, right: str, wrong: str, mistake: str
) -> None:
    assert right in FILES[file]
    found = mistakes(FILES[file].replace(right, wrong))
    assert [one for one in found if one.endswith(mistake)], found


def test_the_schema_is_of_the_providers_version() -> None:
    version = json.loads(FILE.read_text(encoding="utf-8"))["provider"]
    major_minor = version.rpartition(".")[0]
    assert FILES["versions.tf"].count(f'version = "~> {major_minor}"') == 2


def test_every_variable_is_described_typed_and_used() -> None:
    variables = {block.labels[0]: block for block in blocks("variable")}
    assert len(variables) > 10
    for name, block in variables.items():
        assert len(block.value("description") or "") > 20, name
        assert block.value("type"), name
        uses = re.findall(rf"\bvar\.{name}\b", EVERYTHING.replace(block.body, ""))
        assert uses, f"{name} is not used"


def test_every_used_variable_and_local_is_there() -> None:
    variables = {block.labels[0] for block in blocks("variable")}
    assert set(re.findall(r"\bvar\.(\w+)", EVERYTHING)) == variables
    locals_ = {
        name
        for block in blocks("locals")
        for name in re.findall(r"^  (\w+) +=", block.body, re.MULTILINE)
    }
    assert set(re.findall(r"\blocal\.(\w+)", EVERYTHING)) == locals_


def test_every_named_resource_is_there() -> None:
    named = set(re.findall(r"\b(google_\w+)\.(\w+)", EVERYTHING))
    assert named <= {(block.labels[0], block.labels[1]) for block in blocks("resource")}


def test_outputs_are_described() -> None:
    for block in blocks("output"):
        assert block.value("description"), block.labels


def test_the_subscription_has_no_dead_letter_policy_and_says_why() -> None:
    body = resource("google_pubsub_subscription").body
    assert "dead_letter_policy" not in body
    assert "retry_policy" not in body
    assert (
        "No dead_letter_policy and no retry_policy. Dataflow supports neither" in FILES["pubsub.tf"]
    )


def test_the_subscription_keeps_what_is_not_acknowledged() -> None:
    subscription = resource("google_pubsub_subscription")
    assert subscription.value("ack_deadline_seconds") == "600"
    assert subscription.value("message_retention_duration") == (
        '"${var.message_retention_days * 86400}s"'
    )
    (retention,) = blocks("variable", "message_retention_days")
    assert retention.value("default") == "7"
    assert 'expiration_policy {\n    ttl = ""\n  }' in subscription.body
    assert subscription.value("enable_message_ordering") == "false"


def test_messages_outlive_the_deadline_of_their_events() -> None:
    (retention,) = blocks("variable", "message_retention_days")
    (hold,) = blocks("variable", "hold_days")
    most_days = {"48h": 2}[PARAMETERS["max_event_age"]["defaultValue"]]
    assert int(retention.value("default") or 0) > most_days
    assert int(hold.value("default") or 0) > int(retention.value("default") or 0)


def test_no_secret_has_a_value() -> None:
    assert "google_secret_manager_secret_version" not in EVERYTHING
    assert not re.search(r"secret_data|password|private_key|BEGIN |AIza|AKIA", EVERYTHING)
    literals = re.findall(r'"([^"\s]{24,})"', EVERYTHING)
    assert not [one for one in literals if re.fullmatch(r"(?=.*\d)[A-Za-z0-9+/=]+", one)]


def test_buckets_are_private_and_what_is_personal_has_an_end() -> None:
    bucket = resource("google_storage_bucket")
    assert bucket.value("public_access_prevention") == '"enforced"'
    assert bucket.value("uniform_bucket_level_access") == "true"
    assert bucket.value("force_destroy") == "false"
    (local,) = [one for one in blocks("locals") if "buckets =" in one.body]
    kinds = dict(re.findall(r"^    ([\w-]+) += \{ days = ([\w.]+),", local.body, re.MULTILINE))
    assert kinds == {
        "hold": "var.hold_days",
        "dead-letters": "var.dead_letter_days",
        "config": "0",
        "staging": "0",
    }
    assert "age = lifecycle_rule.value" in bucket.body


def test_the_account_has_no_broad_role() -> None:
    roles = set(re.findall(r'"(roles/[\w.]+)"', EVERYTHING))
    assert roles == {
        "roles/artifactregistry.reader",
        "roles/dataflow.worker",
        "roles/pubsub.publisher",
        "roles/pubsub.subscriber",
        "roles/pubsub.viewer",
        "roles/secretmanager.secretAccessor",
        "roles/storage.legacyBucketReader",
        "roles/storage.objectUser",
        "roles/storage.objectViewer",
    }
    of_project = blocks("resource", "google_project_iam_member")
    assert [block.value("role") for block in of_project] == ['"roles/dataflow.worker"']
    assert not re.search(r"google_\w+_iam_(binding|policy)", EVERYTHING), "would take others' roles"


def test_the_job_is_given_parameters_of_the_template() -> None:
    (local,) = [one for one in blocks("locals") if "parameters =" in one.body]
    given = dict(
        re.findall(r"^ +(\w+) += \"?([^{\n]*\$\{.*|google_[\w.]+)", local.body, re.MULTILINE)
    )
    assert set(given) == {"connectors", "subscription", "hold", "dead_letters", "alert_webhook"}
    assert set(given) <= set(PARAMETERS)
    known = {
        "connectors": "gs://project-currents-config/connectors.yaml",
        "subscription": "projects/my-project/subscriptions/currents",
        "hold": "gs://project-currents-hold/held",
        "dead_letters": "gs://project-currents-dead-letters/dead",
        "alert_webhook": "gcp-secret:projects/my-project/secrets/currents-hook/versions/latest",
    }
    for name, text in known.items():
        assert matches(name, text), name


def test_the_job_drains_when_it_is_taken_away_and_runs_in_the_named_mode() -> None:
    job = resource("google_dataflow_flex_template_job")
    assert job.value("on_delete") == '"drain"'
    assert job.value("additional_experiments") == '["streaming_mode_${var.streaming_mode}"]'
    (mode,) = blocks("variable", "streaming_mode")
    assert 'contains(["at_least_once", "exactly_once"], var.streaming_mode)' in mode.body
    assert job.value("ip_configuration") == '"WORKER_IP_PRIVATE"'


def test_placeholders_of_the_monitoring_are_filled_in() -> None:
    (local,) = [one for one in blocks("locals") if "names =" in one.body]
    (listed,) = re.findall(r"^  names = \{\n(.*?)^  \}", local.body, re.MULTILINE | re.DOTALL)
    filled = set(re.findall(r"^    (\w+) +=", listed, re.MULTILINE))
    texts = {path.name: path.read_text(encoding="utf-8") for path in MONITORING.rglob("*.json")}
    assert {name for text in texts.values() for name in PLACEHOLDER.findall(text)} == filled
    for name, text in texts.items():
        assert "%{" not in text, f"{name}: Terraform takes it for a directive"
        assert len(re.findall(r"\$\{", text)) == len(PLACEHOLDER.findall(text)), name
        json.loads(PLACEHOLDER.sub("x", text))


def test_all_that_a_policy_says_reaches_google() -> None:
    """Terraform has names of its own for the fields; one that is not mapped would be lost."""
    body = resource("google_monitoring_alert_policy").body
    mapped = set(re.findall(r"\.value\.((?:\w+\.)*\w+)|\.value\[", body))
    fields = {name for one in mapped for name in one.split(".")}
    said = {key for policy in policies().values() for key in _keys(policy)}
    assert said <= fields, said - fields


def test_all_that_a_log_metric_says_reaches_google() -> None:
    body = resource("google_logging_metric").body
    fields = {
        name for one in re.findall(r"\.value\.((?:\w+\.)*\w+)", body) for name in one.split(".")
    }
    said = {key for metric in read("log_metrics.json") for key in metric}
    said |= {key for metric in read("log_metrics.json") for key in metric["metricDescriptor"]}
    assert said <= fields, said - fields


def _keys(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield name
            yield from _keys(value)
    elif isinstance(node, list):
        for one in node:
            yield from _keys(one)


def test_the_example_sets_variables_that_there_are() -> None:
    text = (FOLDER / "terraform.tfvars.example").read_text(encoding="utf-8")
    given = set(re.findall(r"^(\w+) +=", text, re.MULTILINE))
    variables = {block.labels[0]: block for block in blocks("variable")}
    needed = {name for name, block in variables.items() if block.value("default") is None}
    assert needed <= given <= set(variables)


def test_the_path_of_the_files_is_right() -> None:
    assert 'monitoring = "${path.module}/../monitoring"' in FILES["monitoring.tf"]
    assert (Path(FOLDER) / ".." / "monitoring" / "dashboard.json").is_file()
