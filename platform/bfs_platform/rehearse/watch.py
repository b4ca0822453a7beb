"""One command under watch: how long it takes, what it and the cluster that it runs on hold and compute, and where it may be killed."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from bfs_platform.jobs import Failure

_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen of a command, of its processes and all others of this one's, a cluster's among them.

    `peak_bytes`: memory that they together held at most, what they share left out. `cpu_s`: processor time, which does not grow with
    what else a machine has to do; of a process that came and went between two looks it is not counted.
    """

    wall_s: float
    peak_bytes: int
    cpu_s: float
    killed: bool = False


def watched(command: Sequence[str], environment: Mapping[str, str], log: Path, kill_when: Callable[[], bool] | None = None) -> Watched:
    """Run a command to its end, its output at the end of `log`; or SIGKILL it and its children as soon as `kill_when` says so.

    Raises `Failure` with its last line when it fails.
    """
    with log.open("ab") as output:
        began = time.monotonic()
        process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output, start_new_session=True)
        meter, ended = _Meter(), threading.Event()
        watcher = threading.Thread(target=meter.watch, args=(ended,), daemon=True)
        watcher.start()
        try:
            killed = _until(process, kill_when)
        finally:
            ended.set()
            watcher.join()
            meter.sample()
            _end(process)
    if not killed and process.returncode != 0:
        raise Failure(f"{Path(command[1]).name} ended with exit code {process.returncode}: {_last_line(log)}; see {log}")
    return Watched(time.monotonic() - began, meter.peak_bytes, meter.cpu_s(), killed)


def _until(process: "subprocess.Popen[bytes]", kill_when: Callable[[], bool] | None) -> bool:
    """Wait for the end. Whether it had to be killed."""
    while process.poll() is None:
        if kill_when is not None and kill_when():
            return True
        time.sleep(_EVERY_S / 2)
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Leave nothing of the command behind, however this is left."""
    for child in _family(process.pid):
        with contextlib.suppress(psutil.Error):
            child.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _family(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        return [*parent.children(recursive=True), parent]
    return []


class _Meter:
    """Looks at all processes that descend from this one."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._first: dict[tuple[int, float], float] = {}
        self._last: dict[tuple[int, float], float] = {}
        self.sample(begun=True)

    def watch(self, ended: threading.Event) -> None:
        while not ended.wait(_EVERY_S):
            self.sample()

    def cpu_s(self) -> float:
        """Processor seconds of all of them since the first look."""
        return sum(seconds - self._first[who] for who, seconds in self._last.items())

    def sample(self, begun: bool = False) -> None:
        """What they hold and have used at this moment."""
        held = 0
        for child in _family(os.getpid())[:-1]:
            with contextlib.suppress(psutil.Error):
                memory, times, who = child.memory_info(), child.cpu_times(), (child.pid, child.create_time())
                held += memory.rss - getattr(memory, "shared", 0)
                self._first.setdefault(who, times.user + times.system if begun else 0.0)
                self._last[who] = times.user + times.system
        self.peak_bytes = max(self.peak_bytes, held)


def _last_line(log: Path) -> str:
    file: IO[bytes]
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
