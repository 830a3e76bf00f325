"""`currents check`: is a connectors file valid, do its partners answer, what would files become."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from pipeline.connectors import read_connectors
from pipeline.exits import EXIT_DONE, EXIT_FAILED, EXIT_USAGE
from pipeline.forecast import forecast_as_json, forecast_lines, forecast_of
from pipeline.probe import probe_line
from runtime.address import AddressPolicy
from runtime.connectors import Config, warnings_of, with_historical
from runtime.forecast import Forecast
from runtime.probing import Probed, Prober
from runtime.showing import pretty
from schemas.limits import MAX_EVENT_BYTES


@dataclass
class _Found:
    """What is known in the end, for programs."""

    valid: bool = False
    version: str = ""
    connectors: list[str] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    probes: list[Probed] | None = None
    forecast: Any = None


def check_connectors(
    connectors: str,
    policy: AddressPolicy,
    patterns: Sequence[str],
    historical: bool,
    probes: bool,
    as_json: bool,
) -> int:
    """Check what is asked for, print what was found, and return the exit code.

    Raises:
        UsageError: the input is not there.
    """
    found = _Found()
    config, problems = read_connectors(connectors, policy)
    found.problems = [
        {"connector": one.connector, "field": one.field, "text": one.text} for one in problems
    ]
    if config is None or problems:
        for problem in problems:
            click.echo(str(problem), err=True)
        _print(found, as_json)
        return EXIT_USAGE
    found.valid, found.version, found.connectors = True, config.version, list(config.connectors)
    found.warnings = [str(warning) for warning in warnings_of(config)]
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    count = len(config.connectors)
    _say(
        as_json,
        f"{count} connector{'' if count == 1 else 's'}, version {config.version}: all valid",
    )
    codes = [EXIT_DONE]
    if probes:
        found.probes = _probe(config, policy, as_json)
        failed = any(probed.result in ("refused", "no_answer") for probed in found.probes)
        codes.append(EXIT_FAILED if failed else EXIT_DONE)
    if patterns:
        forecast = forecast_of(
            with_historical(config) if historical else config, patterns, MAX_EVENT_BYTES
        )
        found.forecast = forecast_as_json(forecast)
        _tell(forecast, as_json)
        codes.append(EXIT_FAILED if forecast.unread else EXIT_DONE)
    _print(found, as_json)
    return max(codes)


def _probe(config: Config, policy: AddressPolicy, as_json: bool) -> list[Probed]:
    found: list[Probed] = []
    with contextlib.closing(Prober(policy)) as prober:
        for probed in prober.probe(config):
            found.append(probed)
            _say(as_json, probe_line(probed))
    return found


def _tell(forecast: Forecast, as_json: bool) -> None:
    for line in forecast_lines(forecast):
        _say(as_json, line)


def _say(as_json: bool, line: str) -> None:
    if not as_json:
        click.echo(line)


def _print(found: _Found, as_json: bool) -> None:
    if as_json:
        click.echo(pretty(found))
