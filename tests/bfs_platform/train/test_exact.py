"""Exactness: bitwise after any kill, at any ZeRO stage; to 1e-6 at any number of workers. Workers without Ray, joined by gloo."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import Ranks, WorkerFailed
from training import difference, losses_of, weights_of

from bfs_platform.train import checkpoints

pytestmark = pytest.mark.distributed

Configured = Callable[..., dict[str, Any]]

# A worker dies in its step {step}, after the backward pass of its first micro-batch has begun to fill gradients. It waits until
# the checkpoint before is on disk: how far back a death throws a run is not what these tests ask.
DIE_IN_STEP = """
import os, signal, time
from pathlib import Path
from bfs_platform.train import checkpoints, loop
original = loop.stop_unless_finite
every = order["config"]["spec"]["checkpoint"]["every_steps"]
before = checkpoints.path_of(Path(order["config"]["output"]), {step} // every * every)
def dying(loss, ids, step):
    original(loss, ids, step)
    if step == {step} and order["rank"] == order["world_size"] - 1:
        while not (before / "manifest.json").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
loop.stop_unless_finite = dying
"""
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
    "before the state": ("bfs_platform.train.state", "save_file", "before"),
    "half the state": ("bfs_platform.train.state", "save_file", "halfway"),
    "the state, no manifest": ("bfs_platform.train.state", "save_file", "after"),
    "the manifest, no rename": ("bfs_model.integrity", "write_manifest", "after"),
    "the rename, no sweeping": ("bfs_platform.train.checkpoints", "_remove", "before"),
    "half swept": ("bfs_platform.train.checkpoints", "shutil.rmtree", "before"),
}


# The order of sums depends on the width of the processor's vectors too. These workers are compared with each other alone, and all
# keep to one width: what rounding leaves then says something of the code, and not of the machine. Only x86 knows these names.
VECTORS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Starts groups of workers without Ray, on one width of vectors."""
    with Ranks(tmp_path_factory.mktemp("ranks"), VECTORS) as starter:
        yield starter


@pytest.fixture(scope="module")
def whole(ranks: Ranks, base: Path, datasets: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Weights of an undisturbed run of a recipe on two workers, made once."""
    import training

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


@pytest.mark.parametrize("recipe", ["tabletop_stage1", "tabletop_stage2"])
@pytest.mark.parametrize("stage", [1, 2, 3])
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


# A first update of AdamW has the size of the learning rate however small the gradient is: where a gradient is nearly zero,
# another order of sums shows as a share of the rate. So what sums in another order is compared at the recipe's own rate.
OWN_RATE = "optimizer.lr=2e-4"


@pytest.mark.parametrize("world_size", [1, 3, 4])
def test_the_number_of_workers_does_not_change_the_result(world_size: int, ranks: Ranks, configured: Configured, whole: Any) -> None:
    """The same global batch over one, three (unevenly) and four workers agrees with two to 1e-6."""
    weights = weights_of(ranks.run(configured("run", "tabletop_stage2", "num_workers=2", OWN_RATE), world_size))
    assert difference(weights, whole("tabletop_stage2", OWN_RATE)) < 1e-6


def test_a_run_goes_on_with_fewer_workers_and_grows_again(ranks: Ranks, configured: Configured, whole: Any) -> None:
    """Two workers, then one, then three with another ZeRO stage: the checkpoints fit them all, and the result agrees to 1e-6."""
    told = configured("run", "tabletop_stage2", "num_workers=2", "checkpoint.every_steps=1")
    for world_size, step in ((2, 2), (1, 3)):
        with pytest.raises(WorkerFailed):
            ranks.run(told, world_size, DIE_IN_STEP.format(step=step))
    assert checkpoints.committed(Path(told["output"]))[0].name == "step-00000003"
    told["spec"]["zero"]["stage"] = 3
    assert difference(weights_of(ranks.run(told, 3)), whole("tabletop_stage2")) < 1e-6


@pytest.mark.parametrize(
    ("changes", "rung"),
    [
        ("zero.offload_optimizer=true", 0.0),
        ("zero.stage=3 zero.offload_optimizer=true gradient_checkpointing=true", 0.0),
        (f"micro_batch_size=1 {OWN_RATE}", 1e-6),
    ],
)
def test_settings_that_save_memory_keep_the_result(changes: str, rung: float, ranks: Ranks, configured: Configured, whole: Any) -> None:
    """Recomputation and offload change no bit, accumulation only the last ones."""
    weights = weights_of(ranks.run(configured("run", "tabletop_stage2", "num_workers=2", *changes.split()), 2))
    assert difference(weights, whole("tabletop_stage2", *[OWN_RATE] * (OWN_RATE in changes))) <= rung


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
from bfs_platform.train import checkpoints, state
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
