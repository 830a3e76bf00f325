"""`python -m pipeline` is `currents`."""

from pipeline.process import importing


def main() -> None:
    """Run the command that is asked for."""
    with importing():
        from pipeline.cli import main as currents  # noqa: PLC0415 - it takes a moment
    currents(prog_name="currents")


if __name__ == "__main__":
    main()
