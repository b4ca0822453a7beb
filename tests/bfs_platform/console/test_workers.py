"""Processes of Ray: what they say for people reaches people, what libraries print there reaches the log."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bfs_platform.console import screen

JOB = """
import time
from bfs_platform.console import log_file
from bfs_platform.jobs import connect_ray, run_job

def work():
    import logging, sys
    from bfs_platform.console.screen import in_worker, say
    in_worker()
    say("a worker speaks: \u00fc [1x]")
    logging.getLogger("bfs_platform.train").warning("a worker warns")
    print("a library in a worker", file=sys.stderr)

def main():
    connect_ray()
    import ray
    ray.get(ray.remote(num_cpus=0)(work).remote())
    deadline = time.monotonic() + 60  # Ray brings what workers print when it comes to it
    while b"a library in a worker" not in log_file._log.content() and time.monotonic() < deadline:
        time.sleep(0.1)
    return "/data/manifest.json"

run_job(main)
"""


@pytest.mark.ray
def test_people_see_what_a_worker_says_for_them(ray_cluster: Any, bare_env: dict[str, str], tmp_path: Path) -> None:
    """Word for word, without Ray's prefix; what the worker's libraries print stands in the log, without colours."""
    env = bare_env | {"RAY_ADDRESS": ray_cluster.address_info["address"], "BFS_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", JOB], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0 and done.stdout == "/data/manifest.json\n"
    lines = done.stderr.splitlines()
    assert lines[:2] == ["a worker speaks: ü [1x]", "a worker warns"] and len(lines) == 3 and lines[2].startswith("Log: ")
    (log,) = (tmp_path / "home" / "logs").glob("*.log")
    assert "a library in a worker" in log.read_text() and "\x1b" not in log.read_text()


def test_marks_survive_what_ray_puts_around_them() -> None:
    """In front stands the process, behind how often the line was left out; a torn line is a library's."""
    said = f'{screen.MARK}"it\\nis so"'
    assert screen.marked(f"\x1b[36m(worker pid=7)\x1b[0m {said} [repeated 2x across cluster]\n") == "it\nis so"
    assert screen.marked(said[:-3]) is None and screen.marked("plain") is None
