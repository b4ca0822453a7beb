"""Exactness: bitwise after any kill, at any ZeRO stage; in double precision, equal at any number of workers. Without Ray, by gloo."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import double
import pytest
import torch
import training
from ranks import DIE_IN_STEP, Ranks, WorkerFailed
from training import difference, losses_of, weights_of

from bfs_platform.train.state import checkpoints

pytestmark = pytest.mark.distributed

Configured = Callable[..., dict[str, Any]]

# Rank 0 dies at one moment of writing a checkpoint: {how} wraps {name} of {module}.
DIE_IN_CHECKPOINT = """
import os, signal
from pathlib import Path
import {module} as module
original = module.{name}
die = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
def before(*a, **k): die()
def after(*a, **k): original(*a, **k); die()
def halfway(tensors, path): original(tensors, path); os.truncate(path, Path(path).stat().st_size // 2); die()
module.{name} = {how}
"""
MOMENTS = {
    "before the state": ("bfs_platform.train.state.state", "save_file", "before"),
    "half the state": ("bfs_platform.train.state.state", "save_file", "halfway"),
    "the state, no manifest": ("bfs_platform.train.state.state", "save_file", "after"),
    "the manifest, no rename": ("bfs_model.integrity", "write_manifest", "after"),
    "the rename, no sweeping": ("bfs_platform.train.state.checkpoints", "_remove", "before"),
    "half swept": ("bfs_platform.train.state.checkpoints", "shutil.rmtree", "before"),
}


# What is summed in another order is compared in double precision, where rounding leaves 1e-13 of a weight, and an almost vanishing
# gradient, to which a first update of AdamW gives the full rate, is as good as zero. The rate is 1e-2.
SUMMED = 1e-9


@pytest.fixture(scope="module")
def whole(ranks: Ranks, base: Path, datasets: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Weights of an undisturbed run of a recipe on two workers, made once."""
    made: dict[tuple[str, ...], dict[str, torch.Tensor]] = {}

    def weights(recipe: str, *changes: str) -> dict[str, torch.Tensor]:
        key = (recipe, *changes)
        if key not in made:
            settings = ["num_workers=2", *changes]
            told = training.config(tmp_path_factory.mktemp("whole") / "run", recipe, base, datasets, settings)
            made[key] = weights_of(ranks.run(told, 2))
            start = training.config(tmp_path_factory.mktemp("start") / "run", recipe, base, datasets, [*settings, "num_steps=1"])
            moved = difference(made[key], weights_of(ranks.run(start, 2)))
            assert moved > 0.1 * told["spec"]["optimizer"]["lr"], "the run hardly changes its weights: it would prove nothing"
        return made[key]

    return weights


FEW = [("tabletop_stage1", 1), ("tabletop_stage1", 3), ("tabletop_stage2", 2)]
REST = [("tabletop_stage1", 2), ("tabletop_stage2", 1), ("tabletop_stage2", 3)]


@pytest.mark.parametrize(("recipe", "stage"), [*FEW, *(pytest.param(*case, marks=pytest.mark.soak) for case in REST)])
def test_a_killed_run_ends_in_the_same_bits(recipe: str, stage: int, ranks: Ranks, configured: Configured, whole: Any) -> None:
    """Two workers, one killed in its fourth step: continued, the run equals an undisturbed one of its ZeRO stage bitwise."""
    told = configured("torn", recipe, "num_workers=2", f"zero.stage={stage}")
    with pytest.raises(WorkerFailed):
        ranks.run(told, 2, DIE_IN_STEP.format(step=3))
    assert checkpoints.committed(Path(told["output"])) == [checkpoints.path_of(Path(told["output"]), 2)]
    # Each stage sums the norm of the gradient over other shares, so stages differ in the last bits of what is clipped.
    assert difference(weights_of(ranks.run(told, 2)), whole(recipe, f"zero.stage={stage}")) == 0
    assert [line["step"] for line in losses_of(Path(told["output"]))] == [1, 2, 3, 4]


def test_death_at_every_moment_of_a_checkpoint(ranks: Ranks, configured: Configured) -> None:
    """One run dies once at each moment of writing a checkpoint; no half of one is ever used, and no bit of the result differs."""
    # A constant rate, since the first two steps are a run of their own.
    settings = ("num_workers=1", "num_steps=8", "checkpoint.every_steps=1", "optimizer.schedule=constant")
    undisturbed = weights_of(ranks.run(configured("whole", "tabletop_stage2", *settings)))
    told = configured("torn", "tabletop_stage2", *settings)
    ranks.run(told | {"spec": told["spec"] | {"num_steps": 2}})
    newest = 2
    for moment, (module, name, how) in MOMENTS.items():
        with pytest.raises(WorkerFailed):
            ranks.run(told, 1, DIE_IN_CHECKPOINT.format(module=module, name=name, how=how))
        newest += moment.startswith(("the rename", "half swept"))
        assert checkpoints.committed(Path(told["output"]))[0] == checkpoints.path_of(Path(told["output"]), newest), moment
    assert difference(weights_of(ranks.run(told)), undisturbed) == 0
    left = sorted(path.name for path in (Path(told["output"]) / "checkpoints").iterdir())
    assert left == ["step-00000007", "step-00000008"]


@pytest.fixture(scope="module")
def two_workers(ranks: Ranks, double_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Weights of stage 2 on two workers, in double precision."""
    told = _doubled(tmp_path_factory.mktemp("two"), double_inputs)
    return weights_of(ranks.run(told, 2, double.prepare(double_inputs)))


def _doubled(output: Path, inputs: Path, *changes: str) -> dict[str, Any]:
    return double.config(output, "tabletop_stage2", inputs, (1, 2), ("num_workers=2", *changes))


@pytest.mark.parametrize("world_size", [1, 3, 4])
def test_the_number_of_workers_does_not_change_the_result(
    world_size: int, ranks: Ranks, double_inputs: Path, two_workers: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """The same global batch over one, three (unevenly) and four workers is the same training as over two."""
    manifest = ranks.run(_doubled(tmp_path, double_inputs), world_size, double.prepare(double_inputs))
    assert difference(weights_of(manifest), two_workers) < SUMMED


def test_a_run_goes_on_with_fewer_workers_and_grows_again(
    ranks: Ranks, double_inputs: Path, two_workers: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Two workers, then one, then three with another ZeRO stage: the checkpoints fit them all, and the result is the same."""
    told, prepare = _doubled(tmp_path, double_inputs, "checkpoint.every_steps=1"), double.prepare(double_inputs)
    for world_size, step in ((2, 2), (1, 3)):
        with pytest.raises(WorkerFailed):
            ranks.run(told, world_size, prepare + DIE_IN_STEP.format(step=step))
    assert checkpoints.committed(tmp_path)[0].name == "step-00000003"
    told["spec"]["zero"]["stage"] = 3
    assert difference(weights_of(ranks.run(told, 3, prepare)), two_workers) < SUMMED


@pytest.mark.parametrize(
    "changes",
    ["zero.offload_optimizer=true", "zero.stage=3 zero.offload_optimizer=true gradient_checkpointing=true", "micro_batch_size=1"],
)
def test_settings_that_save_memory_keep_the_result(
    changes: str, ranks: Ranks, double_inputs: Path, two_workers: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Offload, recomputation and accumulation are the same training."""
    manifest = ranks.run(_doubled(tmp_path, double_inputs, *changes.split()), 2, double.prepare(double_inputs))
    assert difference(weights_of(manifest), two_workers) < SUMMED


def test_bfloat16_keeps_float32_masters(ranks: Ranks, configured: Configured) -> None:
    """At every ZeRO stage losses agree with float32 to its rung (2e-2); the masters are float32, and finer than bfloat16."""
    settings = ("num_workers=1", "num_steps=3", "optimizer.lr=1e-4")
    told = configured("float", "tabletop_stage1", *settings)
    ranks.run(told)
    exact = [line["loss"] for line in losses_of(Path(told["output"]))]
    for stage in (1, 2, 3):
        told = configured(f"bfloat{stage}", "tabletop_stage1", *settings, "zero.bf16=true", f"zero.stage={stage}")
        weights = weights_of(ranks.run(told))
        losses = [line["loss"] for line in losses_of(Path(told["output"]))]
        assert losses != exact and losses == pytest.approx(exact, rel=2e-2)
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
        assert any((tensor != tensor.bfloat16().float()).any() for tensor in weights.values())


SAVE_AS_DEEPSPEED = """
from pathlib import Path
from bfs_platform.train.state import checkpoints, state
def snapshot(engine, num_updates):
    staging = checkpoints.staging_of(Path(order["config"]["output"]), num_updates)
    told = {"client_state": {"step": num_updates}, "exclude_frozen_parameters": True, "save_latest": False}
    engine.save_checkpoint(str(staging), tag="deepspeed", **told)
    return {}
state.snapshot = snapshot
state.write = lambda tensors, path: path.touch()
"""


def test_checkpoints_of_version_0_1_are_continued(ranks: Ranks, configured: Configured, whole: Any) -> None:
    """DeepSpeed's own files, as the first version wrote them, continue bitwise at their world size and are refused at another."""
    told = configured("old", "tabletop_stage2", "num_workers=2")
    with pytest.raises(WorkerFailed):
        ranks.run(told, 2, SAVE_AS_DEEPSPEED + DIE_IN_STEP.format(step=3))
    with pytest.raises(WorkerFailed, match="holds DeepSpeed shards of 2 workers, which 1 cannot read"):
        ranks.run(told, 1)
    assert difference(weights_of(ranks.run(told, 2)), whole("tabletop_stage2")) == 0
