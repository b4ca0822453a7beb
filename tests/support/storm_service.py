"""A service as a program, on one port from start to start: stopped, killed with all its processes, and started again on its store."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import psutil
from nodes import free_port

_HERE = Path(__file__).parent
_STEP_S = 0.05
# Ray gives its workers way to all other programs; on a busy machine a storm would then never end.
NICENESS = {"RAY_worker_niceness": "0"}


class StormService:
    """`python -m bfs_serve` with an engine of `tests/support`, its state in `folder`. `options`: further arguments; `env`: variables.

    The engine of storms writes what it draws to `drawn`; with `tiny` it draws with the embedded model as well.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        engine: str = "storm_engine:StormEngine",
        model: str = "",
        tiny: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.store = options[options.index("--store") + 1] if "--store" in options else str(folder / "jobs.db")
        self.drawn, self.log, self.port = folder / "drawn", folder / "service.log", free_port()
        self.drawn.touch()
        served = model or f"fake?step_s={_STEP_S}&drawn={self.drawn}" + ",tiny" * tiny
        where = ["--port", str(self.port), "--blobs", str(folder / "blobs"), "--store", self.store]
        self._command = [sys.executable, "-m", "bfs_serve", "--engine", engine, "--model", served, *where, *options]
        path = os.pathsep.join(filter(None, [str(_HERE), os.environ.get("PYTHONPATH")]))  # replicas must find the engine, too
        self._env = os.environ | NICENESS | {"BFS_HOME": str(folder), "PYTHONPATH": path} | dict(env or {})
        self._process: subprocess.Popen[str] | None = None
        self._left_alone: list[psutil.Process] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pids(self) -> list[int]:
        """Below which the service runs."""
        return [] if self._process is None else [self._process.pid]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Return when it says that it is ready."""
        with self.log.open("a") as log:
            self._process = subprocess.Popen(self._command, env=self._env, stderr=subprocess.PIPE, stdout=log, text=True)
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if line.startswith("ready http"):
                break
        else:
            raise AssertionError("".join(said)[-3000:])
        threading.Thread(target=self._write_down, args=(self._process,), daemon=True).start()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(240)

    def behead(self) -> None:
        """SIGKILL to the main process alone; what it started must notice by itself."""
        assert self._process is not None
        self._left_alone += psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """SIGKILL to all processes at once, as when a machine loses its power."""
        if self._process is None:
            return
        gone = [*self._left_alone]
        with contextlib.suppress(psutil.NoSuchProcess):
            gone += [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        for process in gone:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(gone, 20)
        self._process.wait()

    def _write_down(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        with process.stderr, self.log.open("a") as log:
            log.writelines(process.stderr)
