"""What the flex template's launcher starts: `currents run` with the parameters of a template.

A template's parameters are texts, and the console and Terraform send the empty ones too. So
`--historical=true` becomes `--historical`, a list is separated by blanks, and what is empty is left
out. Everything else is taken as `currents run` takes it.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from pipeline.exits import EXIT_USAGE, UsageError
from pipeline.run import run

FLAGS = frozenset({"allow_local_partners", "historical", "redact_dead_letters"})
"""Options of `currents run` that take no value."""
REPEATED = frozenset({"allow_network"})
"""Those that may be given several times, a value each."""
LISTS = frozenset({"input"})
"""Those that take several values."""
IMAGE = "CURRENTS_IMAGE"
"""The environment variable that names the image this runs in: workers run the same one."""


class BadParameter(Exception):
    """A parameter's value is not what it takes."""


def arguments_of(given: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The arguments of `currents run`.

    Args:
        given: what the launcher passes: `--name=value`, of this template and of Beam.
        environment: of this process.

    Raises:
        BadParameter: a flag is neither true nor false.
    """
    arguments = [argument for one in given for argument in _arguments(one)]
    image = environment.get(IMAGE)
    if image and not any(one.startswith("--sdk_container_image=") for one in arguments):
        arguments.append(f"--sdk_container_image={image}")
    return arguments


def _arguments(given: str) -> Iterator[str]:
    name, has_value, value = given.removeprefix("--").partition("=")
    if not has_value or not given.startswith("--"):
        yield given
    elif name in FLAGS:
        if _is_set(name, value):
            yield f"--{name}"
    elif name in REPEATED:
        for one in value.split():
            yield f"--{name}={one}"
    elif name in LISTS:
        yield from (f"--{name}", *value.split()) if value.strip() else ()
    elif value:
        yield given


def _is_set(name: str, value: str) -> bool:
    try:
        return {"true": True, "false": False, "": False}[value.lower()]
    except KeyError:
        raise BadParameter(f"{name}: {value} is neither true nor false") from None


def main(given: Sequence[str], launch: Callable[[list[str]], int] = run) -> int:
    """Launch, and return the exit code of `currents run`."""
    try:
        return launch(arguments_of(given, os.environ))
    except (BadParameter, UsageError) as error:
        logging.getLogger(__name__).error("%s", error)
        return EXIT_USAGE


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    sys.exit(main(sys.argv[1:]))
