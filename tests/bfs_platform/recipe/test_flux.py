"""Training recipes at full size: the same run on every machine that they are for."""

import re

import pytest
from typer.testing import CliRunner

from bfs_platform.cli.main import app
from bfs_platform.config import get, names
from bfs_platform.train.spec import TrainSpec

RECIPES = {name: spec for name in names() if name.startswith("flux_") and isinstance(spec := get(name), TrainSpec)}
FAMILIES = ("flux_rgba_vae", "flux_compositor", "flux_shadow", "flux_stage1", "flux_stage2")
MACHINES = {"": 8, "_1x80gb": 1, "_64x80gb": 64, "_1x24gb": 1}


@pytest.mark.parametrize("family", FAMILIES)
def test_all_machines_see_the_same_samples(family: str) -> None:
    """There is a recipe for each machine, with as many workers as it has GPUs; steps times batch are the same to the sample, and what
    counts in samples (the average's half-life) too."""
    found = {machine: RECIPES[f"{family}{machine}"] for machine in MACHINES}
    assert {machine: spec.num_workers for machine, spec in found.items()} == MACHINES
    assert len({spec.num_steps * spec.batch_size for spec in found.values()}) == 1
    assert len({spec.ema.half_life_samples for spec in found.values()}) == 1
    assert all(spec.use_gpu for spec in found.values())


@pytest.mark.parametrize("name", [name for name in RECIPES if "_64x80gb" in name])
def test_a_larger_batch_goes_faster_by_its_root(name: str) -> None:
    """Beside the recipe for eight GPUs: rate by the root of the batch, and checkpoints and measurements after as many samples."""
    wide, plain = RECIPES[name], RECIPES[name.replace("_64x80gb", "")]
    factor = wide.batch_size // plain.batch_size
    assert factor > 1 and wide.optimizer.lr == pytest.approx(plain.optimizer.lr * factor**0.5)
    for every in ("validate_every_steps", "sample_every_steps"):
        assert getattr(wide, every) == getattr(plain, every) // factor
    assert wide.checkpoint.every_steps == plain.checkpoint.every_steps // factor
    assert wide.network == plain.network and wide.optimizer.warmup_steps < wide.num_steps / 10


@pytest.mark.parametrize("name", [f"{family}_64x80gb" for family in FAMILIES])
def test_the_widest_have_a_plan(name: str) -> None:
    """`bfs train plan` takes their names and fits them on eight nodes; the plan of every recipe stands in docs/training.md."""
    done = CliRunner().invoke(app, ["train", "plan", name, "--gpu", "H100", "--nodes", "8"])
    assert done.exit_code == 0, done.output
    assert re.search(r"samples on each of 64 GPUs", done.output)


@pytest.mark.parametrize("name", RECIPES)
def test_a_bad_batch_is_left_out(name: str) -> None:
    """By the norm of its gradient and by its loss, with room for those of other noise levels."""
    assert (RECIPES[name].guard.norm_factor, RECIPES[name].guard.loss_factor) == (10, 10)


def test_one_card_keeps_moments_in_eight_bits() -> None:
    """On the card, instead of whole ones in host memory; every other recipe has AdamW's own."""
    kinds = {name: spec.optimizer.kind for name, spec in RECIPES.items() if spec.optimizer.kind != "adamw"}
    assert kinds == {"flux_shadow_1x24gb": "adamw8bit"} and not RECIPES["flux_shadow_1x24gb"].zero.offload_optimizer
