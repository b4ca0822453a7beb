"""Asks metrics that live in another Python environment: one child process each, JSON lines through its pipes."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bfs_model.errors import BadInput
from bfs_model.picture.images import png_bytes
from bfs_platform.evaluate.learned.spec import THIS_PYTHON

FOREIGN = {"pyiqa": ("musiq", "maniqa"), "hpsv3": ("hpsv3",)}
_PROBE_S = 300  # importing a package of this kind from a cold disk takes its time
_SCRIPT = Path(__file__).with_name("foreign_scorer.py")


class Absent(Exception):
    """A package does not load in the environment that was named; the text says why."""


class ForeignScorer:
    """A child process that scores pictures. It ends with this object, and by itself when this process dies."""

    def __init__(self, package: str, interpreter: str) -> None:
        """Start it and wait until its weights are loaded. Raises `Absent` or, for an interpreter that is none, `BadInput`."""
        self.package = package
        command = _command(package, interpreter)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=_env())
        self._folder = tempfile.TemporaryDirectory(prefix="bfs-scorer-")
        try:
            self.versions: dict[str, str] = _greeting(self._receive())
        except Exception:
            self.close()
            raise

    def score(self, picture: np.ndarray, prompt: str) -> dict[str, float]:
        """Scores of `picture` (uint8 [H, W, 3]) by name. Raises `RuntimeError` with what the other side said."""
        path = Path(self._folder.name) / "picture.png"
        path.write_bytes(png_bytes(picture))
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"image": str(path), "prompt": prompt}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(f"{self.package} ended") from None
        answer = self._receive()
        if "scores" not in answer:
            raise RuntimeError(answer.get("error", "no scores"))
        return {name: float(answer["scores"][name]) for name in FOREIGN[self.package]}

    def close(self) -> None:
        """End the process and remove its folder. May be called twice."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.package} ended without an answer")
        return dict(json.loads(line))


def probe(package: str, interpreter: str) -> dict[str, str]:
    """Versions of `package` and torch in the other environment. Raises `Absent` or `BadInput` as `ForeignScorer` does."""
    command = [*_command(package, interpreter), "--probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_S, env=_env())
    except subprocess.TimeoutExpired:
        raise BadInput(f"learned.{package}", interpreter, f"does not answer within {_PROBE_S} s", "see what its import waits for") from None
    lines = done.stdout.splitlines()
    if not lines:
        why = (done.stderr.strip().splitlines() or ["no output"])[-1]
        rule = f"is not a Python that works ({why[:160]})"
        raise BadInput(f"learned.{package}", interpreter, rule, "name the interpreter of its environment")
    return _greeting(json.loads(lines[0]))


def _greeting(message: dict[str, Any]) -> dict[str, str]:
    if "absent" in message:
        raise Absent(str(message["absent"]))
    return dict(message["versions"])


def _command(package: str, interpreter: str) -> list[str]:
    path = sys.executable if interpreter == THIS_PYTHON else interpreter
    if not os.access(path, os.X_OK) or not Path(path).is_file():
        raise BadInput(f"learned.{package}", interpreter, "is not an executable file", f"name the Python in which {package} is installed")
    return [path, str(_SCRIPT), package]


def _env() -> dict[str, str]:
    """Without our import path, which would mix the two environments."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
