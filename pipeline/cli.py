"""The command line: `currents run`, `check` and `schema`."""

import ipaddress
import json
import logging
import sys

import click

from pipeline.options import RunOptions
from pipeline.run import EXIT_FAILED, EXIT_USAGE, UsageError
from pipeline.run import run as run_pipeline
from runtime.address import AddressPolicy
from runtime.connectors import ConfigError, connectors_schema, read_config, segment_overlaps


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="currents-pipeline")
def main() -> None:
    """Exports engagement events from Pub/Sub to partners, and loses none of them."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
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
    try:
        code = run_pipeline(list(arguments))
    except UsageError as error:
        click.echo(str(error), err=True)
        code = EXIT_USAGE
    except Exception as error:
        logging.getLogger("pipeline").debug("the run failed", exc_info=True)
        click.echo(f"the run failed: {type(error).__name__}: {error}", err=True)
        code = EXIT_FAILED
    sys.exit(code)


def _networks(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(network)) for network in given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@main.command()
@click.argument("connectors")
@click.option("--allow_network", multiple=True, metavar="CIDR", callback=_networks)
@click.option("--allow_local_partners", is_flag=True)
def check(connectors: str, allow_network: tuple[str, ...], allow_local_partners: bool) -> None:
    """Validate a connectors file; exit 2 where something is wrong with it."""
    try:
        config, problems = read_config(
            connectors, AddressPolicy(allow_network, allow_local_partners)
        )
    except ConfigError as error:
        problems, config = list(error.problems), None
    for problem in problems:
        click.echo(str(problem), err=True)
    if config is None or problems:
        sys.exit(EXIT_USAGE)
    for warning in segment_overlaps(config):
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{len(config.connectors)} connectors, version {config.version}: all valid")


@main.command()
def schema() -> None:
    """Print the JSON Schema of a connectors file."""
    click.echo(json.dumps(connectors_schema(), indent=2))
