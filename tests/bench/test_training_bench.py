"""What training costs beyond arithmetic: ZeRO-2 beside plain AdamW, the loop under Ray Train beside a bare one, data, checkpoints."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import training
from bare_loop import beside_a_bare_loop, plain_step
from geometry import PROXY_512, Geometry, dual_branch, inputs
from measuring import Row, circumstances, interleaved, table
from torch import Tensor, nn

from bfs_platform.config import resolve
from bfs_platform.train.spec import TrainSpec

pytestmark = pytest.mark.bench
# As many trainable tensors as the full model has, on hardly any arithmetic: what is left is the cost of each tensor.
DEEP = Geometry(
    num_heads=2, num_double=19, num_single=38, side=8, num_text_tokens=16, head_dim=32, in_channels=192, text_dim=64, pooled_dim=64
)
LOOP = ("batch_size=16", "micro_batch_size=16", "num_steps=40", "num_workers=1", "checkpoint.every_steps=20", "threads_per_worker=1")


class Objective(nn.Module):
    """A dual branch with a loss: what is wrapped or optimised."""

    def __init__(self, g: Geometry) -> None:
        super().__init__()
        self.dual, self.given = dual_branch(g), inputs(g)

    def forward(self) -> Tensor:
        """A scalar that depends on every trainable weight."""
        return self.dual(**self.given).square().mean()


def _zero2(module: nn.Module) -> Callable[[], None]:
    from bfs_platform.train.state import engine

    changes = ["batch_size=1", "micro_batch_size=1", "num_workers=0", "zero.stage=2", "optimizer.lr=1e-6"]
    wrapped = engine.wrap(module, resolve("tabletop_stage1", changes, TrainSpec), 1)

    def step() -> None:
        wrapped.backward(wrapped())
        wrapped.step()

    return step


def test_zero2_beside_plain_adamw(capsys) -> None:
    """Prints the ratio of a ZeRO-2 step to a plain one, with the number of trainable tensors, wide and deep."""
    from bfs_platform.train.launch.launch import _single_rank_group

    _single_rank_group(use_gpu=False)
    torch.set_num_threads(1)
    rows = []
    for name, g, target in (("wide", PROXY_512, 1.10), ("deep and narrow", DEEP, None)):
        plain, sharded = Objective(g), Objective(g)
        num_tensors = sum(p.requires_grad for p in plain.parameters())
        seconds = interleaved({"plain": plain_step(plain), "zero2": _zero2(sharded)}, rounds=5)
        what = f"ZeRO-2 ÷ plain AdamW, {name}, {num_tensors} trainable tensors, {1e3 * seconds['plain']:.0f} ms a step"
        rows.append(Row(what, seconds["zero2"] / seconds["plain"], 1.0, target))
        rows.append(Row("  ZeRO-2 more per tensor", 1e3 * (seconds["zero2"] - seconds["plain"]) / num_tensors, unit=" ms"))
    with capsys.disabled():
        print(table("Optimizer", rows, circumstances()))
    assert rows


@pytest.mark.parametrize("clock", ["CPU time", "wall time"])
def test_loop_under_ray_train(ray_cluster, tmp_path, capsys, clock) -> None:
    """Prints the step of the loop under Ray Train and DeepSpeed by a bare step, the share of data, and the checkpoint stall."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    here = str(Path(__file__).parent)
    dataset = training.write_set(tmp_path / "set", 1, Path("tiny"))
    config = training.config(tmp_path / "run", "tabletop_stage1", Path("tiny"), {1: dataset}, LOOP)
    trainer: Any = TorchTrainer(
        beside_a_bare_loop,
        train_loop_config=config | {"clock": clock},
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name="bench", storage_path=str(tmp_path), worker_runtime_env={"env_vars": {"PYTHONPATH": here}}),
    )
    seconds = trainer.fit().return_value
    bare_s, step_s = min(seconds["bare"]), min(seconds["loop"])
    paired = statistics.median(ours / theirs for theirs, ours in zip(seconds["bare"], seconds["loop"], strict=False))
    lines = [json.loads(line) for line in (tmp_path / "run" / "losses.jsonl").read_text().splitlines()][1:]
    data_s = min(line["data_wait_s"] for line in lines)
    stall_s = min(line["checkpoint_s"] for line in lines if "checkpoint_s" in line)
    rows = [
        Row(f"loop step ÷ bare step of {1e3 * bare_s:.0f} ms, minima", step_s / bare_s, 1.0, 1.05),
        Row(f"the same, median of {len(seconds['loop'])} pairs", paired, 1.0, 1.05),
        Row("share of a step that waits for data", 100 * data_s / step_s, 0.0, 2.0, " %"),
        Row("checkpoint ÷ step", stall_s / step_s),
    ]
    with capsys.disabled():
        what = f"Training loop by {clock}, embedded default, stage 1, batch of 16, one Ray Train worker, ZeRO-2"
        print(table(what, rows, circumstances()))
    assert len(lines) == 39
