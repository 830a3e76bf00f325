"""One target under atheris, whose coverage of our code leads to new inputs: `guided TARGET FOLDER`."""

import logging
import sys

import atheris

with atheris.instrument_imports(
    include=["runtime", "schemas", "sinks"], enable_loader_override=False
):
    from tests.hostile.targets import targets

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    program, name, *arguments = sys.argv
    atheris.Setup([program, *arguments], targets()[name].check)
    atheris.Fuzz()
