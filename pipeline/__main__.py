"""`python -m pipeline` is `currents`."""

from pipeline.interrupts import end_at_once


def main() -> None:
    """Run the command that is asked for."""
    with end_at_once():
        from pipeline.cli import main as currents  # noqa: PLC0415 - it takes a moment
    currents(prog_name="currents")


if __name__ == "__main__":
    main()
