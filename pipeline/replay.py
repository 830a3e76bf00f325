"""`currents replay`: dead letters are fed in again, each to the connector that failed, or written out."""

import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.exits import EXIT_DONE, EXIT_FAILED, EXIT_HELD, UsageError
from pipeline.options import RunOptions
from pipeline.run import DATAFLOW, Run, execute, prepare
from runtime.config_store import ConfigStore
from runtime.replay import (
    MAX_REPLAYS,
    Replay,
    ReplayRecord,
    Rules,
    Selection,
    Takers,
    Wanted,
    select,
    write_originals,
)
from runtime.showing import pretty
from runtime.storage import StorageError, is_missing_folder

_WHY_SKIPPED = {
    "replayed_before": "replayed before; --again replays them once more",
    "replayed_too_often": f"replayed {MAX_REPLAYS} times already",
    "buried_again_since": "buried again since, and the newer letter counts",
    "connector_removed": "the connector is no more",
    "disabled": "the connector is disabled",
    "other_app_group": "of an app group that the connector does not name",
}

_logger = logging.getLogger(__name__)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What is asked for on the command line."""

    dead_letters: str
    wanted: Wanted
    again: bool = False
    dry_run: bool = False
    as_json: bool = False
    """What a dry run says, for programs."""
    rate: float | None = None
    connectors: str | None = None
    to: str | None = None
    run_options: Sequence[str] = ()
    """What `currents run` takes besides."""


def replay_letters(order: Order, say: Say) -> int:
    """Replay, write out or count dead letters, and return the exit code.

    Raises:
        UsageError: nothing was sent or written.
        StorageError: likewise, or not all of it.
    """
    _check(order)
    plan = _prepare(order) if order.connectors else None
    selection = select(order.dead_letters, order.wanted, _rules(order, plan))
    if order.as_json:
        say(pretty(_as_json(selection)))
    else:
        for line in _describe(order, selection):
            say(line)
    for problem in selection.unread:
        _logger.error("%s", problem)
    code = _carry_out(order, plan, selection, say)
    return EXIT_FAILED if selection.unread else code


def _check(order: Order) -> None:
    if is_missing_folder(order.dead_letters):
        raise UsageError(f"there is no folder {order.dead_letters!r}: no dead letters are there")
    if order.connectors and order.to:
        raise UsageError("--connectors and --to exclude each other")
    if not (order.connectors or order.to or order.dry_run):
        raise UsageError("--connectors or --to is missing: where the events go")
    if order.as_json and not order.dry_run:
        raise UsageError("--json is for --dry_run: what a replay has done is in its --report")
    if order.run_options and not order.connectors:
        raise UsageError(f"unknown option {_name(order.run_options[0])} without --connectors")


def _name(option: str) -> str:
    return option.partition("=")[0]


def _prepare(order: Order) -> Run:
    plan = prepare(
        [
            *order.run_options,
            *("--connectors", str(order.connectors), "--dead_letters", order.dead_letters),
        ]
    )
    ours = plan.options.view_as(RunOptions)
    if ours.subscription or ours.input:
        raise UsageError("--subscription and --input are not for a replay: it reads dead letters")
    if plan.runner == DATAFLOW:
        raise UsageError("a replay does not run on DataflowRunner: its end has to be seen here")
    return plan


def _rules(order: Order, plan: Run | None) -> Rules:
    takers = None
    if plan is not None:
        store = ConfigStore(plan.settings.connectors, plan.settings.address_policy, 0)
        takers = Takers(store.current(), time.time())
    return Rules(order.again, guarded=not order.to, takers=takers)


def _carry_out(order: Order, plan: Run | None, selection: Selection, say: Say) -> int:
    if order.dry_run or not selection.parts:
        return EXIT_DONE
    if plan is not None:
        return _send(order, plan, selection)
    written, unfit = write_originals(selection.parts, str(order.to))
    say(f"{written} events are written to {order.to}")
    if unfit:
        say(f"{unfit} messages fit no line (line breaks, or nothing in them) and are left out")
    return EXIT_DONE


def _send(order: Order, plan: Run, selection: Selection) -> int:
    """A letter is settled when its event was delivered, held or buried anew: when all were."""
    record = ReplayRecord(order.dead_letters, time.time())
    source = dataclasses.replace(plan.source, replay=Replay(selection.parts, order.rate))
    try:
        code = execute(dataclasses.replace(plan, source=source))
    except BaseException:
        record.drop()
        raise
    if code not in (EXIT_DONE, EXIT_HELD):
        record.drop()
        return code
    try:
        record.settle(selection.letter_ids)
    except StorageError as error:
        _logger.error("the next replay will send these events again: %s", error)
        return EXIT_FAILED
    return code


def _describe(order: Order, selection: Selection) -> Iterator[str]:
    count = selection.chosen.total()
    if not count and not selection.skipped:
        yield f"no dead letter below {order.dead_letters} is as asked for"
        return
    yield f"{count} dead letters to {'write' if order.to else 'replay'}"
    yield from _rows(selection.chosen, str)
    yield from _rows(selection.too_old, str)
    if selection.skipped:
        yield f"{selection.skipped.total()} are left alone"
        yield from _rows(selection.skipped, _explain)


def _as_json(selection: Selection) -> dict[str, Any]:
    return {
        "chosen": _counts(selection.chosen, "reason"),
        "too_old": _counts(selection.too_old, "advice"),
        "left_alone": _counts(selection.skipped, "why"),
        "unread": selection.unread,
    }


def _counts(counts: Counter[tuple[str, str]], what: str) -> list[dict[str, Any]]:
    return [
        {"connector": connector, what: why, "letters": count}
        for (connector, why), count in sorted(counts.items())
    ]


def _rows(counts: Counter[tuple[str, str]], explain: Callable[[str], str]) -> Iterator[str]:
    width = max((len(connector) for connector, _ in counts), default=0)
    for (connector, why), count in sorted(counts.items()):
        yield f"{count:>9}  {connector or '-':<{width}}  {explain(why)}"


def _explain(why: str) -> str:
    return _WHY_SKIPPED.get(why, f"the connector would filter them today: {why}")
