"""`currents explain`: which rule lets an event pass, the request that it becomes, the nearest limit."""

from collections.abc import Iterator

from runtime.explaining import Explanation
from runtime.showing import pretty, printable

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
