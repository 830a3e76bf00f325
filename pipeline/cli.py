"""The command line. What a command does is in a module of its own, imported when it is called.

So help, completion and a mistyped option are answered at once: Beam alone takes seconds to import.
"""
# ruff: noqa: PLC0415

import contextlib
import datetime
import functools
import importlib.metadata
import ipaddress
import logging
import platform
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar

import click
from click.shell_completion import CompletionItem, get_completion_class

from pipeline.display import StderrHandler
from pipeline.exits import EXIT_FAILED, EXIT_USAGE, UsageError
from pipeline.process import end_with, importing
from schemas.connector import Seconds

_Command = TypeVar("_Command", bound=Callable[..., object])

_QUIET = {"gcsfs": logging.CRITICAL}
"""Libraries that log a traceback of what they raise besides: it is told in a line."""


class _BadUsage(click.ClickException):
    """A mistake in the command line, in a line; click's own takes four."""

    exit_code = EXIT_USAGE

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=True)


@contextlib.contextmanager
def _in_a_line() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        said = error.format_message().rstrip(".")
        # A question names what may be meant.
        where = error.ctx.command_path if error.ctx else "currents"
        raise _BadUsage(said if said.endswith("?") else f"{said}; see {where} --help") from None


class _Program(click.Group):
    """What a command raises is told in a line, and what to do where that is known."""

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        with _in_a_line():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _in_a_line():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except UsageError as error:
            click.echo(str(error), err=True)
            ctx.exit(EXIT_USAGE)
        except Exception as error:
            logging.getLogger("pipeline").debug("a command failed", exc_info=True)
            name = ctx.invoked_subcommand
            click.echo(f"{name} failed: {type(error).__name__}: {error}", err=True)
            ctx.exit(EXIT_FAILED)


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        ours, beam = map(importlib.metadata.version, ("currents-pipeline", "apache-beam"))
        click.echo(f"currents {ours} (Apache Beam {beam}, Python {platform.python_version()})")
        ctx.exit()


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`currents COMMAND --help` shows examples and the meaning of exit codes.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the version, Beam's and Python's, and exit.",
)
def main() -> None:
    """Exports engagement events from Pub/Sub to partners, and loses none of them."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        handlers=[StderrHandler()],
    )
    for name in ("pipeline", "runtime", "transforms"):
        logging.getLogger(name).setLevel(logging.INFO)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


def _epilog(*examples: str, codes: str) -> str:
    """Examples and exit codes, as they are written here."""
    lines = ["\b", "examples:", *(f"  {example}" for example in examples)]
    return "\n".join([*lines, "", "\b", "exit codes:", *(f"  {one}" for one in codes.split("; "))])


# Values of options, and their completion


def _seconds(_: click.Context, __: click.Parameter, given: str) -> Seconds:
    try:
        return Seconds.parse(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _moment(_: click.Context, __: click.Parameter, given: str | None) -> int | None:
    """Milliseconds since the epoch of a date or time (UTC by default), or of so long ago."""
    if given is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(given.replace("Z", "+00:00"))
    except ValueError:
        return _so_long_ago(given)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return round(moment.timestamp() * 1_000)


def _so_long_ago(given: str) -> int:
    try:
        seconds = Seconds.parse(given if given[-1:].isalpha() else f"{given} without a unit")
    except ValueError:
        raise click.BadParameter(
            f"2026-11-25, 2026-11-25T08:30Z or, so long ago, 48h; found {given!r}"
        ) from None
    return round((time.time() - seconds) * 1_000)


def _rate(_: click.Context, __: click.Parameter, given: float | None) -> float | None:
    if given is not None and not 0 < given < 1e9:  # nor what is no number
        raise click.BadParameter(f"a number above 0 and below 1,000,000,000; found {given:g}")
    return given


def _networks(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(network)) for network in given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _complete_connector(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The names in the connectors file that is given before."""
    from pipeline.connectors import names_in

    # A line that ends in an option without its value is parsed in part: the rest lies in `args`.
    given = [ctx.params.get("connectors"), *ctx.args]
    found = [name for file in given if file for name in names_in(str(file))]
    return [CompletionItem(name) for name in found if name.startswith(begun)]


def _complete_file(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Of options that click does not know, nearly all take a file or a folder."""
    return [CompletionItem(begun, type="file")]


class _WithRunOptions(click.Command):
    """A command that takes the options of `currents run` besides its own, which click does not know."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from pipeline.run_options import run_option_names

        found = {item.value: item for item in super().shell_complete(ctx, incomplete)}
        for name, text in run_option_names():
            if name.startswith(incomplete):
                found.setdefault(name, CompletionItem(name, help=text))
        return list(found.values())


# The type click.Path is for completion alone: whether a file is there says what reads it, for it may
# be gs:// too.

_connectors_argument = click.argument("connectors", type=click.Path())
_connector_option = click.option(
    "--connector", required=True, metavar="N", shell_complete=_complete_connector
)
_json_option = click.option("--json", "as_json", is_flag=True, help="one JSON object, for programs")


def _reaching(command: _Command) -> Callable[..., None]:
    """Give a command the options of which addresses it may reach, as its `policy`."""

    @click.option(
        "--allow_network",
        multiple=True,
        metavar="CIDR",
        callback=_networks,
        help="addresses that partners may have though they are not public; may be repeated",
    )
    @click.option(
        "--allow_local_partners",
        is_flag=True,
        help="partners may have loopback addresses and plain http: for tests",
    )
    @functools.wraps(command)
    def with_policy(
        *, allow_network: tuple[str, ...], allow_local_partners: bool, **given: Any
    ) -> None:
        with importing():
            from runtime.address import AddressPolicy

        command(policy=AddressPolicy(allow_network, allow_local_partners), **given)

    return with_policy


# The commands


@main.command(
    cls=_WithRunOptions,
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, shell_complete=_complete_file)
def run(arguments: tuple[str, ...]) -> None:
    """Run the pipeline: --connectors F and --subscription S, --input GLOB, or neither."""
    if not {"-h", "--help"}.isdisjoint(arguments):
        from pipeline.run_options import run_help

        click.echo(run_help(), nl=False)
        return
    with importing():
        from pipeline.run import run as run_pipeline
    end_with(run_pipeline(list(arguments)))


@main.command(
    epilog=_epilog(
        "currents status --hold held",
        "currents status --hold gs://my-bucket/held --json",
        codes="0  all of the hold was read; 2  it, or a lane of it, cannot be read",
    )
)
@click.option("--hold", required=True, metavar="D", type=click.Path(), help="what is held is there")
@_json_option
@click.option(
    "--max_event_age",
    default="48h",
    show_default=True,
    callback=_seconds,
    metavar="TIME",
    help="as given to the run, for lanes of which only their files are known",
)
def status(hold: str, as_json: bool, max_event_age: Seconds) -> None:
    """Show what is held, why, and when it becomes dead letters."""
    with importing():
        from pipeline.status import show_status
        from runtime.clock import now_ms
    sys.exit(show_status(hold, as_json, max_event_age, now_ms()))


@main.command(
    cls=_WithRunOptions,
    context_settings={"ignore_unknown_options": True},
    epilog=_epilog(
        "currents replay --dead_letters dead --dry_run",
        "currents replay --dead_letters dead --connectors connectors.yaml --connector crm-hook \\",
        "                --reason expired --since 48h --rate 200 --hold held --report report.json",
        "currents replay --dead_letters dead --connector crm-hook --to events.ndjson",
        codes="0  every event was delivered, filtered or buried anew; "
        "3  some events are held; 2  bad usage: nothing was sent or written; "
        "1  it failed, or not all dead letters could be read",
    )
    + "\n\nBeside --connectors the options of `currents run` are taken: --hold, --report, ...",
)
@click.option(
    "--dead_letters", required=True, metavar="D", type=click.Path(), help="the folder they are in"
)
@click.option(
    "--connectors", metavar="F", type=click.Path(), help="the connectors file: events are sent"
)
@click.option(
    "--to",
    metavar="FILE",
    type=click.Path(),
    help="the events are written there as JSON lines, not sent",
)
@click.option(
    "--connector",
    multiple=True,
    metavar="N",
    shell_complete=_complete_connector,
    help="letters of this connector",
)
@click.option("--reason", multiple=True, metavar="R", help="letters with this reason")
@click.option("--event_type", multiple=True, metavar="T", help="events of this type, or pattern")
@click.option("--since", callback=_moment, metavar="TIME", help="buried at this time or later")
@click.option("--until", callback=_moment, metavar="TIME", help="buried before this time")
@click.option("--again", is_flag=True, help="letters that were replayed before too")
@click.option("--dry_run", is_flag=True, help="only say how many; nothing is sent or written")
@click.option("--json", "as_json", is_flag=True, help="what --dry_run says, for programs")
@click.option(
    "--rate",
    type=float,
    callback=_rate,
    metavar="EVENTS_PER_S",
    help="read no more events a second than this",
)
@click.argument("run_options", nargs=-1, type=click.UNPROCESSED, shell_complete=_complete_file)
def replay(
    connector: tuple[str, ...],
    reason: tuple[str, ...],
    event_type: tuple[str, ...],
    since: int | None,
    until: int | None,
    **given: Any,
) -> None:
    """Feed dead letters in again, each to the connector that failed, or write them out."""
    with importing():
        from pipeline.replay import Order, replay_letters
        from runtime.replay import Wanted
    wanted = Wanted(connector, reason, event_type, since, until)
    end_with(replay_letters(Order(wanted=wanted, **given), click.echo))


@main.command(
    epilog=_epilog(
        "currents check connectors.yaml",
        "currents check connectors.yaml --probe",
        "currents check connectors.yaml --input 'events/*.ndjson' --json",
        codes="0  nothing is wrong; 2  something is wrong with the file; "
        "1  a partner refuses its probe or does not answer, or the input cannot be read to its end",
    )
)
@_connectors_argument
@_reaching
@click.option(
    "--input", "patterns", multiple=True, metavar="GLOB", help="count what would go where"
)
@click.option("--historical", is_flag=True, help="as given to the run that would read the input")
@click.option("--probe", "probes", is_flag=True, help="try every connector without an event")
@_json_option
def check(**given: Any) -> None:
    """Validate a connectors file, and more where it is asked for.

    With --probe, secrets are read, each partner gets a request that does no harm, and what its answer
    proves is said. With --input, the events of files are routed, and nothing is sent.
    """
    with importing():
        from pipeline.check import check_connectors
    sys.exit(check_connectors(**given))


@main.command(
    "send-test",
    epilog=_epilog(
        "currents send-test connectors.yaml --connector analytics",
        codes="0  all were answered as delivered; 1  one was refused; "
        "2  bad usage or connectors file, or a secret that is not there; nothing was sent",
    ),
)
@_connectors_argument
@_connector_option
@_json_option
@_reaching
def send_test(**given: Any) -> None:
    """Send an event of each type that a connector takes, marked as a test.

    They are real requests with placeholder values, of the user `currents-test` and with the property
    `currents_test`; avro_files writes real files.
    """
    with importing():
        from pipeline.probe import send_test_events
    sys.exit(send_test_events(**given))


@main.command(
    epilog=_epilog(
        "currents explain connectors.yaml --connector analytics --event event.json",
        "head -1 events.ndjson | currents explain connectors.yaml --connector analytics --event -",
        codes="0  it is explained, whatever becomes of it; 2  bad usage or connectors file",
    )
)
@_connectors_argument
@_connector_option
@click.option(
    "--event",
    required=True,
    metavar="E.json",
    type=click.Path(),
    help="a file with one event; - for stdin",
)
@_json_option
@_reaching
def explain(**given: Any) -> None:
    """Show which rules an event meets, the request that it becomes, and how near the limits are.

    Nothing is sent, and no secret is read: in the request each is its reference.
    """
    with importing():
        from pipeline.explain import explain_event
    explain_event(**given)


@main.command(
    epilog=_epilog(
        "currents erase --user customer-81 --hold held --dead_letters dead --dry_run",
        "currents erase --users_from requests.txt --hold gs://my-bucket/held \\",
        "               --dead_letters gs://my-bucket/dead",
        codes="0  nothing of them is left there; "
        "3  something is left: a job that runs attends the lane; "
        "1  something could not be read or written, and somebody may be in it; "
        "2  bad usage: nothing was changed",
    )
)
@click.option("--user", multiple=True, metavar="ID", help="an external_user_id or a user_id")
@click.option(
    "--users_from", metavar="FILE", type=click.Path(), help="the same, one a line; - for stdin"
)
@click.option("--hold", metavar="D", type=click.Path(), help="what is held is there")
@click.option("--dead_letters", metavar="D", type=click.Path(), help="dead letters are there")
@click.option("--dry_run", is_flag=True, help="only count: nothing is changed")
@_json_option
def erase(**given: Any) -> None:
    """Erase the events of a person from what is held and from dead letters.

    They are not sent and not buried. What is on Pub/Sub, at partners and in files of avro_files stays:
    see docs/operating-runbooks.md.
    """
    with importing():
        from pipeline.erase import erase_persons
    sys.exit(erase_persons(**given))


@main.command(epilog=_epilog("currents schema > connectors.schema.json", codes="0  always"))
def schema() -> None:
    """Print the JSON Schema of a connectors file."""
    with importing():
        from pipeline.connectors import schema_text
    click.echo(schema_text())


@main.command(
    epilog=_epilog(
        'eval "$(currents completion bash)"',
        "currents completion bash > ~/.local/share/bash-completion/completions/currents",
        "currents completion fish > ~/.config/fish/completions/currents.fish",
        codes="0  always",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options, files and connectors' names."""
    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover - the choice above names those that click has
        raise UsageError(f"no completion is known for {shell}")
    click.echo(kind(main, {}, "currents", "_CURRENTS_COMPLETE").source())
