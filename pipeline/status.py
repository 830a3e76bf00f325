"""`currents status`: what a hold has, why, and when it becomes dead letters."""

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.exits import EXIT_DONE, EXIT_USAGE
from pipeline.words import in_words
from runtime.alerts import EXPIRING_MS
from runtime.clock import from_rfc3339
from runtime.hold.lane_statuses import is_attended, survey
from runtime.showing import pretty, printable
from runtime.storage import StorageError, is_missing_folder
from schemas.lane_status import LaneStatus

PIPE_WIDTH = 160
"""Where there is no terminal."""
WIDE = 140
"""From so many columns on a lane gets a line, and not a paragraph."""
MAX_ANSWER_CHARS = 60

_STYLES = {"suspended": "red", "holding": "yellow", "resuming": "green"}


def show_status(hold: str, as_json: bool, max_age_seconds: float, now_ms: int) -> int:
    """Print what a hold has and return the exit code."""
    if is_missing_folder(hold):
        click.echo(f"there is no folder {hold!r}: nothing was ever held there", err=True)
        return EXIT_USAGE
    try:
        found = survey(hold, max_age_seconds)
    except StorageError as error:
        click.echo(f"the hold cannot be read: {error}", err=True)
        return EXIT_USAGE
    for problem in found.unread:
        click.echo(problem, err=True)
    if as_json:
        click.echo(pretty({"lanes": found.lanes}))
    elif found.lanes:
        _print(found.lanes, now_ms)
    elif not found.unread:
        click.echo(f"nothing is held in {hold}")
    return EXIT_USAGE if found.unread else EXIT_DONE


def _print(lanes: list[LaneStatus], now_ms: int) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    table_of = _wide_table if console.width >= WIDE else _narrow_table
    console.print(table_of(lanes, now_ms))
    events = sum(lane.events for lane in lanes)
    size = _megabytes(sum(lane.bytes for lane in lanes))
    click.echo(f"{_count(len(lanes), 'lane')}, {_count(events, 'event')}, {size} MB")


def _wide_table(lanes: list[LaneStatus], now_ms: int) -> Table:
    """One line a lane, and one for what its partner answered."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("lane", "state", "reason"):
        table.add_column(title, overflow="fold")
    for title in ("events", "objects", "MB", "oldest"):
        table.add_column(title, justify="right")
    for title in ("next probe", "begins dead-lettering", "attended by"):
        table.add_column(title, overflow="fold")
    for lane in lanes:
        table.add_row(
            printable(lane.lane),
            Text(lane.state, _STYLES[lane.state]),
            _reason(lane),
            f"{lane.events:,}",
            f"{lane.objects:,}",
            _megabytes(lane.bytes),
            _age(lane.oldest, now_ms),
            _next_probe(lane, now_ms),
            _dead_lettering(lane, now_ms),
            _attended_by(lane, now_ms),
        )
    return table


def _narrow_table(lanes: list[LaneStatus], now_ms: int) -> Table:
    """Three columns, some lines a lane."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, leading=1)
    for title in ("lane", "held", "what comes next"):
        table.add_column(title, overflow="fold")
    for lane in lanes:
        table.add_row(
            Text.assemble(
                *(printable(lane.lane), "\n", (lane.state, _STYLES[lane.state]), ": "),
                _reason(lane),
            ),
            f"{_count(lane.events, 'event')}, {_megabytes(lane.bytes)} MB\n"
            f"in {_count(lane.objects, 'object')}\noldest {_age(lane.oldest, now_ms)}",
            _what_comes(lane, now_ms),
        )
    return table


def _what_comes(lane: LaneStatus, now_ms: int) -> Text:
    letters, attendant = _dead_lettering(lane, now_ms), _attended_by(lane, now_ms)
    return Text.assemble(
        "begins dead-lettering " if letters.plain.startswith("in ") else "dead-lettering ",
        *(letters, "\nnext probe ", _next_probe(lane, now_ms), "\n"),
        *("attended by " if is_attended(lane, now_ms) else "", attendant),
    )


def _reason(lane: LaneStatus) -> Text:
    """The reason, and what the partner answered."""
    text = Text(printable(lane.reason))
    if lane.status is not None and str(lane.status) not in lane.reason:
        text.append(f" ({lane.status})")
    if lane.answer:
        cut = lane.answer[:MAX_ANSWER_CHARS]
        text.append(f"\n{printable(cut)}{'…' if cut != lane.answer else ''}", "dim")
    if lane.set_aside:
        text.append(f"\n{_count(lane.set_aside, 'object')} set aside", "red")
    return text


def _next_probe(lane: LaneStatus, now_ms: int) -> str:
    at_ms = from_rfc3339(lane.next_probe or "")
    if at_ms is None or not is_attended(lane, now_ms):
        return "-"
    when = f"in {in_words(at_ms - now_ms)}" if at_ms > now_ms else "now"
    return f"{when} ({lane.probes_failed} failed)" if lane.probes_failed else when


def _dead_lettering(lane: LaneStatus, now_ms: int) -> Text:
    at_ms = from_rfc3339(lane.dead_letters_from or "")
    if at_ms is None:
        return Text("not while it resumes" if lane.state == "resuming" else "-")
    if at_ms <= now_ms:
        return Text(f"due {in_words(now_ms - at_ms)} ago", "bold red")
    return Text(f"in {in_words(at_ms - now_ms)}", "red" if at_ms - now_ms < EXPIRING_MS else "")


def _attended_by(lane: LaneStatus, now_ms: int) -> Text:
    if not is_attended(lane, now_ms):
        return Text("nobody attends it", "red")
    return Text(f"{printable(lane.attended_by)} ({_age(lane.attended_since, now_ms)})")


def _age(moment: str | None, now_ms: int) -> str:
    at_ms = from_rfc3339(moment or "")
    return "-" if at_ms is None else in_words(now_ms - at_ms)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:,.1f}"
