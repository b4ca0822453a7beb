"""A local Ray cluster of several nodes, each a process group of this machine that can be killed like a machine."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
from namespaces import Machine

_STORE_BYTES = 100 * 1024**2
_TRIES = 10  # Ray gives a node half a minute to start, which is too little for a machine that is very busy
_RAY = (sys.executable, "-m", "ray.scripts.scripts")


class Nodes:
    """Starts nodes on the loopback interface, on free ports; at the end all of them are killed.

    `head` runs drivers and no tasks. Logs lie in `scratch`. With `machines`, each node is on one of these, the head on the first.
    """

    def __init__(self, scratch: Path, machines: Sequence[Machine] = ()) -> None:
        self._machines, self._others = machines, list(machines[1:])
        self._scratch = scratch
        self._directory = tempfile.mkdtemp(prefix="bfs-ray-")  # of the cluster alone; not pytest's: the names of sockets are short
        self._processes: list[subprocess.Popen[bytes]] = []
        for machine in machines:  # one path on all of them, and each has its own folder there
            own = Path(f"{self._directory}-{machine.name}")
            own.mkdir()
            subprocess.run([*machine.prefix, "mount", "--bind", str(own), self._directory], check=True)
        self._ip, self._on_head = (machines[0].address, machines[0].prefix) if machines else ("127.0.0.1", [])
        self.gcs, self.dashboard = f"{self._ip}:{free_port()}", f"{self._ip}:{free_port()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            self.kill(process)
        for folder in (self._directory, *(f"{self._directory}-{machine.name}" for machine in self._machines)):
            shutil.rmtree(folder, ignore_errors=True)

    def head(self, num_cpus: int = 0, dashboard: bool = False, *options: str) -> subprocess.Popen[bytes]:
        """Start the head, with the job API if `dashboard`; or start it again, at the same address."""
        own = f"{self._directory}-{self._machines[0].name}" if self._machines else self._directory
        Path(own, "ray_current_cluster").unlink(missing_ok=True)  # its nodes, of one machine, would be taken for the head
        shown = (f"--dashboard-host={self._ip}", f"--dashboard-port={_port(self.dashboard)}", f"--ray-client-server-port={free_port()}")
        where = ("--head", f"--port={_port(self.gcs)}", f"--include-dashboard={str(dashboard).lower()}", *shown)
        # Ports that the system picks: nodes of one machine would give their workers the same ones.
        ports = ("--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}")
        size = (f"--num-cpus={num_cpus}", f"--object-store-memory={_STORE_BYTES}", f"--temp-dir={self._directory}")
        how = ("--disable-usage-stats", f"--node-ip-address={self._ip}", "--block", *options)
        return self._node([*self._on_head, *_RAY, "start", *where, *ports, *size, *how])

    def add(self, num_cpus: int = 1, ip: str = "127.0.0.1") -> subprocess.Popen[bytes]:
        """Start another node; on the next machine, where there are machines."""
        machine = self._others.pop(0) if self._machines else None
        size = ["--cpus", str(num_cpus), "--object-store-bytes", str(_STORE_BYTES)]
        prefix, ip = (machine.prefix, machine.address) if machine else ([], ip)
        return self._node([*prefix, sys.executable, "-m", "bfs_platform.cluster.node", self.gcs, f"--ip={ip}", *size])

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
        for _ in range(_TRIES):
            process = self.start(log, command)
            while process.poll() is None:
                if b"Ray runtime started" in log.read_bytes():
                    return process
                time.sleep(0.1)
            self.kill(process)
        raise AssertionError(log.read_text(errors="replace")[-4000:])


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
