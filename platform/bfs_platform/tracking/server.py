"""A real MLflow tracking server for as long as a `with` block lasts."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bfs_model.errors import BadInput
from bfs_platform.tracking import leash

SERVER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PYTHONWARNINGS": "ignore",
}
NOT_INHERITED = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID")


@contextmanager
def mlflow_server(root: Path | str, port: int | None = None, *, database: str | None = None, ready_within_s: float = 90.0) -> Iterator[str]:
    """Start `mlflow server` on the loopback interface and yield its URI; nothing of it runs on after the block.

    Args: `root` keeps the artifacts, the log, and the database unless it is another one (SQLAlchemy's URL); `port` is a free one by
        default. Only requests whose Host is `127.0.0.1:port` or `localhost:port` are answered. The server also ends when this
        process is killed.
    Raises: `BadInput` when `port` is taken; `RuntimeError`, with the end of the log, when the server does not come up.
    """
    root = Path(root).absolute()
    root.mkdir(parents=True, exist_ok=True)
    port = _available_port(port)
    log_path = root / "mlflow-server.log"
    environment = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED} | SERVER_ENVIRONMENT
    store = (database or f"sqlite:///{root / 'mlflow.db'}", (root / "artifacts").as_uri())
    command = [sys.executable, "-I", leash.__file__, *server_command(port, *store)]
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, cwd=root, start_new_session=True
        )
    try:
        uri = f"http://127.0.0.1:{port}"
        _wait_until_healthy(uri, process, log_path, ready_within_s)
        yield uri
    finally:
        _release(process)


def server_command(port: int, backend: str, artifacts: str) -> list[str]:
    """`mlflow server` on the loopback interface, for requests that name it. `backend`: its database; `artifacts`: where files go."""
    hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
    options = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
        "--backend-store-uri": backend,
        "--artifacts-destination": artifacts,
        "--allowed-hosts": ",".join(hosts),
        "--cors-allowed-origins": ",".join(f"http://{host}" for host in hosts),
        "--x-frame-options": "DENY",
    }
    return [sys.executable, "-m", "mlflow", "server", *(part for option in options.items() for part in option)]


def _available_port(port: int | None) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will, so TIME_WAIT is no obstacle
        try:
            probe.bind(("127.0.0.1", port or 0))
        except OSError:
            raise BadInput("port", port, "is in use", "choose another or leave it out for a free one") from None
        return int(probe.getsockname()[1])


def _wait_until_healthy(uri: str, process: "subprocess.Popen[bytes]", log_path: Path, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of this machine's loopback
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with direct.open(f"{uri}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    tail = log_path.read_text(encoding="utf-8", errors="replace")[-2000:]
    state = f"ended with {process.returncode}" if process.poll() is not None else f"did not answer within {limit_s:.0f} s"
    raise RuntimeError(f"mlflow server {state}; the end of {log_path}:\n{tail}")


def _release(process: "subprocess.Popen[bytes]") -> None:
    """Let go of the leash and wait until the group is gone."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(timeout=leash.GRACE_S + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
