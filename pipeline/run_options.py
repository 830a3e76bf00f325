"""The options of `currents run`, without Beam: so that help and completion come at once."""

import argparse
import functools
import ipaddress
from collections.abc import Iterator

from runtime.worker import WorkerSettings
from schemas.connector import Seconds, Url

_DEFAULTS = WorkerSettings(connectors="", hold="", dead_letters="")

REPORT_SECONDS = 5.0

DRY_RUN = "--dry_run"
"""Beam has an option of this name, for its own tests: ours is taken out before Beam looks."""


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser what a deployment says of itself."""
    add = parser.add_argument
    add("--connectors", help="the connectors file: a path or storage URI, YAML or JSON")
    add("--subscription", help="projects/P/subscriptions/S: events stream in from Pub/Sub")
    add(
        "--input",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="files of JSON lines (.gz too) and archived .avro",
    )
    add("--hold", help="where undelivered events are held (a file run: ./held)")
    add("--dead_letters", help="where dead letters are written (a file run: ./dead-letters)")
    add("--report", help="a file to write the report to, as JSON")
    add_time = functools.partial(add, type=_time, metavar="TIME")
    add_time(
        "--report_every",
        default=Seconds(REPORT_SECONDS),
        help="how often it is rewritten while events stream; 5 s by default",
    )
    add_time(
        "--config_refresh",
        default=Seconds(_DEFAULTS.config_refresh_seconds),
        help="how often the connectors file is read again; 30 s by default",
    )
    add_time(
        "--max_event_age",
        default=Seconds(_DEFAULTS.max_event_age_seconds),
        help="how long an event is tried after its publishing; 48 h by default",
    )
    add(
        "--late_events",
        choices=["bury", "deliver"],
        default=_DEFAULTS.late_events,
        help="what becomes of events that are older than that when they arrive; "
        "deliver gives them one try, for a backlog after an outage of our own",
    )
    add_time(
        "--probe_min",
        default=Seconds(_DEFAULTS.probe_min_seconds),
        help="the shortest wait between two probes of a suspended lane; 30 s by default",
    )
    add_time(
        "--probe_max",
        default=Seconds(_DEFAULTS.probe_max_seconds),
        help="the longest one; 30 min by default",
    )
    add(
        "--alert_webhook",
        type=_webhook,
        metavar="URL",
        help="alerts are posted there as JSON besides being logged; a URL that holds a key is "
        "given as a secret's reference",
    )
    add(
        "--max_event_bytes",
        type=int,
        default=_DEFAULTS.max_event_bytes,
        metavar="BYTES",
        help=f"a larger message is a dead letter; {_DEFAULTS.max_event_bytes} by default",
    )
    add(
        "--historical",
        action="store_true",
        help="for a backfill: events of over 72 hours go where mParticle takes such ones",
    )
    add(
        "--redact_dead_letters",
        action="store_true",
        help="dead letters hide what their connector's partner must not see (redact); else "
        "they keep the event as it came",
    )
    add(
        "--allow_network",
        action="append",
        default=[],
        type=_network,
        metavar="CIDR",
        help="addresses that partners may have though they are not public; may be repeated",
    )
    add(
        "--allow_local_partners",
        action="store_true",
        help="partners may have loopback addresses and plain http: for tests",
    )


def run_help() -> str:
    """What `currents run` takes, for people to read."""
    return _parser().format_help() + _EPILOG


def run_option_names() -> Iterator[tuple[str, str]]:
    """Each option of `currents run`, with what it is for."""
    for action in _parser()._actions:  # noqa: SLF001 - argparse has no other way to list them
        yield action.option_strings[0], action.help or ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("currents run", usage=_USAGE, add_help=False)
    add_run_options(parser)
    parser.add_argument(
        DRY_RUN,
        action="store_true",
        help="only say how many events of --input would go where; nothing is sent or written",
    )
    return parser


_USAGE = """currents run --connectors F [--subscription S | --input GLOB ...] [options]

Delivers the events of a Pub/Sub subscription or of files. With neither, it delivers what the hold
has and ends. Beam's own options (--runner, --project, ...) are taken beside these.

--runner: DirectRunner (this process; the default), DataflowRunner, or PortableRunner with
--job_endpoint: an engine behind Beam's Job API, which was tried with Flink (see deploy/flink).
There, --environment_type=LOOPBACK makes this process the engine's worker and writes --report;
with others the job is submitted and left to the engine."""

_EPILOG = """
examples:
  currents run --connectors connectors.yaml --input 'events/*.ndjson' --hold held --dead_letters dead
  currents run --connectors connectors.yaml --subscription projects/my-project/subscriptions/events \\
               --hold gs://my-bucket/held --dead_letters gs://my-bucket/dead
  currents run --connectors connectors.yaml --hold held --dead_letters dead --report report.json
  currents run --connectors connectors.yaml --input 'archive/**/*.avro' --historical --dry_run

exit codes:
  0  every event was delivered, filtered or buried
  3  some events are held; the next run with the same --hold goes on with them
  2  bad usage or connectors file, or a secret that is not there; nothing was read
  1  the run failed, its books do not balance, or not all of the input was read
"""


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _webhook(text: str) -> Url:
    try:
        return Url.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _time(text: str) -> Seconds:
    try:
        seconds = Seconds.parse(f"{text} s" if text[-1:].isdigit() else text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not seconds:
        raise argparse.ArgumentTypeError("a time above zero is needed")
    return seconds
