"""Shared fixtures. Set-up that must precede the first import of torch, Ray or DeepSpeed happens at the top of this file."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# A shell that starts a program in the background lets it ignore Ctrl-C, and its children inherit that; tests of Ctrl-C then wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# One thread per process: the tiny models gain nothing from more, sums are the same on any number of cores, and the
# processes of a Ray test do not fight for two of them.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# As in an activated environment: jobs that Ray starts say `python`.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
# The clusters of tests are closed by a token that only this run knows.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))
# Ray replaces 127.0.0.1 by an address that others can reach, unless it believes that clusters of several hosts are not wanted.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
# No test may reach a model hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The root of the repository."""
    return _ROOT


@pytest.fixture(scope="session")
def bare_env() -> dict[str, str]:
    """An environment for subprocesses as a user's shell would have it: nothing that adds to the import path."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV_", "PYTEST_"))}


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Ray cluster for the session: 4 logical CPUs, loopback, token authentication, dashboard and job API on.

    Yields Ray's context: `.address_info["address"]` and `.dashboard_url` (host:port, without a scheme). This process is
    connected to it. Every port is picked free, and its directory is its own, so that it stands beside any other cluster of the
    machine: jobs look up the address of their cluster there, and in a shared one find that of whoever started last.
    """
    import ray

    gcs_port, *other_ports = _free_ports(4)
    log = tmp_path_factory.mktemp("ray") / "start.log"
    directory = tempfile.mkdtemp(prefix="bfs-ray-")  # not pytest's: the names of sockets are short
    command = [*_ray_start(gcs_port, *other_ports), f"--temp-dir={directory}"]
    with log.open("wb") as output:
        head = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        context = _connected(f"127.0.0.1:{gcs_port}", head, log)
        yield context
        ray.shutdown()
    finally:
        head.terminate()  # takes its whole cluster down, and only that
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _ray_start(gcs_port: int, dashboard_port: int, agent_port: int, client_port: int) -> list[str]:
    address = ["--head", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1", f"--port={gcs_port}"]
    dashboard = ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}"]
    ports = [f"--dashboard-agent-listen-port={agent_port}", f"--ray-client-server-port={client_port}"]
    size = ["--num-cpus=4", f"--object-store-memory={512 * 1024**2}"]
    return [sys.executable, "-m", "ray.scripts.scripts", "start", *address, *dashboard, *ports, *size]


def _connected(address: str, head: subprocess.Popen[bytes], log: Path) -> Any:
    """Connect to a cluster that is starting."""
    import ray

    deadline = time.monotonic() + 120
    while True:
        # `ray start` says this when everything runs; to knock earlier costs Ray's own long timeouts.
        if b"Ray runtime started" in log.read_bytes():
            return ray.init(address=address, log_to_driver=False, logging_level="error")
        assert head.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
