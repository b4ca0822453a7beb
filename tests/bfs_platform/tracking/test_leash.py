"""A server never outlives whoever started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bfs_platform.tracking import leash, server

# A "server" with a worker process in its group; a stubborn worker ignores the polite signal. Both ids are written when both are up.
GROUP = """
import os, subprocess, sys, time
worker = "import signal, sys, time; signal.signal(signal.SIGTERM, int(sys.argv[1])); print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", worker, sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
# Starts the command on a leash, says which processes run, and then waits to be killed.
OWNER = """
import subprocess, sys, time
process = subprocess.Popen([sys.executable, "-I", *sys.argv[1:]], stdin=subprocess.PIPE, start_new_session=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: list[int], within_s: float) -> list[int]:
    """Ids still running after at most `within_s`."""
    deadline = time.monotonic() + within_s
    while (left := [pid for pid in pids if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.mark.parametrize(
    ("end", "worker_handler"), [(signal.SIGKILL, signal.SIG_IGN), (signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.SIG_DFL)]
)
def test_whatever_ends_the_owner_ends_the_group(end, worker_handler) -> None:
    """Even SIGKILL of the owner ends the server and a worker that ignores SIGTERM."""
    command = [sys.executable, "-c", OWNER, leash.__file__, sys.executable, "-c", GROUP, str(int(worker_handler))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as owner:
        assert owner.stdout
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 2 and all(alive(pid) for pid in pids)
        owner.send_signal(end)
        owner.wait()
        assert wait_until_gone(pids, leash.GRACE_S + 10) == []


def test_the_exit_code_passes_through() -> None:
    """A command that ends by itself gives the leash its exit code."""
    command = [sys.executable, "-I", leash.__file__, sys.executable, "-c", "raise SystemExit(7)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(20) == 7


def test_a_server_that_does_not_come_up_shows_its_log(tmp_path, monkeypatch) -> None:
    """The error holds the end of the log, and the process is gone."""
    program = "import os, sys; print(os.getpid()); sys.exit('no database today')"
    monkeypatch.setattr(server, "server_command", lambda *given: [sys.executable, "-c", program])
    with pytest.raises(RuntimeError, match="no database today"), server.mlflow_server(tmp_path):
        pytest.fail("the block must not run")
    assert not alive(int((tmp_path / "mlflow-server.log").read_text().split()[0]))


def test_an_exception_in_the_block_ends_the_server(tmp_path, monkeypatch) -> None:
    """Leaving the block by an exception stops the process and lets the exception through."""
    program = (
        "import http.server, os, sys; print(os.getpid(), flush=True);"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    (tmp_path / "health").write_text("OK")
    monkeypatch.setattr(server, "server_command", lambda port, *stores: [sys.executable, "-c", program, str(port)])
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    seen = []

    def interrupted(uri: str) -> None:
        seen.append(int((tmp_path / "mlflow-server.log").read_text().split()[0]))
        assert uri.startswith("http://127.0.0.1:") and alive(seen[0]) and os.getpgid(seen[0]) != os.getpgid(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), server.mlflow_server(tmp_path) as uri:
        interrupted(uri)
    assert not alive(seen[0])
