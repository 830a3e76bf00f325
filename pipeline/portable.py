"""Jobs on an engine behind Beam's Job API, as Flink is."""

import logging
import time
from collections.abc import Callable
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners.runner import PipelineState

from runtime.pull_leases import close_leases, stop_reading

RUNNERS = ("PortableRunner", "FlinkRunner")
"""The first with a job server of one's own, which is what the second starts where none is given."""
SETTLE_SECONDS = 60.0
QUIET_SECONDS = 8.0
"""How long what the books do not tell of may wait in the engine: invalid messages, for their file."""
_LOOK_SECONDS = 0.5

_logger = logging.getLogger(__name__)


class JobFailed(Exception):
    """The engine says that the job has failed."""


def works_here(options: PipelineOptions) -> bool:
    """Whether the engine's worker is this very process, so that its books are ours."""
    return options.view_as(PortableOptions).environment_type == "LOOPBACK"


def wait_until_running(result: Any) -> None:
    """Return when the engine has taken the job on.

    Raises:
        JobFailed: it has not.
    """
    while (state := result.state) != PipelineState.RUNNING:
        _raise_if_ended(state)
        time.sleep(_LOOK_SECONDS)


class Reading:
    """The pulls of this process, where it is the engine's worker: until they are stopped."""

    def __init__(self) -> None:
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        """Give back what was not acknowledged."""
        close_leases()

    def wait(self, result: Any, is_settled: Callable[[], bool]) -> None:
        """Return when reading was stopped and everything that was read has met its end.

        The engine's job goes on without us: Beam's `cancel` does not reach Flink.

        Raises:
            JobFailed: the job has ended by itself.
        """
        while not self._stopped:
            _raise_if_ended(result.state)
            time.sleep(_LOOK_SECONDS)
        until = time.monotonic() + SETTLE_SECONDS
        while not (stop_reading() and is_settled()) and time.monotonic() < until:
            _raise_if_ended(result.state)
            time.sleep(_LOOK_SECONDS)
        time.sleep(QUIET_SECONDS)
        result.cancel()
        _logger.warning("the engine's own job is left without a worker: cancel it there")


def _raise_if_ended(state: str) -> None:
    if PipelineState.is_terminal(state):
        raise JobFailed(f"the job is {state}; the engine's log says why")
