"""File systems of a test's own: small ones that are full at once, and such as become read-only.

They are mounted in a mount namespace that one process keeps open, as root or, where the machine lets
ordinary users have one, in a user namespace. So nothing of it is left when that process has ended,
and what is full is full for root too.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

_AS_ROOT = os.geteuid() == 0


class NoMounts(Exception):
    """This machine does not let us mount anything."""


class Mounts:
    """A namespace with a small file system at each of the folders."""

    def __init__(self, folders: Sequence[Path], kilobytes: int) -> None:
        """Raises NoMounts where it cannot be had."""
        user = [] if _AS_ROOT else ["--user", "--map-root-user"]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        mount = [f"mount -t tmpfs -o size={kilobytes}k none '{folder}'" for folder in folders]
        script = " && ".join([*mount, "echo ready", "exec cat"])
        try:
            self._keeper = subprocess.Popen(
                ["unshare", "--mount", *user, "sh", "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError as error:
            raise NoMounts(str(error)) from error
        if self._keeper.stdout is None or self._keeper.stdout.readline() != b"ready\n":
            _, said = self._keeper.communicate()
            raise NoMounts(said.decode(errors="replace").strip())

    def close(self) -> None:
        """Let the namespace and all that is in it go; nothing may run in it any more."""
        self._keeper.communicate()

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command to run something in the namespace."""
        user = [] if _AS_ROOT else ["--user", "--preserve-credentials"]
        enter = ["nsenter", "--target", str(self._keeper.pid), "--mount", *user, "--"]
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(Path.cwd()), *command]

    def seen(self, folder: Path) -> Path:
        """Where a folder of the namespace is for us, who are not in it."""
        return Path(f"/proc/{self._keeper.pid}/root{folder}")

    def remount(self, folder: Path, options: str) -> None:
        """Change a file system while it is used."""
        command = ["mount", "-o", f"remount,bind,{options}", str(folder)]
        subprocess.run(self.inside(command), check=True, timeout=30)

    def fill(self, folder: Path) -> None:
        """Leave no room on a file system."""
        ballast = self.seen(folder) / "ballast"
        with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4_096))

    def free(self, folder: Path) -> None:
        """Take out what filled it."""
        (self.seen(folder) / "ballast").unlink()


@contextlib.contextmanager
def mounted(folders: Sequence[Path], kilobytes: int) -> Iterator[Mounts]:
    mounts = Mounts(folders, kilobytes)
    try:
        yield mounts
    finally:
        mounts.close()
