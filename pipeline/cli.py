"""The command line: `currents run`, `status`, `replay`, `check` and `schema`."""

import contextlib
import datetime
import functools
import ipaddress
import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from pipeline.display import StderrHandler
from pipeline.explain import explanation_lines
from pipeline.forecast import tell_forecast
from pipeline.options import RunOptions
from pipeline.probe import probe_line, tested_lines
from pipeline.replay import Order, replay_letters
from pipeline.run import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, UsageError
from pipeline.run import run as run_pipeline
from pipeline.status import show_status
from runtime.address import AddressPolicy
from runtime.clock import now_ms
from runtime.connectors import (
    Config,
    ConfigError,
    ConnectorEntry,
    connectors_schema,
    read_config,
    segment_overlaps,
    with_historical,
)
from runtime.explaining import explain as explain_event
from runtime.files import NoSuchInput, expand_patterns
from runtime.probing import Probed, Prober
from runtime.replay import Wanted
from runtime.secrets import SecretError
from runtime.showing import pretty
from schemas.connector import Seconds
from schemas.limits import MAX_EVENT_BYTES


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="currents-pipeline")
def main() -> None:
    """Exports engagement events from Pub/Sub to partners, and loses none of them."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        handlers=[StderrHandler()],
    )
    for name in ("pipeline", "runtime", "transforms"):
        logging.getLogger(name).setLevel(logging.INFO)


@main.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the pipeline: --connectors F and --subscription S, --input GLOB, or neither."""
    if not {"-h", "--help"}.isdisjoint(arguments):
        click.echo(RunOptions.help_text())
        return
    code = _code_of(lambda: run_pipeline(list(arguments)))
    for number in (signal.SIGINT, signal.SIGTERM):  # the code is what counts now
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _code_of(command: Callable[[], int]) -> int:
    """The exit code of a command that runs the pipeline; what it raises is told in a line."""
    try:
        return command()
    except UsageError as error:
        click.echo(str(error), err=True)
        return EXIT_USAGE
    except Exception as error:
        logging.getLogger("pipeline").debug("the run failed", exc_info=True)
        click.echo(f"the run failed: {type(error).__name__}: {error}", err=True)
        return EXIT_FAILED


def _seconds(_: click.Context, __: click.Parameter, given: str) -> Seconds:
    try:
        return Seconds.parse(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@main.command()
@click.option("--hold", required=True, metavar="D", help="the folder of what is held")
@click.option("--json", "as_json", is_flag=True, help="for programs: all that is known")
@click.option(
    "--max_event_age",
    default="48h",
    show_default=True,
    callback=_seconds,
    metavar="TIME",
    help="as given to the run, for lanes of which only their files are known",
)
def status(hold: str, as_json: bool, max_event_age: Seconds) -> None:
    """Show what is held, why, and when it becomes dead letters; exit 2 if it cannot be read."""
    sys.exit(show_status(hold, as_json, max_event_age, now_ms()))


def _moment(_: click.Context, __: click.Parameter, given: str | None) -> int | None:
    """Milliseconds since the epoch of a date or time (UTC by default), or of so long ago."""
    if given is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(given.replace("Z", "+00:00"))
    except ValueError:
        return _so_long_ago(given)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return round(moment.timestamp() * 1_000)


def _so_long_ago(given: str) -> int:
    try:
        seconds = Seconds.parse(given if given[-1:].isalpha() else f"{given} without a unit")
    except ValueError:
        raise click.BadParameter(
            f"2026-11-25, 2026-11-25T08:30Z or, so long ago, 48h; found {given!r}"
        ) from None
    return round((time.time() - seconds) * 1_000)


@main.command(
    context_settings={"ignore_unknown_options": True},
    epilog="The options of `currents run` are taken beside --connectors: --hold, --report, ...",
)
@click.option("--dead_letters", required=True, metavar="D", help="the folder of dead letters")
@click.option("--connectors", metavar="F", help="the connectors file: the events are sent")
@click.option("--to", metavar="FILE", help="the events are written there as JSON lines, not sent")
@click.option("--connector", multiple=True, metavar="N", help="letters of this connector")
@click.option("--reason", multiple=True, metavar="R", help="letters with this reason")
@click.option("--event_type", multiple=True, metavar="T", help="events of this type, or pattern")
@click.option("--since", callback=_moment, metavar="TIME", help="buried at this time or later")
@click.option("--until", callback=_moment, metavar="TIME", help="buried before this time")
@click.option("--again", is_flag=True, help="letters that were replayed before too")
@click.option("--dry_run", is_flag=True, help="only say how many; nothing is sent or written")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="EVENTS_PER_S",
    help="read no more events a second than this",
)
@click.argument("run_options", nargs=-1, type=click.UNPROCESSED)
def replay(
    dead_letters: str,
    connectors: str | None,
    to: str | None,
    connector: tuple[str, ...],
    reason: tuple[str, ...],
    event_type: tuple[str, ...],
    since: int | None,
    until: int | None,
    again: bool,
    dry_run: bool,
    rate: float | None,
    run_options: tuple[str, ...],
) -> None:
    """Feed dead letters in again, each to the connector that failed, or write them out."""
    order = Order(
        dead_letters=dead_letters,
        wanted=Wanted(connector, reason, event_type, since, until),
        again=again,
        dry_run=dry_run,
        rate=rate,
        connectors=connectors,
        to=to,
        run_options=run_options,
    )
    sys.exit(_code_of(lambda: replay_letters(order, click.echo)))


def _networks(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(network)) for network in given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _reaching(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of which addresses it may reach, as its `policy`."""

    @click.option("--allow_network", multiple=True, metavar="CIDR", callback=_networks)
    @click.option("--allow_local_partners", is_flag=True)
    @functools.wraps(command)
    def with_policy(
        *, allow_network: tuple[str, ...], allow_local_partners: bool, **given: Any
    ) -> None:
        command(policy=AddressPolicy(allow_network, allow_local_partners), **given)

    return with_policy


@main.command()
@click.argument("connectors")
@_reaching
@click.option(
    "--input", "patterns", multiple=True, metavar="GLOB", help="count what would go where"
)
@click.option("--historical", is_flag=True, help="as given to the run that would read the input")
@click.option("--probe", "probes", is_flag=True, help="try every connector without an event")
@click.option("--json", "as_json", is_flag=True, help="for programs: what the probes have shown")
def check(
    connectors: str,
    policy: AddressPolicy,
    patterns: tuple[str, ...],
    historical: bool,
    probes: bool,
    as_json: bool,
) -> None:
    """Validate a connectors file; exit 2 where something is wrong with it.

    With --probe, secrets are read and each partner gets a request that does no harm; exit 1 where one
    of them refuses it or does not answer.
    """
    config = _valid_config(connectors, policy)
    for warning in segment_overlaps(config):
        click.echo(f"warning: {warning}", err=True)
    click.echo(
        f"{len(config.connectors)} connectors, version {config.version}: all valid", err=as_json
    )
    if probes:
        code = _probe(config, policy, as_json)
        if code or not patterns:
            sys.exit(code)
    if patterns:
        sys.exit(_foretell(with_historical(config) if historical else config, patterns))


def _probe(config: Config, policy: AddressPolicy, as_json: bool) -> int:
    found: list[Probed] = []
    with contextlib.closing(Prober(policy)) as prober:
        for probed in prober.probe(config):
            found.append(probed)
            if not as_json:
                click.echo(probe_line(probed))
    if as_json:
        click.echo(pretty({"probes": found}))
    failed = any(probed.result in ("refused", "no_answer") for probed in found)
    return EXIT_FAILED if failed else EXIT_DONE


@main.command("send-test")
@click.argument("connectors")
@click.option("--connector", required=True, metavar="N", help="the connector that gets the events")
@_reaching
def send_test(connectors: str, connector: str, policy: AddressPolicy) -> None:
    """Send an event of each type that a connector takes, marked as a test.

    They are real requests with placeholder values, of the user `currents-test` and with the property
    `currents_test`; avro_files writes real files. Exit 1 where one was refused.
    """
    config = _valid_config(connectors, policy)
    entry = _entry_of(config, connector)
    with contextlib.closing(Prober(policy)) as prober:
        try:
            tested = prober.send_test(config, connector)
        except SecretError as error:
            click.echo(str(error), err=True)
            sys.exit(EXIT_USAGE)
    for line in tested_lines(tested, entry.sink.proves_delivery):
        click.echo(line)
    sys.exit(EXIT_FAILED if tested.refused else EXIT_DONE)


def _entry_of(config: Config, connector: str) -> ConnectorEntry:
    if connector not in config.connectors:
        known = ", ".join(config.connectors) or "none"
        raise click.UsageError(f"there is no connector {connector!r}; there are: {known}")
    return config.connectors[connector]


def _valid_config(connectors: str, policy: AddressPolicy) -> Config:
    """The connectors of a file; ends the command where something is wrong with it."""
    try:
        config, problems = read_config(connectors, policy)
    except ConfigError as error:
        problems, config = list(error.problems), None
    for problem in problems:
        click.echo(str(problem), err=True)
    if config is None or problems:
        sys.exit(EXIT_USAGE)
    return config


def _foretell(config: Config, patterns: Sequence[str]) -> int:
    try:
        ranges = expand_patterns(patterns)
    except NoSuchInput as error:
        click.echo(str(error), err=True)
        return EXIT_USAGE
    whole = tell_forecast(config, ranges, MAX_EVENT_BYTES, click.echo)
    return EXIT_DONE if whole else EXIT_FAILED


@main.command()
@click.argument("connectors")
@click.option("--connector", required=True, metavar="N", help="the connector that gets the event")
@click.option("--event", required=True, metavar="E.json", help="a file with one event; - for stdin")
@click.option("--json", "as_json", is_flag=True, help="for programs: all that is known")
@_reaching
def explain(
    connectors: str,
    connector: str,
    event: str,
    as_json: bool,
    policy: AddressPolicy,
) -> None:
    """Show which rules an event meets, the request that it becomes, and how near the limits are.

    Nothing is sent, and no secret is read: in the request each is its reference.
    """
    config = _valid_config(connectors, policy)
    _entry_of(config, connector)
    try:
        with click.open_file(event, "rb") as file:
            message = file.read()
    except OSError as error:
        raise click.UsageError(f"--event {event}: {error.strerror}") from None
    explanation = explain_event(config, connector, message, MAX_EVENT_BYTES)
    if as_json:
        click.echo(pretty(explanation))
        return
    for line in explanation_lines(explanation):
        click.echo(line)


@main.command()
def schema() -> None:
    """Print the JSON Schema of a connectors file."""
    click.echo(json.dumps(connectors_schema(), indent=2))
