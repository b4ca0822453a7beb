"""Machines that go away under a training run: a worker node, and the head with everything on it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import training

from bfs_platform.train import checkpoints

pytestmark = pytest.mark.soak

SETTINGS = [
    *(f"--set={change}" for change in training.SHORT if not change.startswith(("num_steps", "checkpoint", "optimizer"))),
    *("--set=num_steps=1500", "--set=checkpoint.every_steps=20", "--set=num_workers=2", "--set=optimizer.lr=1e-5"),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Path]]:
    """A bundle and both sets."""
    root = tmp_path_factory.mktemp("inputs")
    base = training.write_base(root / "base")
    return base, {stage: training.write_set(root / f"stage{stage}", stage, base) for stage in (1, 2)}


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a test starts, each with a group of its own; killed with all they started at the end."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in reversed(started):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _start(processes: list[subprocess.Popen[bytes]], log: Path, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | environment, start_new_session=True)
    processes.append(process)
    return process


def _node(processes: list[subprocess.Popen[bytes]], log: Path, *where: str) -> subprocess.Popen[bytes]:
    size = ("--num-cpus=1", f"--object-store-memory={200 * 1024**2}", "--disable-usage-stats", "--node-ip-address=127.0.0.1", "--block")
    process = _start(processes, log, [sys.executable, "-m", "ray.scripts.scripts", "start", *where, *size])
    _until(lambda: b"Ray runtime started" in log.read_bytes(), log, process)
    return process


def _train(processes: Any, log: Path, root: Path, output: Path, inputs: Any, *changes: str, **environment: str) -> subprocess.Popen[bytes]:
    base, datasets = inputs
    sets = [f"--dataset={path}" for path in datasets.values()]
    command = [sys.executable, str(root / "jobs" / "stage2.py"), f"--base={base}", f"--output={output}", *sets, *SETTINGS, *changes]
    return _start(processes, log, command, BFS_HOME=str(output.parent / "home"), **environment)


def _until(condition: Any, log: Path, process: subprocess.Popen[bytes], limit_s: float = 300.0) -> None:
    limit = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None and time.monotonic() < limit, log.read_text(errors="replace")[-4000:]
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _sizes(output: Path) -> list[int]:
    """Numbers of workers in the order in which the run has had them."""
    sizes: list[int] = []
    for line in training.losses_of(output) if (output / "losses.jsonl").exists() else []:
        if not sizes or sizes[-1] != int(line["num_workers"]):
            sizes.append(int(line["num_workers"]))
    return sizes


def test_a_lost_node_shrinks_the_group_and_a_new_one_grows_it(
    inputs: Any, processes: list[subprocess.Popen[bytes]], tmp_path: Path, repo_root: Path
) -> None:
    """Two nodes of one CPU: one is killed, the run goes on with one worker; another joins, and it has two again. Same result to 1e-6."""
    port = _free_port()
    _node(processes, tmp_path / "head.log", "--head", f"--port={port}", "--include-dashboard=false")
    second = _node(processes, tmp_path / "second.log", f"--address=127.0.0.1:{port}")
    output, log = tmp_path / "run", tmp_path / "job.log"
    elastic = ("--set=min_workers=1", "--set=elastic_interval_s=5")
    job = _train(processes, log, repo_root, output, inputs, *elastic, RAY_ADDRESS=f"127.0.0.1:{port}")
    _until(lambda: checkpoints.path_of(output, 40) in checkpoints.committed(output), log, job)
    os.killpg(second.pid, signal.SIGKILL)
    _until(lambda: _sizes(output) == [2, 1], log, job)
    _node(processes, tmp_path / "third.log", f"--address=127.0.0.1:{port}")
    assert job.wait(900) == 0, log.read_text(errors="replace")[-4000:]
    assert _sizes(output) == [2, 1, 2]
    alone = _train(processes, tmp_path / "alone.log", repo_root, tmp_path / "alone", inputs, "--set=num_workers=0")
    assert alone.wait(900) == 0
    weights = [training.weights_of(folder / "model" / "manifest.json") for folder in (output, tmp_path / "alone")]
    assert training.difference(*weights) < 1e-6


def test_the_head_dies_with_everything_and_the_same_command_goes_on(
    inputs: Any, processes: list[subprocess.Popen[bytes]], tmp_path: Path, repo_root: Path
) -> None:
    """Driver, head and workers of a private cluster are killed at once; the same command continues and changes no bit."""
    output, log = tmp_path / "run", tmp_path / "job.log"
    job = _train(processes, log, repo_root, output, inputs)
    _until(lambda: len(checkpoints.committed(output)) > 1, log, job)
    for pid in _descendants(job.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    job.wait()
    assert not (output / "model").exists()
    again = _train(processes, log, repo_root, output, inputs)
    assert again.wait(900) == 0, log.read_text(errors="replace")[-4000:]
    whole = _train(processes, tmp_path / "whole.log", repo_root, tmp_path / "whole", inputs)
    assert whole.wait(900) == 0
    weights = [training.weights_of(folder / "model" / "manifest.json") for folder in (output, tmp_path / "whole")]
    assert training.difference(*weights) == 0


def _descendants(pid: int) -> list[int]:
    """A process and all that it started, directly or not."""
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)] + [pid]
