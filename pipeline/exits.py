"""How commands end."""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_HELD = 3


class UsageError(Exception):
    """What the user gave cannot be used; one line for each problem."""
