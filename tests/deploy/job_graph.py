"""What of the job Dataflow compares when a running one is updated in place; written down.

`python -m tests.deploy.job_graph` rewrites `job_graph.json`. A change of that file is a change that
an update in place may not survive: see "Update" in deploy/flex_template/README.md.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2 as runner_api

from pipeline.exits import EXIT_DONE
from pipeline.run import run
from tests.deploy.google_cloud import google_cloud, options, staged, write_connectors
from tests.deploy.state_samples import encoded_samples

FILE = Path(__file__).parent / "job_graph.json"

Json = dict[str, Any]

_PARDO = common_urns.primitives.PAR_DO.urn
_NO_CONNECTORS: list[Json] = []


def submit(connectors: list[Json] = _NO_CONNECTORS) -> runner_api.Pipeline:
    """The pipeline that is staged for Dataflow when a streaming job is submitted."""
    with google_cloud() as cloud:
        code = run(["--connectors", write_connectors(cloud, connectors), *options(cloud)])
        assert code == EXIT_DONE
        return runner_api.Pipeline.FromString(staged(cloud, "pipeline.pb"))


def graph_of(pipeline: runner_api.Pipeline) -> Json:
    """Its steps by name, and those with state with that."""
    components = pipeline.components
    coders = _Coders(components)
    steps: Json = {}
    for step in components.transforms.values():
        if step.subtransforms or not step.spec.urn:
            continue
        steps[step.unique_name] = {
            "kind": step.spec.urn,
            "takes": sorted({coders.of_collection(name) for name in step.inputs.values()}),
            "gives": {
                tag: coders.of_collection(name) for tag, name in sorted(step.outputs.items())
            },
            **_kept(step, coders),
        }
    return {
        "steps": dict(sorted(steps.items())),
        "windows": sorted(
            {windows.window_fn.urn for windows in components.windowing_strategies.values()}
        ),
    }


def known() -> Json:
    """What the file says: `steps`, `windows`, and by its name each `encoded` form that ever was."""
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def with_todays_forms(encoded: dict[str, list[str]]) -> dict[str, list[str]]:
    """The forms that were and, after them, those that are new; a job may still hold any of them."""
    return {
        name: [*(old := encoded.get(name, [])), *([form] if form not in old else [])]
        for name, form in encoded_samples().items()
    }


class _Coders:
    """Coders in words."""

    def __init__(self, components: runner_api.Components) -> None:
        self._components = components

    def of_collection(self, name: str) -> str:
        return self.named(self._components.pcollections[name].coder_id)

    def named(self, name: str) -> str:
        coder = self._components.coders[name]
        parts = ", ".join(map(self.named, coder.component_coder_ids))
        urn = coder.spec.urn.removeprefix("beam:coder:")
        return f"{urn}({parts})" if parts else urn


def _kept(step: runner_api.PTransform, coders: _Coders) -> Json:
    """Its state and timers; a step that has such is keyed by what it takes."""
    if step.spec.urn != _PARDO:
        return {}
    pardo = runner_api.ParDoPayload.FromString(step.spec.payload)
    states = {name: _state(spec, coders) for name, spec in sorted(pardo.state_specs.items())}
    timers = {
        name.removeprefix("ts-"): {
            "domain": runner_api.TimeDomain.Enum.Name(spec.time_domain),
            "coder": coders.named(spec.timer_family_coder_id),
        }
        for name, spec in sorted(pardo.timer_family_specs.items())
    }
    return {"keyed": True, "state": states, "timers": timers} if states or timers else {}


def _state(spec: runner_api.StateSpec, coders: _Coders) -> Json:
    kind = spec.WhichOneof("spec")
    value = getattr(spec, kind)
    coder = value.element_coder_id if kind == "bag_spec" else value.coder_id
    return {"kind": kind.removesuffix("_spec"), "coder": coders.named(coder)}


def differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """What was there and is not any more, or not so, with its place; then what is new."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from differences(old.get(name), new.get(name), f"{place} > {name}".strip(" >"))
    elif old != new:
        yield f"{place}: {_shown(old)} became {_shown(new)}"


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)


def main(tell: Callable[[str], None] = print) -> None:
    """Write the file anew, and tell what has changed."""
    before = known() if FILE.exists() else {}
    forms = with_todays_forms(before.get("encoded", {}))
    after = {**graph_of(submit()), "encoded": forms}
    for line in differences(before, after):
        tell(line)
    FILE.write_text(json.dumps(after, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
