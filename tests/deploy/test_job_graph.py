"""The job's graph, and what lies in its state, against the files that a running job was made from.

What fails here is a change that may break `--update` of a running job. Where it is wanted, run
`python -m tests.deploy.job_graph` and say in the change log how running jobs get over it.
"""

import copy
from typing import Any

import msgspec
import pytest
from apache_beam.portability.api import beam_runner_api_pb2 as runner_api

from tests.deploy.job_graph import differences, graph_of, known, submit
from tests.deploy.state_samples import SAMPLES, encoded_samples

AGAIN = "python -m tests.deploy.job_graph writes it anew"


@pytest.fixture(scope="module")
def pipeline() -> runner_api.Pipeline:
    return submit()


@pytest.fixture(scope="module")
def graph(pipeline: runner_api.Pipeline) -> dict[str, Any]:
    return graph_of(pipeline)


def test_the_graph_is_that_of_running_jobs(graph: dict[str, Any]) -> None:
    before = {part: known()[part] for part in graph}
    assert list(differences(before, graph)) == [], AGAIN


def test_a_changed_step_is_told_with_its_place(graph: dict[str, Any]) -> None:
    changed = copy.deepcopy(graph)
    gather = changed["steps"].pop("BatchByLane/Gather")
    changed["steps"]["BatchByLane/GatherAll"] = gather
    changed["steps"]["HoldUndelivered/AttendLanes/Attend"]["state"]["watch"]["coder"] = "varint:v1"
    told = list(differences(graph, changed))
    assert len(told) == 3
    assert told[0].startswith("steps > BatchByLane/Gather: {")
    assert told[0].endswith("became nothing")
    assert told[1] == (
        "steps > HoldUndelivered/AttendLanes/Attend > state > watch > coder: "
        '"bytes:v1" became "varint:v1"'
    )
    assert told[2].startswith("steps > BatchByLane/GatherAll: nothing became {")


def test_state_is_kept_by_text_keys_as_bytes_in_the_global_window(graph: dict[str, Any]) -> None:
    """No pickle: a class that moves or gets a field would be unreadable after an update."""
    keyed = {name: step for name, step in graph["steps"].items() if "keyed" in step}
    assert len(keyed) == 7
    assert {coder for step in keyed.values() for coder in step["takes"]} == {
        "kv:v1(string_utf8:v1, bytes:v1)"
    }
    assert {state["coder"] for step in keyed.values() for state in step["state"].values()} == {
        "bytes:v1"
    }
    assert graph["windows"] == ["beam:window_fn:global_windows:v1"]


def test_every_step_that_waits_for_time_ends_at_a_drain(graph: dict[str, Any]) -> None:
    """A timer that sets itself again keeps a drain from ending, unless one of event time stops it."""
    timers = [step["timers"] for step in graph["steps"].values() if "timers" in step]
    assert timers
    for kept in timers:
        assert kept["drain"]["domain"] == "EVENT_TIME"


def test_todays_forms_are_known() -> None:
    forms = known()["encoded"]
    assert list(forms) == list(SAMPLES), AGAIN
    for name, form in encoded_samples().items():
        assert form in forms[name], f"{name}: {AGAIN}"


@pytest.mark.parametrize(
    ("name", "form"), [(name, form) for name, forms in known()["encoded"].items() for form in forms]
)
def test_every_form_that_a_job_may_hold_is_read(name: str, form: str) -> None:
    """Field by field: what an older form lacks has its default."""
    sample = SAMPLES[name]
    read = sample.decode(bytes.fromhex(form))
    defaults = {field.name: field.default for field in msgspec.structs.fields(type(sample.value))}
    for field, default in defaults.items():
        assert getattr(read, field) in (getattr(sample.value, field), default), field


def test_samples_have_no_field_at_its_default() -> None:
    """Or a form that lost the field would pass for one that has it."""
    for name, sample in SAMPLES.items():
        for field in msgspec.structs.fields(type(sample.value)):
            assert getattr(sample.value, field.name) != field.default, f"{name}.{field.name}"
