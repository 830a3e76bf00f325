"""The options of `currents run`; Beam's own pass through beside them."""

import argparse

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.run_options import add_run_options, run_option_names
from runtime.suggesting import suggestion


class RunOptions(PipelineOptions):  # type: ignore[misc]
    """What a deployment says of itself."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        add_run_options(parser)


def parse_options(arguments: list[str]) -> PipelineOptions:
    """The options that the arguments give; Beam would drop what it does not know.

    Raises:
        argparse.ArgumentError: one is unknown, or its value is not what it takes.
    """

    def check(parser: argparse.ArgumentParser) -> None:
        parser.exit_on_error = False
        _, unknown = parser.parse_known_args(arguments)
        if unknown:
            name = unknown[0].partition("=")[0]
            meant = suggestion(name, (option for option, _ in run_option_names()))
            raise argparse.ArgumentError(
                None, f"unknown option {name}{meant or '; see currents run --help'}"
            )

    options = PipelineOptions(arguments)
    options.get_all_options(add_extra_args_fn=check)
    return options
