"""The options of `currents run`; Beam's own pass through beside them."""

import argparse
import functools
import ipaddress

from apache_beam.options.pipeline_options import PipelineOptions

from runtime.worker import WorkerSettings
from schemas.connector import Seconds, Url

_DEFAULTS = WorkerSettings(connectors="", hold="", dead_letters="")

DRY_RUN = "--dry_run"
"""Beam has an option of this name, for its own tests: ours is taken out before Beam looks."""


class RunOptions(PipelineOptions):  # type: ignore[misc]
    """What a deployment says of itself."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
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

    @classmethod
    def help_text(cls) -> str:
        """What `currents run` takes, for people to read."""
        parser = argparse.ArgumentParser("currents run", usage=_USAGE, add_help=False)
        cls._add_argparse_args(parser)
        parser.add_argument(
            DRY_RUN,
            action="store_true",
            help="only say how many events of --input would go where; nothing is sent or written",
        )
        return parser.format_help() + _EXIT_CODES


_USAGE = """currents run --connectors F [--subscription S | --input GLOB ...] [options]

Delivers the events of a Pub/Sub subscription or of files. With neither, it delivers what the hold
has and ends. Beam's own options (--runner, --project, ...) are taken beside these.

--runner: DirectRunner (this process; the default), DataflowRunner, or PortableRunner with
--job_endpoint: an engine behind Beam's Job API, which was tried with Flink (see deploy/flink).
There, --environment_type=LOOPBACK makes this process the engine's worker and writes --report;
with others the job is submitted and left to the engine."""

_EXIT_CODES = """
exit codes: 0 all delivered or dead-lettered, 3 something is held, 2 bad usage or connectors file,
1 the rest
"""


def parse_options(arguments: list[str]) -> PipelineOptions:
    """The options that the arguments give; Beam would drop what it does not know.

    Raises:
        argparse.ArgumentError: one is unknown, or its value is not what it takes.
    """

    def check(parser: argparse.ArgumentParser) -> None:
        parser.exit_on_error = False
        _, unknown = parser.parse_known_args(arguments)
        if unknown:
            name = unknown[0].partition("=")[0]
            raise argparse.ArgumentError(None, f"unknown option {name}; see currents run --help")

    options = PipelineOptions(arguments)
    options.get_all_options(add_extra_args_fn=check)
    return options


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
