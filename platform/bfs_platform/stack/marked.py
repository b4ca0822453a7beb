"""Processes of a stack: found by a mark in their environment, which whatever they start inherits, and ended by their ids.

A recorded id alone is not enough: Ray's workers and submitted jobs make sessions of their own and outlive their parent.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

VARIABLE = "BFS_STACK"
_LOOK_S = 0.2
_KILLED_WITHIN_S = 10.0


@dataclass(frozen=True)
class Started:
    """A process as it is recorded: ids are used again by the system, so an id means nothing without the time of creation, in seconds
    since the machine was started: a clock that is set does not move it."""

    pid: int
    created_s: float

    @property
    def runs(self) -> bool:
        """Whether this very process is there."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            return abs(_created_s(self.pid) - self.created_s) < 0.05 and process.status() != psutil.STATUS_ZOMBIE
        return False


def start(command: Sequence[str], environment: Mapping[str, str], mark: str, log: Path, cwd: Path, user: str = "") -> Started:
    """Start a program that outlives this one; what it prints is appended to `log`. `user`: whom it runs as, where not ourselves."""
    ids: dict[str, Any] = {"user": user, "group": "nogroup", "extra_groups": []} if user else {}
    log.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        process = subprocess.Popen(
            command,
            env={**environment, VARIABLE: mark},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **ids,
        )
    return Started(process.pid, _created_s(process.pid))


def marked(mark: str) -> list[psutil.Process]:
    """The processes whose mark begins with `mark`, zombies left out."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(VARIABLE, "").startswith(mark) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def listens(mark: str, port: int) -> bool:
    """Whether a process with this mark listens on a port."""
    holders = {c.pid for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port}
    return any(process.pid in holders for process in marked(mark))


def end(started: Started | None, mark: str, grace_s: float) -> list[int]:
    """End a program and all that it started: SIGTERM to it, so that it ends what is its own, and SIGKILL to what is left after `grace_s`.

    Returns the ids that had to be killed. Raises `RuntimeError` when something is there even so.
    """
    left = marked(mark)
    for process in left:
        if started is None or not started.runs or process.pid == started.pid:
            _send(process, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    killed = [process.pid for process in left]
    deadline = time.monotonic() + _KILLED_WITHIN_S
    while left := marked(mark):
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {', '.join(str(process.pid) for process in left)} do not end")
        for process in left:
            _send(process, signal.SIGKILL)
        time.sleep(_LOOK_S)
    return killed


def program(name: str, *folders: str) -> str | None:
    """The path of a program: on the PATH, or in `folders`, which may hold wildcards; of several, the last by name."""
    found = shutil.which(name)
    others = [path for folder in folders for path in sorted(Path("/").glob(f"{folder.strip('/')}/{name}"))]
    return found or (str(others[-1]) if others else None)


def _created_s(pid: int) -> float:
    """When a process was started, in seconds since the machine was. Raises `psutil.NoSuchProcess`."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(pid) from None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")  # starttime of proc(5), counted from behind the name


def _send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
