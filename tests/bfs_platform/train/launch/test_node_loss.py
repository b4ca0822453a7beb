"""A node goes away under a training, with all that runs on it; or the head does, and comes back."""

import sys
from pathlib import Path

import pytest
import training
from nodes import Nodes, until
from ranks import Ranks
from remembering import needs_machines, remembering

from bfs_platform.train.state import checkpoints

pytestmark = pytest.mark.soak

CHANGES = ("num_workers=2", "num_steps=60", "checkpoint.every_steps=2", "optimizer.lr=1e-4", "max_failures=3")
NUM_WHILE_AWAY = 400  # steps
LONGER = (*CHANGES, f"num_steps={NUM_WHILE_AWAY}")


def sets_of(stage: int, datasets: dict[int, Path]) -> dict[int, Path]:
    """What a stage learns from."""
    return datasets if stage == 2 else {1: datasets[1]}


@pytest.mark.parametrize("stage", [1, 2])
def test_a_submitted_job_survives_the_loss_of_a_node(
    stage: int, ranks: Ranks, base: Path, datasets: dict[int, Path], tmp_path: Path, repo_root: Path
) -> None:
    """`ray job submit -- python jobs/stage1.py` on three nodes: one that trains is killed, another takes over, and no bit differs."""
    sets, recipe = sets_of(stage, datasets), f"tabletop_stage{stage}"
    undisturbed = ranks.run(training.config(tmp_path / "whole", recipe, base, sets, CHANGES), 2)
    output, log = tmp_path / "run", tmp_path / "job.log"
    changes = [f"--set={change}" for change in (*training.SHORT, *CHANGES)]
    command = ["python", f"jobs/stage{stage}.py", f"--recipe={recipe}", f"--base={base}", f"--output={output}", *changes]
    with Nodes(tmp_path) as cluster:
        cluster.head(dashboard=True)
        nodes = [cluster.add() for _ in range(3)]
        environment = {"BFS_HOME": str(tmp_path / "home"), "DS_ACCELERATOR": "cpu"}
        job = cluster.submit(log, repo_root, environment, [*command, *(f"--dataset={path}" for path in sets.values())])
        until(lambda: checkpoints.committed(output), log, job)
        training_nodes = [node for node in nodes if cluster.trains(node)]
        assert len(training_nodes) == 2, "two of three nodes train"
        cluster.kill(training_nodes[0])
        assert not (output / "model").exists(), "the run was over before the node was lost, so nothing was tested"
        assert job.wait(400) == 0, log.read_text(errors="replace")[-4000:]
    told = log.read_text(errors="replace")
    assert str(output / "model" / "manifest.json") in told
    assert training.difference(training.weights_of(output / "model" / "manifest.json"), training.weights_of(undisturbed)) == 0
    assert [line["step"] for line in training.losses_of(output)] == list(range(1, 61))


@needs_machines()
@pytest.mark.parametrize("kept", ["redis", "rocksdb"])
@pytest.mark.parametrize("stage", [1, 2])
def test_a_stage_goes_on_while_the_head_is_away(
    stage: int,
    kept: str,
    ranks: Ranks,
    base: Path,
    datasets: dict[int, Path],
    tmp_path: Path,
    repo_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed behind the first checkpoint of two workers on two machines, the head comes back with what Redis or
    RocksDB kept: the run ends all the same, and no bit differs."""
    sets, recipe = sets_of(stage, datasets), f"tabletop_stage{stage}"
    undisturbed = ranks.run(training.config(tmp_path / "whole", recipe, base, sets, LONGER), 2)
    output, log = tmp_path / "run", tmp_path / "job.log"
    changes = [f"--set={change}" for change in (*training.SHORT, *LONGER)]
    command = [sys.executable, f"{repo_root}/jobs/stage{stage}.py", f"--recipe={recipe}", f"--base={base}", f"--output={output}", *changes]
    with remembering(tmp_path, monkeypatch, num_cpus=1, kept=kept) as cluster:
        told = {"BFS_HOME": str(tmp_path / "home"), "DS_ACCELERATOR": "cpu"}
        job = cluster.start(log, [*command, *(f"--dataset={path}" for path in sets.values())], **told)
        until(lambda: checkpoints.committed(output), log, job, limit_s=600)
        assert not (output / "model").exists(), "the run was over before the head was lost, so nothing was tested"
        cluster.lose_head()
        assert job.wait(600) == 0, log.read_text(errors="replace")[-4000:]
    assert training.difference(training.weights_of(output / "model" / "manifest.json"), training.weights_of(undisturbed)) == 0
    assert [line["step"] for line in training.losses_of(output)] == list(range(1, NUM_WHILE_AWAY + 1))
