"""Krita, driven: `run` calls a script inside it without a window, `show` starts the whole program on a screen that nobody sees."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

KRITARUNNER = shutil.which("kritarunner")
ABSENT = None if KRITARUNNER else "the program `kritarunner` (package krita) is not installed"
NO_SCREEN = ABSENT or (
    None if shutil.which("Xvfb") and shutil.which("xvfb-run") else "the program `xvfb-run` (package xvfb) is not installed"
)
_LIMIT_S = 300


def run(script: Path, home: Path, *arguments: object) -> str:
    """Call `main([*arguments])` of a script; returns what it printed. `home` keeps Krita's settings.

    kritarunner's exit code says nothing, so the script must print `done` as its last line.
    """
    env = _environment(home) | {"QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(script.parent)}
    command = [str(KRITARUNNER), "-s", script.stem, "-f", "main", *map(str, arguments)]
    result = subprocess.run(command, env=env, cwd=home, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S)
    assert result.stdout.endswith("done\n"), result.stdout + result.stderr
    return result.stdout


def show(home: Path, variables: Mapping[str, str], limit_s: float = 600) -> str:
    """Start Krita with its windows and plug-ins; returns what it said when it has ended itself."""
    command = ["xvfb-run", "--auto-servernum", "--server-args=-screen 0 1600x1000x24", "krita", "--nosplash"]
    with (home / "krita.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=_environment(home) | dict(variables),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            process.wait(limit_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return (home / "krita.log").read_text(encoding="utf-8", errors="replace")


def _environment(home: Path) -> dict[str, str]:
    # With our environment on the path, Krita's Python would take itself for ours, where there is no PyQt5.
    env = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    return env | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
