"""The whole demo, small, as a user runs it, and everything that it prints for users to type."""

import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.soak

# What people see: titles, commands, progress, and what jobs conclude. A line of a library fits none of them.
OURS = [
    r"",
    r"BFS demo in \S+, on a Ray cluster of its own\. What libraries print is in \S+/demo\.log\.",
    r"\[\d/8\] .*  \(.* so far\)",
    r"  \$ (BFS_HOME=\S+ )?(\S*/\.venv/bin/\S+|\.venv/bin/\S+|curl) .*",
    r"(rendering|stage-[12] set|demo_stage[12]|evaluation): \d+/\d+ (scenes|records|steps)(, | in ).*",
    r"\d+ of \d+ records evaluated\.",
    r"  (model|identity|truth) +\w+ [\d.]+.*",
    r"Logged to MLflow run [0-9a-f]{32} at sqlite:.*",
    r"Gate \w+: passed: .*",
    r"bfs@champion is now version 1 \(before: nothing\)\.",
    r"service: drawn by models:/bfs@champion\S*, seed 7",
    r"Done in .*\. Nothing is left running\. To look at:",
    r"  \S+\.(png|psd)  .*",
    r"The report of the evaluation; the runs and the registry; a layer of your own; the service:",
]


def test_the_demo_says_only_what_is_ours_and_its_commands_run(repo_root: Path, tmp_path: Path) -> None:
    """Every line of the demo matches a format of ours, the picture is there, and the commands at its end run from a bare shell."""
    bare = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "dumb", "BROWSER": "true"}
    out = tmp_path / "demo"
    demo = [".venv/bin/python", "-m", "bfs_platform.demo", "--scenes", "16", "--output", str(out)]
    done = subprocess.run(demo, cwd=repo_root, env=bare, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stderr.splitlines()
    assert [line for line in lines if not any(re.fullmatch(form, line) for form in OURS)] == []
    assert Image.open(out / "result" / "overview.png").width > 1000 and (out / "demo.log").stat().st_size > 0
    report, runs, layer, service = [line.removeprefix("  $ ") for line in lines if line.startswith("  $ ")][-4:]
    for command in (report, layer):
        assert subprocess.run(command, shell=True, cwd=repo_root, env=bare, timeout=300, check=False).returncode == 0, command
    assert (out / "result" / "mine.psd").exists()
    _serves(f"{runs} --port 5017", "http://127.0.0.1:5017/health", repo_root, bare)
    _serves(f"{service} --port 8017", "http://127.0.0.1:8017/readyz", repo_root, bare)


def _serves(command: str, url: str, root: Path, env: dict[str, str]) -> None:
    """A command that runs until it is told to stop answers within two minutes."""
    process = subprocess.Popen(f"exec env {command}", shell=True, cwd=root, env=env, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5):
                    return
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, command
                time.sleep(0.5)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
