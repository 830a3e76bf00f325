"""`python -m pipeline` is `currents`."""

from pipeline.cli import main

main()
