"""Machines that go away under a training run: a worker node, and the head with everything on it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import training
from nodes import Nodes, until

from bfs_platform.train.state import checkpoints

pytestmark = pytest.mark.soak

SETTINGS = [
    *(f"--set={change}" for change in training.SHORT if not change.startswith(("num_steps", "checkpoint", "optimizer"))),
    *("--set=num_steps=1500", "--set=checkpoint.every_steps=20", "--set=num_workers=2", "--set=optimizer.lr=1e-5"),
]
# Long enough to be killed in between; the other test waits for nodes meanwhile, and takes all the steps.
SHORTER = ("--set=num_steps=200", "--set=checkpoint.every_steps=10")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Path]]:
    """A bundle and both sets."""
    root = tmp_path_factory.mktemp("inputs")
    base = training.write_base(root / "base")
    return base, {stage: training.write_set(root / f"stage{stage}", stage, base) for stage in (1, 2)}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Nodes]:
    """Nodes and programs; killed with all that they started at the end."""
    with Nodes(tmp_path) as nodes:
        yield nodes


def _train(cluster: Nodes, log: Path, root: Path, output: Path, inputs: Any, *changes: str, **environment: str) -> subprocess.Popen[bytes]:
    base, datasets = inputs
    sets = [f"--dataset={path}" for path in datasets.values()]
    command = [sys.executable, str(root / "jobs" / "stage2.py"), f"--base={base}", f"--output={output}", *sets, *SETTINGS, *changes]
    return cluster.start(log, command, BFS_HOME=str(output.parent / "home"), **environment)


def _sizes(output: Path) -> list[int]:
    """Numbers of workers in the order in which the run has had them."""
    sizes: list[int] = []
    for line in training.losses_of(output) if (output / "losses.jsonl").exists() else []:
        if not sizes or sizes[-1] != int(line["num_workers"]):
            sizes.append(int(line["num_workers"]))
    return sizes


def test_a_lost_node_shrinks_the_group_and_a_new_one_grows_it(inputs: Any, cluster: Nodes, tmp_path: Path, repo_root: Path) -> None:
    """Two nodes of one CPU: one is killed, the run goes on with one worker; another joins, and it has two again. The same training."""
    cluster.head(num_cpus=1)
    second = cluster.add()
    output, log = tmp_path / "run", tmp_path / "job.log"
    elastic = ("--set=min_workers=1", "--set=elastic_interval_s=5")
    job = _train(cluster, log, repo_root, output, inputs, *elastic, RAY_ADDRESS=cluster.gcs)
    until(lambda: len(checkpoints.committed(output)) > 1, log, job)
    cluster.kill(second)
    until(lambda: _sizes(output) == [2, 1], log, job)
    cluster.add()
    assert job.wait(900) == 0, log.read_text(errors="replace")[-4000:]
    assert _sizes(output) == [2, 1, 2]
    alone = _train(cluster, tmp_path / "alone.log", repo_root, tmp_path / "alone", inputs, "--set=num_workers=0")
    assert alone.wait(900) == 0
    weights = [training.weights_of(folder / "model" / "manifest.json") for folder in (output, tmp_path / "alone")]
    assert training.distance(*weights) < 0.01 * 1e-5, "more than rounding: a hundredth of the rate"


def test_the_head_dies_with_everything_and_the_same_command_goes_on(inputs: Any, cluster: Nodes, tmp_path: Path, repo_root: Path) -> None:
    """Driver, head and workers of a private cluster are killed at once; the same command continues and changes no bit."""
    output, log = tmp_path / "run", tmp_path / "job.log"
    job = _train(cluster, log, repo_root, output, inputs, *SHORTER)
    until(lambda: len(checkpoints.committed(output)) > 1, log, job)
    cluster.kill(job)
    assert not (output / "model").exists()
    again = _train(cluster, log, repo_root, output, inputs, *SHORTER)
    assert again.wait(900) == 0, log.read_text(errors="replace")[-4000:]
    whole = _train(cluster, tmp_path / "whole.log", repo_root, tmp_path / "whole", inputs, *SHORTER)
    assert whole.wait(900) == 0
    weights = [training.weights_of(folder / "model" / "manifest.json") for folder in (output, tmp_path / "whole")]
    assert training.difference(*weights) == 0
