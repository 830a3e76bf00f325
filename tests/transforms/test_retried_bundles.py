"""A bundle that fails and is retried: counted once, delivered at least once, nothing acknowledged
before its effect."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.cloud import pubsub_v1

from sandbox.partners import PartnerSandbox
from sandbox.pubsub import EmbeddedPubSub
from sandbox.samples import sample_events
from tests.pipeline.running import (
    SUBSCRIPTION,
    eventually,
    held_events,
    ids_of,
    publish,
)
from tests.transforms.streaming_run import balanced, postbacks, streaming_run
from transforms import decode_and_route, deliver_batches, gather_and_write

EVENTS = list(sample_events(300, seed=8))


def failing(method: Callable[..., Any], times: int, after: bool) -> Callable[..., Any]:
    """A `finish_bundle` or `process` that fails `times` times, before or after its own work."""
    left = [times]

    def work(self: Any, *arguments: Any) -> Any:
        fails = left[0] > 0
        left[0] -= fails
        outputs = [] if fails and not after else list(method(self, *arguments) or ())
        if fails:
            raise RuntimeError("broken on purpose")
        return iter(outputs)

    return work


def test_a_step_that_fails_before_its_effect_is_retried_and_counts_once(
    monkeypatch: pytest.MonkeyPatch,
    pubsub: EmbeddedPubSub,
    publisher: pubsub_v1.PublisherClient,
    hook_and_down: PartnerSandbox,
    tmp_path: Path,
) -> None:
    broken = failing(decode_and_route._DecodeFn.process, times=2, after=True)
    monkeypatch.setattr(decode_and_route._DecodeFn, "process", broken)
    with streaming_run(tmp_path, postbacks(hook_and_down)) as run:
        publish(publisher, [*EVENTS, b"no event"])
        assert eventually(lambda: pubsub.acknowledged(SUBSCRIPTION) == 301)
        run.end()
        reports = balanced(run)
    assert reports["hook"].offered == reports["hook"].delivered == 300
    assert reports["down"].offered == reports["down"].held == 300
    assert sorted(hook_and_down.accepted_ids("hook")) == sorted(ids_of(EVENTS))
    assert sorted(ids_of(held_events(tmp_path, "down"))) == sorted(ids_of(EVENTS))


@pytest.mark.parametrize(
    ("step", "after"),
    [
        (decode_and_route._DecodeFn, True),
        (deliver_batches._DeliverByTimerFn, False),
        (gather_and_write._GatherInBackgroundFn, False),
        (gather_and_write._GatherInBackgroundFn, True),
    ],
)
def test_a_step_that_fails_after_its_effect_loses_nothing(
    step: type[Any],
    after: bool,
    monkeypatch: pytest.MonkeyPatch,
    publisher: pubsub_v1.PublisherClient,
    hook_and_down: PartnerSandbox,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(step, "finish_bundle", failing(step.finish_bundle, 2, after))
    with streaming_run(tmp_path, postbacks(hook_and_down)) as run:
        publish(publisher, EVENTS)
        assert eventually(
            lambda: (
                set(hook_and_down.accepted_ids("hook")) == set(ids_of(EVENTS))
                and set(ids_of(held_events(tmp_path, "down"))) == set(ids_of(EVENTS))
            )
        )
        run.end()
    assert set(hook_and_down.accepted_ids("hook")) == set(ids_of(EVENTS))
    assert set(ids_of(held_events(tmp_path, "down"))) == set(ids_of(EVENTS))
