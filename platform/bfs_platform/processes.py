"""Child processes and clusters that never outlive the program that started them."""

import logging
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bfs_platform.cluster import connection
from bfs_platform.cluster.environment import settle_private
from bfs_platform.console.screen import error_stream, say
from bfs_platform.jobs import Failure
from bfs_platform.tracking import leash

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A command on a leash: it and all its descendants end with the `with` block, and also when this process is killed.

    What it says goes into the log of this process; with `shown`, people see its stderr itself, so that it can draw its bars.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], shown: bool = False) -> None:
        self._command, self._environment = [sys.executable, "-I", leash.__file__, *command], dict(environment)
        self._shown = shown
        self._lines = threading.Condition()
        self._seen: list[str] = []
        self._ended = False

    def __enter__(self) -> Self:
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": _seen_by_people() if self._shown else subprocess.STDOUT,
        }
        self._process = subprocess.Popen(self._command, **pipes, env=self._environment, start_new_session=True, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
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
        """Wait until a line contains `text`. Raises `Failure`, with its last line, when the command ends before."""

        def told() -> bool:
            return any(text in line for line in self._seen)

        with self._lines:
            self._lines.wait_for(lambda: told() or self._ended)
        if not told():
            code = self._process.wait()
            last = next((line.strip() for line in reversed(self._seen) if line.strip()), "it said nothing")
            raise Failure(f"{self._command[3]} ended with exit code {code} before it was ready: {last}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            sys.stderr.write(line)
            with self._lines:
                self._seen.append(line)
                self._lines.notify_all()
        with self._lines:
            self._ended = True
            self._lines.notify_all()


def run_script(name: str, arguments: Sequence[str], environment: Mapping[str, str], told: Sequence[str] = ()) -> None:
    """Run jobs/`name`.py to its end; the command and its progress go to stderr. Raises `Failure` when it fails.

    `told` names the variables of `environment` without which the command would do something else.
    """
    command = [sys.executable, str(ROOT / "jobs" / f"{name}.py"), *arguments]
    show(command, {name: environment[name] for name in told})
    with Child(command, environment, shown=True) as child:
        code = child.wait()
    if code in (130, 143):
        raise KeyboardInterrupt
    if code != 0:
        raise Failure(f"jobs/{name}.py ended with exit code {code}; its messages stand above")


def show(command: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
    """Say a command as a user would type it: it runs as it stands in a shell of this directory."""
    before = [f"{name}={shlex.quote(short(value))}" for name, value in (variables or {}).items()]
    say("  $ " + " ".join([*before, shlex.join(short(part) for part in command)]))


def short(text: str) -> str:
    """`text` with the paths below this directory made relative to it; those in URIs stay whole."""
    return re.sub(rf"(?<![/\w]){re.escape(str(Path.cwd()))}/", "", text)


def _seen_by_people() -> Any:
    """The stderr that people see, for a child; this process's own where it is no file of the system."""
    try:
        return error_stream().fileno()
    except (OSError, ValueError):
        return None


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
    os.environ["PYTHONWARNINGS"] = "ignore"
    settle_private({"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "bfs_serve.guard:middlewares"})
    num_cpus = max(4, os.cpu_count() or 1)
    address = connection.start_private(num_cpus, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield {name: value for name, value in os.environ.items() if name.startswith("RAY_")} | {
            "PYTHONWARNINGS": "ignore",
            "RAY_ADDRESS": address,
        }
    finally:
        connection.leave()
