"""A local Ray cluster of several nodes, each a process group of this machine that can be killed like a machine."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil

_STORE_BYTES = 100 * 1024**2
_RAY = (sys.executable, "-m", "ray.scripts.scripts")


class Nodes:
    """Starts nodes on the loopback interface, on free ports; at the end all of them are killed.

    `head` runs drivers and no tasks. Logs lie in `scratch`.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._processes: list[subprocess.Popen[bytes]] = []
        self.gcs, self.dashboard = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            self.kill(process)

    def head(self, num_cpus: int = 0, dashboard: bool = False) -> subprocess.Popen[bytes]:
        """Start the head, with the job API if `dashboard`."""
        shown = ("--dashboard-host=127.0.0.1", f"--dashboard-port={_port(self.dashboard)}", f"--ray-client-server-port={free_port()}")
        where = ("--head", f"--port={_port(self.gcs)}", f"--include-dashboard={str(dashboard).lower()}", *shown)
        # Ports that the system picks: nodes of one machine would give their workers the same ones.
        ports = ("--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}")
        size = (f"--num-cpus={num_cpus}", f"--object-store-memory={_STORE_BYTES}")
        return self._node([*_RAY, "start", *where, *ports, *size, "--disable-usage-stats", "--node-ip-address=127.0.0.1", "--block"])

    def add(self, num_cpus: int = 1) -> subprocess.Popen[bytes]:
        """Start another node."""
        return self._node([sys.executable, str(Path(__file__).with_name("another_node.py")), self.gcs, str(num_cpus), str(_STORE_BYTES)])

    def start(self, log: Path, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        """Start a program in a process group of its own."""
        with log.open("ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | environment, start_new_session=True)
        self._processes.append(process)
        return process

    def submit(self, log: Path, root: Path, environment: dict[str, str], command: list[str]) -> subprocess.Popen[bytes]:
        """`ray job submit` from `root`; ends with the job, and with its success or failure."""
        runtime = json.dumps({"env_vars": environment})
        told = ["job", "submit", f"--address=http://{self.dashboard}", f"--working-dir={root}", f"--runtime-env-json={runtime}"]
        return self.start(log, [*_RAY, *told, "--", *command])

    @staticmethod
    def kill(process: subprocess.Popen[Any]) -> None:
        """SIGKILL to a process and everything that it started, at once, as when a machine loses its power."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.send_signal(signal.SIGKILL)
        process.wait()

    @staticmethod
    def trains(process: subprocess.Popen[Any]) -> bool:
        """Whether a training worker runs on this node."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return any("RayTrainWorker" in " ".join(_command(child)) for child in psutil.Process(process.pid).children(recursive=True))
        return False

    def _node(self, command: list[str]) -> subprocess.Popen[bytes]:
        log = self._scratch / f"node{len(self._processes)}.log"
        process = self.start(log, command)
        until(lambda: b"Ray runtime started" in log.read_bytes(), log, process)
        return process


def until(condition: Callable[[], object], log: Path, process: subprocess.Popen[Any], limit_s: float = 300.0) -> None:
    """Wait for a condition while a process runs; what it logged is the message if it ends, or time runs out."""
    limit = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None and time.monotonic() < limit, log.read_text(errors="replace")[-4000:]
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _port(address: str) -> str:
    return address.rsplit(":", 1)[1]


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return process.cmdline()
    return []
