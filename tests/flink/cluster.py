"""The processes of `deploy/flink/flink.sh`, each started, killed and ended by its id."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.pipeline.running import eventually

SCRIPT = Path(__file__).parents[2] / "deploy" / "flink" / "flink.sh"
HOST = "127.0.0.1"
PARALLELISM = os.environ.get("CURRENTS_FLINK_PARALLELISM", "1")
GET_SECONDS = 600
START_SECONDS = 90
STOP_SECONDS = 10
PROCESSES = ("jobmanager", "taskmanager", "jobserver", "workers")

Process = subprocess.Popen[bytes]


class NoFlink(Exception):
    """Why there is none on this machine."""


class Cluster:
    """JobManager, TaskManager, Beam's job server and a pool of Python workers."""

    def __init__(self, folder: Path) -> None:
        """Fetch what is needed.

        Raises:
            NoFlink: it cannot be had.
        """
        self.folder = folder
        self._ports = dict(
            zip(
                ("FLINK_REST_PORT", "FLINK_RPC_PORT", "BEAM_JOB_PORT", "BEAM_WORKERS_PORT"),
                _free_ports(4),
                strict=True,
            )
        )
        self._environment = {
            **os.environ,
            **{name: str(port) for name, port in self._ports.items()},
            "FLINK_RUN": str(folder),
            "PYTHON": sys.executable,
        }
        self._processes: dict[str, Process] = {}
        _fetch(self._environment)

    def __enter__(self) -> "Cluster":
        for name in PROCESSES:
            self.start(name)
        assert eventually(self._is_up, START_SECONDS), f"the cluster did not start: {self.folder}"
        return self

    def __exit__(self, *_: object) -> None:
        for job in self.jobs():
            self.cancel(job)
        workers = self.workers()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            _end(process)
        for worker in workers:  # a pool that was killed leaves them behind
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    @property
    def options(self) -> list[str]:
        """What `currents run` is given to run on it, but for the environment of workers."""
        return [
            *("--runner", "PortableRunner", "--parallelism", PARALLELISM),
            *("--job_endpoint", f"{HOST}:{self._ports['BEAM_JOB_PORT']}"),
            *("--files_to_stage", str(_library(self._environment) / "nothing.jar")),
            *("--checkpointing_interval", "2000"),
        ]

    @property
    def worker_options(self) -> list[str]:
        """Workers are processes of the cluster's pool."""
        address = f"localhost:{self._ports['BEAM_WORKERS_PORT']}"
        return ["--environment_type", "EXTERNAL", "--environment_config", address]

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [str(SCRIPT), name], env=self._environment, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """As the kernel would: no process has the time for a last word."""
        process = self._processes[name]
        process.kill()
        process.wait()

    def kill_worker(self) -> int:
        """Kill the Python worker that was started last; returns its process id."""
        worker = max(self.workers())
        os.kill(worker, signal.SIGKILL)
        return worker

    def workers(self) -> list[int]:
        """The process ids of the Python workers that live."""
        pool = self._processes["workers"].pid
        found = subprocess.run(
            ["ps", "-o", "pid=,stat=", "--ppid", str(pool)],
            capture_output=True,
            text=True,
            check=False,
        )
        rows = [line.split() for line in found.stdout.splitlines()]
        return [int(pid) for pid, state in rows if not state.startswith("Z")]

    def job(self, name: str) -> str:
        """The id of the job of that name that has not ended; it may have just been sent."""
        found: list[str] = []

        def is_there() -> bool:
            found[:] = [job["jid"] for job in self._overview() if job["name"].startswith(name)]
            return bool(found)

        assert eventually(is_there, START_SECONDS), f"there is no job {name}"
        return found[0]

    def completed(self, job: str) -> int:
        """How many checkpoints of the job are complete."""
        return int(self._ask(f"/jobs/{job}/checkpoints")["counts"]["completed"])

    def restored_at(self, job: str) -> int:
        """When the job was last restored from a checkpoint, in milliseconds; 0 before the first."""
        restored = self._ask(f"/jobs/{job}/checkpoints")["latest"]["restored"]
        return 0 if restored is None else int(restored["restore_timestamp"])

    def last_checkpoint(self, job: str) -> str:
        """Where the job's last complete checkpoint is."""
        return str(self._ask(f"/jobs/{job}/checkpoints")["latest"]["completed"]["external_path"])

    def is_running(self, job: str) -> bool:
        """Whether every task of the job runs."""
        vertices = self._ask(f"/jobs/{job}")["vertices"]
        return all(vertex["status"] == "RUNNING" for vertex in vertices)

    def cancel(self, job: str) -> None:
        """Cancel it, if it has not ended, and wait until it has."""
        self._ask(f"/jobs/{job}?mode=cancel", "PATCH")
        assert eventually(lambda: job not in self.jobs()), f"job {job} cannot be cancelled"

    def jobs(self) -> list[str]:
        """The ids of all jobs that have not ended."""
        with contextlib.suppress(OSError):
            return [str(job["jid"]) for job in self._overview()]
        return []

    def _overview(self) -> list[dict[str, Any]]:
        ended = ("CANCELED", "FAILED", "FINISHED")
        jobs = self._ask("/jobs/overview")["jobs"]
        return [job for job in jobs if job["state"] not in ended]

    def _is_up(self) -> bool:
        with contextlib.suppress(OSError):
            slots = self._ask("/overview")["slots-available"]
            for name in ("BEAM_JOB_PORT", "BEAM_WORKERS_PORT"):
                socket.create_connection((HOST, self._ports[name]), 1).close()
            return bool(slots)
        return False

    def _ask(self, path: str, method: str = "GET") -> Any:
        address = f"http://{HOST}:{self._ports['FLINK_REST_PORT']}{path}"
        request = urllib.request.Request(address, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


def _fetch(environment: Mapping[str, str]) -> None:
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise NoFlink(f"there is no {program}")
    try:
        fetched = subprocess.run(
            [str(SCRIPT), "get"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=GET_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NoFlink(f"{SCRIPT.name} get took more than {GET_SECONDS} s") from error
    if fetched.returncode:
        lines = (fetched.stdout + fetched.stderr).strip().splitlines()
        raise NoFlink(lines[0] if lines else f"{SCRIPT.name} get ended with {fetched.returncode}")


def _library(environment: Mapping[str, str]) -> Path:
    found = subprocess.run(
        [str(SCRIPT), "lib"], env=environment, capture_output=True, text=True, check=True
    )
    return Path(found.stdout.strip())


def _end(process: Process) -> None:
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]
