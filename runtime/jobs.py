"""The names of jobs, by which those that share a hold tell each other apart."""

import os
import secrets
import socket

_ours: set[str] = set()


def new_job_name(here: bool = True) -> str:
    """A name for this run: its machine, its process, and something that no other run has.

    One that is not run `here` outlives this process, and its name does not tell of it.
    """
    process = os.getpid() if here else "job"
    name = f"{socket.gethostname()}-{process}-{secrets.token_hex(4)}"
    _ours.add(name)
    return name


def has_ended(job: str) -> bool:
    """Whether a job of this machine is known to have ended; of others nothing is known."""
    host, _, rest = job.rpartition("-")[0].rpartition("-")
    if host != socket.gethostname() or not rest.isdecimal():
        return False
    if int(rest) == os.getpid():  # it had our number before us
        return job not in _ours
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
