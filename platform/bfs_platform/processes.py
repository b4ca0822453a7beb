"""Child processes and clusters that never outlive the program that started them."""

import logging
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bfs_platform.jobs import keep_ray_on_loopback
from bfs_platform.tracking import leash

ROOT = Path(__file__).resolve().parents[2]

# What Ray's C++ side says about its own actors and logs; errors arrive as exceptions.
_REMARK = re.compile(r"(core_worker|logging)\.cc:\d+\]?: ")


class Child:
    """A command on a leash: it and all its descendants end with the `with` block, and also when this process is killed.

    Its stdout and stderr pass through to stderr, line by line.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command, self._environment = [sys.executable, "-I", leash.__file__, *command], dict(environment)
        self._lines = threading.Condition()
        self._seen: list[str] = []
        self._ended = False

    def __enter__(self) -> Self:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._process = subprocess.Popen(self._command, **pipes, env=self._environment, start_new_session=True, text=True)
        self._reader = threading.Thread(target=self._pass_on, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # lets go of the leash
        self._process.wait()
        self._reader.join(timeout=5)

    def wait(self) -> int:
        """Wait for the end of the command and return its exit code."""
        return self._process.wait()

    def wait_for(self, text: str) -> None:
        """Wait until a line contains `text`. Raises `RuntimeError` when the command ends before."""

        def told() -> bool:
            return any(text in line for line in self._seen)

        with self._lines:
            self._lines.wait_for(lambda: told() or self._ended)
        if not told():
            code = self._process.wait()
            raise RuntimeError(f"{self._command[5]} ended with exit code {code} before it was ready; its messages stand above")

    def _pass_on(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not _REMARK.search(line):
                print("    " + line.rstrip(), file=sys.stderr, flush=True)
            with self._lines:
                self._seen.append(line)
                self._lines.notify_all()
        with self._lines:
            self._ended = True
            self._lines.notify_all()


def run_script(name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run jobs/`name`.py to its end; the command and its progress go to stderr. Raises `RuntimeError` when it fails."""
    command = [sys.executable, str(ROOT / "jobs" / f"{name}.py"), *arguments]
    show(command)
    with Child(command, environment) as child:
        code = child.wait()
    if code != 0:
        raise RuntimeError(f"jobs/{name}.py ended with exit code {code}; its messages stand above")


def show(command: Sequence[str]) -> None:
    """Print a command to stderr as a user would type it."""
    short = ["python", *(part.replace(f"{ROOT}/", "").replace(f"{Path.cwd()}/", "") for part in command[1:])]
    print("  $ " + " ".join(short), file=sys.stderr, flush=True)


def free_port() -> int:
    """A port on the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def private_cluster() -> Iterator[dict[str, str]]:
    """A Ray cluster of this machine for as long as the block lasts, closed to others by a token of its own.

    Its Serve proxies carry the edge guard, so that the service can run on it. Yields the environment variables with which
    other processes join it.
    """
    os.umask(0o077)
    closed = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    quiet = {"PYTHONWARNINGS": "ignore", "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "bfs_serve.guard:middlewares"}
    os.environ.update(closed | quiet)
    keep_ray_on_loopback()
    import ray

    num_cpus = max(4, os.cpu_count() or 1)
    context: Any = ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield closed | quiet | {"RAY_ADDRESS": context.address_info["address"]}
    finally:
        ray.shutdown()
