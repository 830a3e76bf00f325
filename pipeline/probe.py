"""Telling what a connector's partner answers: `currents check --probe` and `currents send-test`."""

from collections.abc import Iterator

from runtime.probing import Probed, Tested

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
    for (event_type, reason), number in sorted(tested.left_out.items()):
        yield f"left out  {event_type}: {reason}{f' ({number})' if number > 1 else ''}"
    for types_of_request, answer in tested.refused:
        yield f"REFUSED   {answer}: {types_of_request}"
