"""What Dataflow is sent when a streaming job is submitted; no cloud is needed for it."""

import base64
import binascii
import bz2
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2 as runner_api

from pipeline.exits import EXIT_DONE
from pipeline.run import run
from tests.deploy.google_cloud import (
    BUCKET,
    IMAGE,
    PROJECT,
    REGION,
    SUBSCRIPTION,
    google_cloud,
    options,
    staged,
    write_connectors,
)

AT_LEAST_ONCE = "streaming_mode_at_least_once"
WEBHOOK = "gcp-secret:projects/p/secrets/webhook/versions/latest"
KEY = "gcp-secret:projects/p/secrets/segment/versions/latest"

IN_THE_ENVIRONMENT = "canary-of-the-environment"
IN_A_FILE = "canary-of-a-file"
IN_THE_CONNECTORS_FILE = "canary-of-the-connectors-file"
CANARIES = [IN_THE_ENVIRONMENT, IN_A_FILE, IN_THE_CONNECTORS_FILE]

MORE = [
    f"--dataflow_service_options={AT_LEAST_ONCE}",
    "--dataflow_service_options=enable_google_cloud_profiler",
    f"--sdk_container_image={IMAGE}",
    f"--service_account_email=currents@{PROJECT}.iam.gserviceaccount.com",
    "--max_num_workers=7",
    "--labels=team=export",
    f"--alert_webhook={WEBHOOK}",
]


@dataclass(frozen=True)
class Submitted:
    """A job as Dataflow was sent it, and the pipeline that was staged for it."""

    job: dict[str, Any]
    path: str
    pipeline: runner_api.Pipeline
    files: dict[str, bytes]


@contextmanager
def canaries(folder: Path) -> Iterator[None]:
    """Secrets where a submission could pick them up: in the environment, and in files."""
    secret = folder / "key"
    secret.write_text(IN_A_FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGMENT_WRITE_KEY", IN_THE_ENVIRONMENT)
        patch.setenv("SEGMENT_WRITE_KEY_FILE", str(secret))
        patch.chdir(folder)
        yield


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    hook = {
        "name": "hook",
        "kind": "postback",
        "url": f"https://hook.example.com/?key={IN_THE_CONNECTORS_FILE}",
    }
    segment = {"name": "analytics", "kind": "segment", "write_key": KEY}
    with google_cloud() as cloud, canaries(tmp_path_factory.mktemp("canaries")):
        connectors = write_connectors(cloud, [hook, segment])
        code = run(["--connectors", connectors, *options(cloud, *MORE)])
        assert code == EXIT_DONE
        (path,) = [path for method, path, _ in cloud.requests if method == "POST"]
        return Submitted(
            cloud.submitted(),
            path,
            runner_api.Pipeline.FromString(staged(cloud, "pipeline.pb")),
            {name: cloud.get(name) for name in cloud.names() if name.startswith("temp/")},
        )


def test_it_is_a_streaming_job_of_the_asked_name_and_region(submitted: Submitted) -> None:
    assert submitted.path == f"/v1b3/projects/{PROJECT}/locations/{REGION}/jobs"
    assert submitted.job["name"] == "currents"
    assert submitted.job["type"] == 2, "JOB_TYPE_STREAMING"
    assert submitted.job["environment"]["version"]["job_type"] == "FNAPI_STREAMING"
    assert submitted.job["labels"] == {"team": "export"}


def test_service_options_and_workers_are_those_that_were_asked_for(submitted: Submitted) -> None:
    environment = submitted.job["environment"]
    assert environment["serviceOptions"] == [AT_LEAST_ONCE, "enable_google_cloud_profiler"]
    assert environment["serviceAccountEmail"].startswith("currents@")
    assert {"use_runner_v2", "enable_streaming_engine"} <= set(environment["experiments"])
    (pool,) = environment["workerPools"]
    assert pool["autoscalingSettings"] == {"maxNumWorkers": 7}
    assert [image["containerImage"] for image in pool["sdkHarnessContainerImages"]] == [IMAGE]


def test_pubsub_is_read_by_dataflow_itself(submitted: Submitted) -> None:
    reads = [
        (step.unique_name, runner_api.PubSubReadPayload.FromString(step.spec.payload))
        for step in submitted.pipeline.components.transforms.values()
        if step.spec.urn == common_urns.composites.PUBSUB_READ.urn
    ]
    ((name, read),) = reads
    assert name == "ReadEvents/ReadMessages/Read"
    assert read.subscription == SUBSCRIPTION
    assert read.with_attributes
    assert (read.topic, read.id_attribute, read.timestamp_attribute) == ("", "", "")


def test_the_steps_have_the_names_of_the_graph(submitted: Submitted) -> None:
    """The top ones; `job_graph.json` has them all."""
    names = {step.unique_name for step in submitted.pipeline.components.transforms.values()}
    assert {name for name in names if "/" not in name and not name.startswith("ref_")} == {
        "ReadEvents",
        "DecodeAndRoute",
        "BatchByLane",
        "DeliverBatches",
        "HoldUndelivered",
        "WriteInvalid",
        "WriteGivenUp",
    }


def test_workers_are_told_where_things_are(submitted: Submitted) -> None:
    said = submitted.job["environment"]["sdkPipelineOptions"]["options"]
    assert said["hold"] == f"gs://{BUCKET}/held"
    assert said["alert_webhook"] == WEBHOOK
    assert said["streaming"] is True


def test_what_is_looked_through_for_secrets_is_unpacked(submitted: Submitted) -> None:
    """Or the test after this one proves nothing: steps travel pickled, packed and as base64."""
    assert f"gs://{BUCKET}/held".encode() not in submitted.pipeline.SerializeToString()
    assert f"gs://{BUCKET}/held".encode() in everything(submitted)


@pytest.mark.parametrize("canary", CANARIES)
def test_no_secret_is_in_the_job(canary: str, submitted: Submitted) -> None:
    assert canary.encode() not in everything(submitted)


def test_the_connectors_are_not_part_of_the_job(submitted: Submitted) -> None:
    """They are read by the workers, so that an edit of the file needs no update of the job."""
    assert KEY.encode() not in everything(submitted)


def test_a_template_launch_leaves_the_job_for_dataflow_to_start() -> None:
    """That is how a flex template is launched: nothing is created, the job is written down."""
    job = f"gs://{BUCKET}/temp/template_launches/job_object"
    with google_cloud() as cloud:
        connectors = write_connectors(cloud, [])
        code = run(["--connectors", connectors, *options(cloud, f"--template_location={job}")])
        assert code == EXIT_DONE
        assert cloud.requests == []
        written = json.loads(cloud.get("temp/template_launches/job_object"))
    assert written["name"] == "currents"
    assert written["environment"]["version"]["job_type"] == "FNAPI_STREAMING"


def test_an_update_names_the_job_that_it_replaces() -> None:
    with google_cloud() as cloud:
        cloud.jobs = [
            {"id": "old", "name": "currents", "currentState": "JOB_STATE_CANCELLED"},
            {"id": "running", "name": "currents", "currentState": "JOB_STATE_RUNNING"},
        ]
        connectors = write_connectors(cloud, [])
        mapping = '{"HoldUndelivered/Park":"HoldUndelivered/Hold"}'
        update = ["--update", f"--transform_name_mapping={mapping}"]
        assert run(["--connectors", connectors, *options(cloud, *update)]) == EXIT_DONE
        job = cloud.submitted()
    assert job["replaceJobId"] == "running"
    assert job["transformNameMapping"] == json.loads(mapping)


def everything(submitted: Submitted) -> bytes:
    """All bytes that left this machine, with what is packed in them unpacked beside them."""
    payloads = [step.spec.payload for step in submitted.pipeline.components.transforms.values()]
    functions = [
        runner_api.ParDoPayload.FromString(step.spec.payload).do_fn.payload
        for step in submitted.pipeline.components.transforms.values()
        if step.spec.urn == common_urns.primitives.PAR_DO.urn
    ]
    coders = [coder.spec.payload for coder in submitted.pipeline.components.coders.values()]
    job = json.dumps(submitted.job).encode()
    packed = [*payloads, *functions, *coders]
    return b"\n".join([job, *submitted.files.values(), *packed, *map(unpacked, packed)])


def unpacked(payload: bytes) -> bytes:
    """What a pickle of Beam's holds, or nothing."""
    try:
        content = base64.b64decode(payload, validate=True)
    except binascii.Error:
        return payload
    for unpack in (bz2.decompress, zlib.decompress):
        try:
            return unpack(content)
        except (OSError, ValueError, zlib.error):
            continue
    return content
