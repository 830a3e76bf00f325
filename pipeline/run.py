"""Running the pipeline: check everything first, run, report, say how it ended."""

import argparse
import logging
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import click
import msgspec
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)

from pipeline import portable
from pipeline.display import showing
from pipeline.exits import EXIT_DONE, EXIT_FAILED, EXIT_HELD, UsageError
from pipeline.flink_options import FlinkOptions
from pipeline.forecast import forecast_lines
from pipeline.graph import Source, build
from pipeline.options import RunOptions, parse_options
from pipeline.progress import Goal, Look, Progress
from pipeline.run_options import DRY_RUN
from runtime.address import AddressPolicy
from runtime.config_store import ConfigStore
from runtime.connectors import ConfigError, ConnectorEntry, warnings_of
from runtime.files import NoSuchInput, expand_patterns
from runtime.forecast import make_forecast
from runtime.hold.bounded_release import held_lanes
from runtime.hold.objects import Depth
from runtime.jobs import new_job_name
from runtime.repeating import Repeating
from runtime.reporting import make_report
from runtime.secrets import SecretError, read_secret
from runtime.storage import StorageError, is_local, is_missing_folder, make_folder, write_whole
from runtime.subscriber import Subscriber
from runtime.worker import Worker, WorkerSettings, close_worker, worker_of
from schemas.lane import connector_of
from schemas.report import Report
from schemas.secret import is_reference
from transforms.direct_pubsub import read_through
from transforms.engine import Engine

MIN_EVENT_BYTES = 1_000

DATAFLOW = "DataflowRunner"
_SUBSCRIPTION = re.compile(r"projects/[a-z][-a-z0-9:.]{4,61}[a-z0-9]/subscriptions/[^/\s]+")
"""As Beam's own reader wants it."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run that was checked and can start."""

    source: Source
    settings: WorkerSettings
    options: PipelineOptions
    runner: str
    report: str | None
    report_every_seconds: float
    is_dry: bool = False


def run(arguments: list[str]) -> int:
    """Run the pipeline, or say what it would do, and return the exit code.

    Raises:
        UsageError: nothing was read.
    """
    plan = prepare(arguments)
    return _foretell(plan) if plan.is_dry else execute(plan)


def _foretell(plan: Run) -> int:
    settings = plan.settings
    store = ConfigStore(settings.connectors, settings.address_policy, 0, settings.historical)
    forecast = make_forecast(
        store.current(), plan.source.ranges, settings.max_event_bytes, time.time()
    )
    for line in forecast_lines(forecast):
        click.echo(line)
    return EXIT_FAILED if forecast.unread else EXIT_DONE


def execute(plan: Run) -> int:
    """Run what was prepared and return the exit code."""
    if _works_here(plan.source.engine, plan.runner, plan.options):
        return _run_here(plan)
    result = _start(plan)
    if plan.source.engine is Engine.PORTABLE:
        portable.wait_until_running(result)
    return EXIT_DONE


def _works_here(engine: Engine, runner: str, options: Any) -> bool:
    """Whether this process does the work; else the job is submitted, and goes on without us."""
    return portable.works_here(options) if engine is Engine.PORTABLE else runner != DATAFLOW


def _start(plan: Run) -> Any:
    pipeline = beam.Pipeline(options=plan.options)
    build(pipeline, plan.source, plan.settings)
    return pipeline.run()


def prepare(arguments: list[str]) -> Run:
    """Check options, connectors file, secrets and input.

    Raises:
        UsageError: something of it is wrong.
    """
    is_dry = DRY_RUN in arguments
    try:
        options = parse_options([given for given in arguments if given != DRY_RUN])
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from None
    ours = options.view_as(RunOptions)
    if is_dry and not ours.input:
        raise UsageError(f"{DRY_RUN} is for --input: what is in it is counted")
    _check_options(ours)
    engine, runner = _engine_of(options, ours)
    settings = _settings_of(ours, engine, runner)
    _check_connectors(settings, runner)
    try:
        ranges = expand_patterns(ours.input)
    except NoSuchInput as error:
        raise UsageError(str(error)) from None
    _say_defaults(ours, settings)
    if ours.report and runner == DATAFLOW:
        _logger.warning("--report is not written on Dataflow: its counters show the figures")
    standard = options.view_as(StandardOptions)
    standard.runner = runner
    standard.streaming = engine is not Engine.BOUNDED
    source = Source(engine, ours.subscription, ranges)
    return Run(source, settings, options, runner, ours.report, ours.report_every, is_dry)


def _check_options(ours: Any) -> None:
    if not ours.connectors:
        raise UsageError("--connectors is missing: the file that says who gets which events")
    if ours.max_event_bytes < MIN_EVENT_BYTES:
        raise UsageError(
            f"--max_event_bytes {ours.max_event_bytes}: at least {MIN_EVENT_BYTES} is allowed"
        )
    if ours.probe_min > ours.probe_max:
        raise UsageError(
            f"--probe_min {ours.probe_min:g} s is longer than --probe_max {ours.probe_max:g} s"
        )
    if ours.subscription and not _SUBSCRIPTION.fullmatch(ours.subscription):
        raise UsageError(
            f"--subscription {ours.subscription}: it has the form projects/P/subscriptions/S, "
            "where P is a project's id: 6 to 63 characters of a-z, 0-9 and -, a letter first"
        )


def _runner_of(options: PipelineOptions) -> str:
    runner = str(options.view_as(StandardOptions).runner or "DirectRunner")
    known = {name.rpartition(".")[2].lower() for name in StandardOptions.ALL_KNOWN_RUNNERS}
    if "." not in runner and runner.lower() not in known:
        raise UsageError(f"--runner {runner} is none that Beam knows")
    return runner


def _engine_of(options: PipelineOptions, ours: Any) -> tuple[Engine, str]:
    runner = _runner_of(options)
    if ours.subscription and ours.input:
        raise UsageError("--subscription and --input exclude each other")
    if runner == DATAFLOW:
        if not options.view_as(GoogleCloudOptions).project:
            raise UsageError("--project is missing: DataflowRunner wants it")
        return (Engine.DISTRIBUTED if ours.subscription else Engine.BOUNDED), runner
    if ours.subscription and runner in portable.RUNNERS:
        if not options.view_as(PortableOptions).job_endpoint:
            raise UsageError(f"--job_endpoint is missing: {runner} sends the job there")
        options.view_as(FlinkOptions).set_defaults()
        return Engine.PORTABLE, portable.RUNNERS[0]
    if ours.subscription:
        if runner not in ("DirectRunner", "BundleBasedDirectRunner"):
            raise UsageError(f"--subscription on {runner} is not known to work; use DirectRunner")
        return Engine.DIRECT, "BundleBasedDirectRunner"
    return Engine.BOUNDED, "FnApiRunner" if runner == "DirectRunner" else runner


def _settings_of(ours: Any, engine: Engine, runner: str) -> WorkerSettings:
    hold, dead_letters = ours.hold, ours.dead_letters
    if engine is Engine.BOUNDED and runner != DATAFLOW:
        hold, dead_letters = hold or "./held", dead_letters or "./dead-letters"
    places = (("hold", hold), ("dead_letters", dead_letters), ("connectors", ours.connectors))
    for name, value in places:
        if not value:
            who = DATAFLOW if engine is Engine.BOUNDED else "a streaming run"
            raise UsageError(f"--{name} is missing: {who} wants it")
        if runner == DATAFLOW and is_local(value):
            raise UsageError(f"--{name} {value} is a local path: workers do not share one")
    return WorkerSettings(
        connectors=ours.connectors,
        hold=hold,
        dead_letters=dead_letters,
        job=new_job_name(here=_works_here(engine, runner, ours)),
        config_refresh_seconds=ours.config_refresh,
        max_event_age_seconds=ours.max_event_age,
        late_events=ours.late_events,
        probe_min_seconds=ours.probe_min,
        probe_max_seconds=ours.probe_max,
        streaming=engine is not Engine.BOUNDED,
        alert_webhook=ours.alert_webhook,
        max_event_bytes=ours.max_event_bytes,
        historical=ours.historical,
        redact_dead_letters=ours.redact_dead_letters,
        address_policy=AddressPolicy(tuple(ours.allow_network), ours.allow_local_partners),
    )


def _say_defaults(ours: Any, settings: WorkerSettings) -> None:
    for name in ("hold", "dead_letters"):
        if not getattr(ours, name):
            _logger.warning("--%s is not given: %s is used", name, getattr(settings, name))


def _check_connectors(settings: WorkerSettings, runner: str) -> None:
    """Everything that can be known to be wrong before a message is read."""
    try:
        store = ConfigStore(settings.connectors, settings.address_policy, 0)
    except ConfigError as error:
        raise UsageError("\n".join(map(str, error.problems))) from None
    for warning in warnings_of(store.current()):
        _logger.warning("%s", warning)
    problems = [
        f"connector {name!r}: {problem}"
        for name, entry in store.current().connectors.items()
        if entry.settings.enabled
        for problem in _entry_problems(entry, runner)
    ]
    webhook = settings.alert_webhook
    if webhook is not None and is_reference(webhook):
        problems += [f"--alert_webhook: {problem}" for problem in _secret_problems(webhook, runner)]
    if problems:
        raise UsageError("\n".join(problems))


def _entry_problems(entry: ConnectorEntry, runner: str) -> Iterator[str]:
    for reference in entry.references:
        yield from _secret_problems(reference, runner)
    for place in entry.settings.storage_places():
        if runner == DATAFLOW and is_local(place):
            yield f"path: {place} is a local path: workers do not share one"


def _secret_problems(reference: str, runner: str) -> Iterator[str]:
    if runner == DATAFLOW:  # workers have neither our environment nor our files
        if not reference.startswith("gcp-secret:"):
            yield f"{reference}: on DataflowRunner a secret is gcp-secret:projects/P/secrets/S/versions/V"
        return
    try:
        read_secret(reference)
    except SecretError as error:
        yield str(error)


def _run_here(plan: Run) -> int:
    _make_folders(plan.settings)
    _check_report(plan)
    worker = worker_of(plan.settings)
    started = time.time()
    reading = _reading(plan, worker)
    with _stopping(reading) as stop:  # to the very end: no second Ctrl-C may cost the report
        try:
            with _reporting(plan, worker, started, stop):
                result = _start(plan)
                if isinstance(reading, portable.Reading):
                    reading.wait(result, lambda: _report(plan, worker, started).balanced)
                else:
                    result.wait_until_finish()
        finally:  # a run that failed has a report too
            try:
                reading.close()
                report = _report(plan, worker, started)
            finally:
                close_worker(plan.settings)
        return _exit_code(plan, worker, report)


class _BoundedReading:
    """What reads files or dead letters: stopped, what was read of them is still delivered or held."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def stop(self) -> None:
        self._worker.stopping.set()

    def close(self) -> None:
        """Nothing is left open."""


_Reading = Subscriber | portable.Reading | _BoundedReading


def _reading(plan: Run, worker: Worker) -> _Reading:
    """What reads in this process, and can be stopped."""
    if plan.source.engine is Engine.PORTABLE:
        return portable.Reading()
    if not plan.source.subscription:
        return _BoundedReading(worker)
    subscriber = Subscriber(plan.source.subscription, worker.receipts)
    read_through(subscriber)
    return subscriber


def _make_folders(settings: WorkerSettings) -> None:
    """So that it shows at once whether they can be, and `status` finds them though they are empty."""
    for name, place in (("hold", settings.hold), ("dead_letters", settings.dead_letters)):
        try:
            make_folder(place)
        except StorageError as error:
            raise UsageError(f"--{name} cannot be written: {error}") from None


def _check_report(plan: Run) -> None:
    if plan.report and not is_missing_folder(plan.report):
        raise UsageError(f"--report {plan.report} is a folder: give a file in it")


def _exit_code(plan: Run, worker: Worker, report: Report) -> int:
    lanes = held_lanes(worker)  # one that cannot be listed is not empty: it is among the unread
    if worker.ledger.unread or not report.balanced:
        _logger.error("not every event is accounted for: see the report and the log")
        return EXIT_FAILED
    counted = sum(connector.held for connector in report.connectors.values())
    if counted or lanes:
        _logger.warning(
            "%d events are held in %s; the next run delivers them",
            max(counted, _held_in(worker, lanes)),
            plan.settings.hold,
        )
        return EXIT_HELD
    return EXIT_DONE


def _held_in(worker: Worker, lanes: Sequence[str]) -> int:
    """All that the hold has, what other runs have left there included."""
    try:
        return sum(Depth.of(worker.hold.files(lane)).events for lane in lanes)
    except StorageError:
        return 0


def _books(plan: Run, worker: Worker, started: float) -> Report:
    config = worker.config
    return make_report(
        worker.ledger.read(), config.current(), config.throughout, started, plan.runner
    )


def _report(plan: Run, worker: Worker, started: float) -> Report:
    """The books as they stand, written where `--report` says."""
    report = _books(plan, worker, started)
    if plan.report:
        text = msgspec.json.format(msgspec.json.encode(report), indent=1)
        try:
            write_whole(plan.report, text)
        except StorageError as error:  # the events matter more
            _logger.error("--report cannot be written: %s", error)
    return report


class _Stop:
    """What a signal calls: only the first one does something, for a lock may be held at the next."""

    def __init__(self, reading: _Reading) -> None:
        self.has_come = False
        self._reading = reading

    def __call__(self, *_: object) -> None:
        if not self.has_come:
            self.has_come = True
            self._reading.stop()


@contextmanager
def _stopping(reading: _Reading) -> Iterator[_Stop]:
    """SIGINT and SIGTERM end the reading, and not what follows it."""
    stop = _Stop(reading)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _reporting(plan: Run, worker: Worker, started: float, stop: _Stop) -> Iterator[None]:
    """Write the report every few seconds, and show how far the run is."""

    def write() -> None:
        _report(plan, worker, started)

    def look() -> None:
        progress.take(_look(plan, worker, started, stop.has_come))

    progress = Progress(_goal_of(plan.source))
    repeating = Repeating("report", plan.report_every_seconds, write)
    with showing(progress, look):
        if plan.report:
            repeating.start()
        try:
            yield
        finally:
            repeating.close()


def _goal_of(source: Source) -> Goal | None:
    """What is to be read in all; None where nobody knows, and where only the hold is emptied."""
    if source.replay is not None:
        return Goal(sum(len(part.positions) for part in source.replay.parts), "events")
    return Goal(sum(part.size for part in source.ranges), "bytes") if source.ranges else None


def _look(plan: Run, worker: Worker, started: float, stopping: bool) -> Look:
    report = _books(plan, worker, started)
    done = report.received if plan.source.replay is not None else worker.input_read.bytes
    return Look(time.monotonic(), report, done, dict(_states(worker)), stopping)


def _states(worker: Worker) -> Iterator[tuple[str, str]]:
    """Of connectors that have a suspended or resuming lane; suspended is the worse of them."""
    for state in ("resuming", "suspended"):
        for lane in worker.suspensions.lanes():
            if worker.suspensions.state_of(lane) == state:
                yield connector_of(lane), state
