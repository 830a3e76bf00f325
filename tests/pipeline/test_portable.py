"""What we make of a job's states; the engine is a list of them."""

import threading

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from pipeline import portable
from pipeline.portable import JobFailed, Reading, wait_until_running, works_here
from runtime.pull_leases import close_leases, leases_of
from sandbox.pubsub import EmbeddedPubSub
from tests.pipeline.running import SUBSCRIPTION, make_subscription, publish


class Job:
    """A job on some engine: the states that it shows one after the other, the last for ever."""

    def __init__(self, *states: str) -> None:
        self._states = list(states)
        self.cancelled = threading.Event()

    @property
    def state(self) -> str:
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]

    def cancel(self) -> None:
        self.cancelled.set()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(portable, "QUIET_SECONDS", 0.01)


def test_a_job_is_submitted_when_it_runs() -> None:
    job = Job(PipelineState.STOPPED, PipelineState.STARTING, PipelineState.RUNNING)
    wait_until_running(job)
    assert job.state == PipelineState.RUNNING


@pytest.mark.parametrize("state", [PipelineState.FAILED, PipelineState.CANCELLED])
def test_a_job_that_the_engine_did_not_take_is_a_failure(state: str) -> None:
    with pytest.raises(JobFailed, match=state):
        wait_until_running(Job(PipelineState.STARTING, state))


def test_a_job_that_ends_by_itself_is_a_failure() -> None:
    with pytest.raises(JobFailed, match="FAILED"):
        Reading().wait(Job(PipelineState.RUNNING, PipelineState.FAILED), lambda: True)


@pytest.mark.filterwarnings("ignore:The return_immediately flag:DeprecationWarning")
def test_an_interrupt_waits_until_all_that_was_read_is_acknowledged_and_settled(
    pubsub: EmbeddedPubSub,
) -> None:
    assert pubsub.address
    publisher = make_subscription()
    publish(publisher, [b"one"])
    publisher.stop()
    publisher.transport.close()
    leases = leases_of(SUBSCRIPTION, 0)
    first = leases.begin(0)
    assert len(first.pull(10)) == 1

    settled = threading.Event()
    reading, job = Reading(), Job(PipelineState.RUNNING)
    waiting = threading.Thread(target=lambda: reading.wait(job, settled.is_set))
    waiting.start()
    reading.stop()
    assert not job.cancelled.wait(0.1)
    first.commit()
    leases.begin(1).commit()
    assert not job.cancelled.wait(0.1)
    settled.set()
    assert job.cancelled.wait(5)
    waiting.join()
    close_leases()


def test_what_never_settles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "SETTLE_SECONDS", 0.05)
    reading, job = Reading(), Job(PipelineState.RUNNING)
    reading.stop()
    reading.wait(job, lambda: False)
    assert job.cancelled.is_set()


def test_only_in_a_loopback_are_the_engines_books_ours() -> None:
    def options(environment: str) -> PipelineOptions:
        return PipelineOptions(["--environment_type", environment])

    assert works_here(options("LOOPBACK"))
    assert not works_here(options("EXTERNAL"))
