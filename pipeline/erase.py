"""`currents erase`: what is about a person goes from what is held, and from dead letters."""

import dataclasses
from collections.abc import Iterator, Sequence

import click

from pipeline.exits import EXIT_DONE, EXIT_FAILED, EXIT_HELD, UsageError
from runtime.erasing import Erased, Eraser, Erasure
from runtime.jobs import new_job_name
from runtime.persons import Persons
from runtime.showing import pretty
from runtime.storage import StorageError, is_missing_folder


def erase_persons(
    user: Sequence[str],
    users_from: str | None,
    hold: str | None,
    dead_letters: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Erase, or count, say what was found, and return the exit code.

    Raises:
        UsageError: nothing was looked at.
    """
    persons = Persons(_ids(user, users_from))
    places = {"--hold": hold, "--dead_letters": dead_letters}
    if not any(places.values()):
        raise UsageError("--hold or --dead_letters is missing: where to look")
    for name, place in places.items():
        if place is not None and is_missing_folder(place):
            raise UsageError(f"{name}: there is no folder {place!r}")
    eraser = Eraser(persons, new_job_name(), dry_run)
    _erase(eraser, hold, dead_letters)
    found = eraser.found
    if as_json:
        click.echo(pretty({"dry_run": dry_run, **dataclasses.asdict(found)}))
    else:
        for line in _lines(found, dry_run):
            click.echo(line)
    for problem in found.unread:
        click.echo(problem, err=True)
    return _code(found, dry_run)


def _erase(eraser: Eraser, hold: str | None, dead_letters: str | None) -> None:
    try:
        if hold is not None:
            eraser.erase_held(hold)
        if dead_letters is not None:
            eraser.erase_letters(dead_letters)
    except StorageError as error:
        eraser.found.unread.append(str(error))


def _ids(user: Sequence[str], users_from: str | None) -> Iterator[str]:
    if not user and users_from is None:
        raise UsageError("--user or --users_from is missing: whose events")
    for one in user:
        if not one.strip():
            raise UsageError("--user: an id is empty")
        if not one.isprintable():  # bytes that are no UTF-8 among them
            raise UsageError(f"--user: {one!a} is no id: it has characters that cannot be printed")
        yield one
    if users_from is not None:
        yield from _ids_in(users_from)


def _ids_in(file: str) -> Sequence[str]:
    try:
        with click.open_file(file, encoding="utf-8") as opened:
            ids = [line.strip() for line in opened if line.strip()]
    except OSError as error:
        raise UsageError(f"--users_from {file}: {error.strerror}") from None
    except RuntimeError:  # click's word for a stdin that is closed
        raise UsageError("--users_from -: there is no stdin to read from") from None
    except UnicodeDecodeError:
        raise UsageError(f"--users_from {file}: no text in UTF-8") from None
    if not ids:
        raise UsageError(f"--users_from {file}: no id is in it")
    return ids


def _lines(found: Erasure, dry_run: bool) -> Iterator[str]:
    are = "would be erased" if dry_run else "are erased"
    yield f"held: {_sum(found.lanes)} events {are}"
    yield from (_row(lane) for lane in found.lanes)
    yield f"dead letters: {_sum(found.files)} {are}"
    yield from (_row(file) for file in found.files)
    for lane in found.left_alone:
        yield (
            f"{lane.place} is left alone: the job {lane.attended_by} attends it. "
            "End that job, then erase again"
        )


def _sum(places: Sequence[Erased]) -> int:
    return sum(place.erased for place in places if not place.attended_by)


def _row(place: Erased) -> str:
    return f"{place.erased:>9}  {place.place} (of {place.before})"


def _code(found: Erasure, dry_run: bool) -> int:
    if found.unread:
        return EXIT_FAILED
    return EXIT_HELD if found.left_alone and not dry_run else EXIT_DONE
