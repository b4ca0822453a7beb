"""What is seen of a command that a rehearsal runs."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bfs_platform.jobs import Failure
from bfs_platform.rehearse.watch import watched

HOLD = "import pathlib, sys, time; kept = bytearray(200 << 20); pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"


def test_memory_and_time_are_those_of_all_processes(tmp_path: Path) -> None:
    """A child of the command's holds 200 MiB; so does one that was there before, as a cluster's workers are. Killed, it leaves nothing."""
    there, begun, before = tmp_path / "there", tmp_path / "begun", set(psutil.Process().children(recursive=True))
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}, {str(begun)!r}])"
    beside = subprocess.Popen([sys.executable, "-c", HOLD, str(there)])
    try:
        # Each makes its file when it has its 200 MiB.
        seen = watched([sys.executable, "-c", nested], os.environ, tmp_path / "log", kill_when=lambda: there.exists() and begun.exists())
    finally:
        beside.kill()
        beside.wait()
    assert seen.killed and seen.peak_bytes > 350 << 20 and seen.cpu_s > 0 and seen.wall_s > 0
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_failure_says_its_last_line(tmp_path: Path) -> None:
    """With the exit code, and where the rest of it stands."""
    command = [sys.executable, "-c", "import sys; print('one'); sys.exit('the reason')"]
    with pytest.raises(Failure, match=rf"ended with exit code 1: the reason; see {tmp_path / 'log'}"):
        watched(command, os.environ, tmp_path / "log")
