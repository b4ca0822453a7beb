"""What a user has: a shell that holds HOME and PATH, and Ray clusters started from it with `ray start --head`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nodes import free_port

BIN = Path(sys.executable).parent
_TRIES = 4


@dataclass(frozen=True)
class Head:
    """A running head: HOST:PORT of the cluster, and the URL of its dashboard and job API."""

    address: str
    dashboard: str


def bare_shell(home: Path, **variables: str) -> dict[str, str]:
    """The environment of `env -i HOME=… PATH=…`; the environment's own programs can be called by name, as after activation."""
    return {"HOME": str(home), "PATH": f"{BIN}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"} | variables


@contextlib.contextmanager
def ray_start(home: Path, scratch: Path, **variables: str) -> Iterator[Head]:
    """`ray start --head` from a bare shell, on ports and in a directory of its own; ended with the block."""
    gcs, dashboard, agent, agent_grpc, client = (str(free_port()) for _ in range(5))
    ports = [f"--port={gcs}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    ports += [
        f"--dashboard-agent-grpc-port={agent_grpc}",
        f"--ray-client-server-port={client}",
        "--min-worker-port=0",
        "--max-worker-port=0",
    ]
    size = ["--num-cpus=4", f"--object-store-memory={200 * 1024**2}", f"--temp-dir={scratch}", "--disable-usage-stats"]
    command = [str(BIN / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1", *ports, *size]
    # As it comes it listens on all interfaces; tests do not.
    env = bare_shell(home, RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", **variables)
    head = _started(command, env, home / "ray.log")
    try:
        yield Head(f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}")
    finally:
        head.terminate()  # takes its cluster down
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()


def _started(command: list[str], env: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """A head that says that it runs. `ray start` gives itself 30 seconds, too few on a busy machine: it gets several tries."""
    for _ in range(_TRIES):
        with log.open("wb") as output:
            head = subprocess.Popen(command, env=env, stdout=output, stderr=output, start_new_session=True)
        while head.poll() is None:
            if b"Ray runtime started" in log.read_bytes():
                return head
            time.sleep(0.2)
    raise AssertionError(log.read_text())
