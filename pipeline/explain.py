"""`currents explain`: which rule lets an event pass, the request that it becomes, the nearest limit."""

from collections.abc import Iterator

import click

from pipeline.connectors import entry_of, valid_config
from pipeline.exits import UsageError
from runtime.address import AddressPolicy
from runtime.explaining import Explanation, explain
from runtime.showing import pretty, printable
from schemas.limits import MAX_EVENT_BYTES

_OUTCOMES = {
    "sent": "it is sent",
    "held": "it is held: the connector is paused",
    "filtered": "it is filtered: {reason}",
    "dead_letter": "it becomes a dead letter: {reason}: {detail}",
    "not_offered": "it is not offered to the connector: it is another app group's",
}


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """What is known of an event at a connector, for people."""
    return map(printable, _lines(explanation))


def _lines(explanation: Explanation) -> Iterator[str]:
    width = max(len(rule.name) for rule in explanation.rules)
    for rule in explanation.rules:
        yield f"{'passes' if rule.lets_pass else 'STOPS '}  {rule.name:<{width}}  {rule.says}"
    yield ""
    outcome = _OUTCOMES[explanation.outcome].format(
        reason=explanation.reason, detail=explanation.detail
    )
    yield f"{outcome}{f', in the lane {explanation.lane}' if explanation.lane else ''}"
    for request in explanation.requests:
        yield ""
        yield from pretty(request).splitlines()
    yield ""
    for size in explanation.sizes:
        yield f"{size.share:>6.1%}  {size.name}: {size.found:,} of {size.most:,} bytes"


def explain_event(
    connectors: str, connector: str, event: str, as_json: bool, policy: AddressPolicy
) -> None:
    """Print what becomes of the event in a file at a connector.

    Raises:
        UsageError: there is no such connector, or no such file.
    """
    config = valid_config(connectors, policy)
    entry_of(config, connector)
    try:
        with click.open_file(event, "rb") as file:
            message = file.read()
    except OSError as error:
        raise UsageError(f"--event {event}: {error.strerror}") from None
    except RuntimeError:  # click's word for a stdin that is closed
        raise UsageError("--event -: there is no stdin to read from") from None
    explanation = explain(config, connector, message, MAX_EVENT_BYTES)
    if as_json:
        click.echo(pretty(explanation))
        return
    for line in explanation_lines(explanation):
        click.echo(line)
