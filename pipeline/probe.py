"""Telling what a connector's partner answers: `currents check --probe` and `currents send-test`."""

import contextlib
from collections.abc import Iterator
from typing import Any

import click

from pipeline.connectors import entry_of, valid_config
from pipeline.exits import EXIT_DONE, EXIT_FAILED, UsageError
from runtime.address import AddressPolicy
from runtime.probing import Probed, Prober, Tested
from runtime.secrets import SecretError
from runtime.showing import pretty

_RESULTS = {
    "accepted": "accepted",
    "refused": "REFUSED",
    "no_answer": "NO ANSWER",
    "not_probed": "not probed",
}


def probe_line(probed: Probed) -> str:
    """One probe, for people."""
    where = f"{probed.connector}/{probed.part}" if probed.part else probed.connector
    answer = f" ({probed.answer})" if probed.answer else ""
    return f"{_RESULTS[probed.result]:<10}  {where}: {probed.proves}{answer}"


def tested_lines(tested: Tested, proves_delivery: bool) -> Iterator[str]:
    """What became of the test events of a connector, for people."""
    count, types = tested.delivered.total(), len(tested.delivered)
    yield f"{count} test events of {types} types were answered as delivered"
    if count and not proves_delivery:
        yield "this partner answers so whatever it keeps: look whether they have arrived there"
    for types_of_request, answer in tested.refused:
        yield f"REFUSED   {answer}: {types_of_request}"
    for reason in sorted({reason for _, reason in tested.left_out}):
        left_out = sorted(one for one, of in tested.left_out if of == reason)
        yield f"left out  {reason} ({len(left_out)}): {', '.join(left_out)}"


def tested_as_json(tested: Tested, proves_delivery: bool) -> dict[str, Any]:
    """The same for programs."""
    return {
        "delivered": dict(tested.delivered),
        "proves_delivery": proves_delivery,
        "left_out": [
            {"event_type": event_type, "reason": reason, "events": number}
            for (event_type, reason), number in sorted(tested.left_out.items())
        ],
        "refused": [{"event_types": types, "answer": answer} for types, answer in tested.refused],
    }


def send_test_events(connectors: str, connector: str, as_json: bool, policy: AddressPolicy) -> int:
    """Send a connector its test events, say what became of them, and return the exit code.

    Raises:
        UsageError: nothing was sent.
    """
    config = valid_config(connectors, policy)
    proves_delivery = entry_of(config, connector).sink.proves_delivery
    with contextlib.closing(Prober(policy)) as prober:
        try:
            tested = prober.send_test(config, connector)
        except SecretError as error:
            raise UsageError(str(error)) from None
    if as_json:
        click.echo(pretty(tested_as_json(tested, proves_delivery)))
    else:
        for line in tested_lines(tested, proves_delivery):
            click.echo(line)
    return EXIT_FAILED if tested.refused else EXIT_DONE
