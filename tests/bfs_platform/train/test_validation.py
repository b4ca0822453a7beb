"""Losses on a validation set: fixed noise, bands of its level, in the loss files and in the manifest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import Ranks

from bfs_model import integrity
from bfs_model.objectives import TERMS, Draw, LatentBatch, Prediction, Step, per_sample
from bfs_platform.config import resolve
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.train.launch.worker import build_task
from bfs_platform.train.report import validation
from bfs_platform.train.sample import batches
from bfs_platform.train.spec import TrainSpec

Configured = Callable[..., dict[str, Any]]


def test_noise_is_fixed_and_its_level_keeps_to_the_band(datasets: dict[int, Path]) -> None:
    """Every measurement draws the same; the noise is one for all bands, the levels of band 3 lie between 0.6 and 0.8."""
    batch = batches.latent_batch(open_dataset(datasets[1]), np.arange(7))
    first, again = (validation.draw_in_band(batch, 3, 3) for _ in range(2))
    assert torch.equal(first.noise_comp, again.noise_comp) and torch.equal(first.sigma, again.sigma)
    assert float(first.sigma.min()) >= 0.6 and float(first.sigma.max()) < 0.8
    other = validation.draw_in_band(batch, 3, 0)
    assert torch.equal(first.noise_comp, other.noise_comp) and float(other.sigma.max()) < 0.2
    assert not torch.equal(first.noise_comp, validation.draw_in_band(batch, 4, 3).noise_comp)


def test_the_losses_of_samples_add_up_to_those_of_training(datasets: dict[int, Path]) -> None:
    """Means over samples are Eq. 6 and Eq. 7, for predictions at random."""
    batch = batches.latent_batch(open_dataset(datasets[1]), np.arange(5), {(32, 32): torch.zeros(1, 16, 8, 8)})
    torch.manual_seed(5)
    prediction = Prediction(*(torch.randn_like(batch.z_comp) for _ in range(4)))

    class Sum(torch.nn.Module):
        def forward(self, z_fg: torch.Tensor, z_bg: torch.Tensor, z_empty: torch.Tensor) -> torch.Tensor:
            return z_fg + 2 * z_bg - z_empty

    step = Step(batch, Draw.for_batch(batch, 1, 2), prediction, Sum())
    found = {name: float(values.mean()) for name, values in per_sample(step).items()}
    assert found["flow_comp"] + found["flow_fg"] == pytest.approx(float(TERMS["flow"](step)), rel=1e-5)
    assert found["comp"] == pytest.approx(float(TERMS["comp"](step)), rel=1e-5)


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("recipe", "stage", "names"), [("tabletop_backbone", 2, "flow box"), ("tabletop_stage1", 1, "flow_comp flow_fg comp")]
)
def test_a_run_measures_on_the_way_and_at_the_end(recipe: str, stage: int, names: str, ranks: Ranks, configured: Configured) -> None:
    """After steps 2 and 4, into a file and the manifest; what the first step's weights give differs from what the last one's do."""
    told = configured("run", recipe, "num_workers=0", "validate_every_steps=2")
    told["datasets"] |= {"validation": told["datasets"]["natural" if stage == 2 else "synthetic"]}
    manifest = ranks.run(told)
    lines = [json.loads(line) for line in (Path(told["output"]) / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    told_of = integrity.read_manifest(manifest.parent)["body"]["training"]["validation"]
    assert told_of["num_records"] == 11 and told_of["losses"] == pytest.approx(
        {k: v for k, v in lines[-1].items() if k != "step"}, abs=1e-6
    )
    for name in names.split():
        bands = [lines[-1][f"{name}/{band}"] for band in range(validation.NUM_BANDS)]
        assert lines[-1][name] == pytest.approx(sum(bands) / len(bands)) and len(set(bands)) == len(bands)
        assert lines[0][name] != lines[1][name]


def test_losses_do_not_depend_on_the_rest_of_the_set(base: Path, datasets: dict[int, Path]) -> None:
    """A measurement repeats to the last bit, and needs no validation set only where none was given."""
    spec = resolve("tabletop_backbone", [], TrainSpec)
    places = {"natural": str(datasets[2]), "validation": str(datasets[1])}
    task = build_task(spec, str(base), places)
    weights = {name: value.clone() for name, value in task.module.state_dict().items()}
    first = task.validate(weights)
    assert task.validate(weights) == first and len(first) == 2 * (1 + validation.NUM_BANDS)
    assert build_task(spec, str(base), {"natural": str(datasets[2])}).held_out is None


def test_mixed_levels_see_the_middle_and_both_ends() -> None:
    """70 % lie around sigmoid(0.2) = 0.55 as sigmoid(N(0.2, 1)) does, 30 % anywhere: shares and mean of 4,000 draws."""
    names = [str(i) for i in range(4000)]
    zeros = torch.zeros(len(names), 1, 1, 1)
    batch = LatentBatch(names, zeros, zeros, zeros, zeros, zeros[..., 0], zeros[:, 0, 0])
    sigma = Draw.for_batch(batch, 1, 0, noise_levels="mixed").sigma
    assert float(sigma.mean()) == pytest.approx(0.7 * 0.541 + 0.3 * 0.5, abs=0.015)
    assert float((sigma < 0.05).float().mean()) == pytest.approx(0.3 * 0.05 + 0.7 * 0.0008, abs=0.006)
    assert float(((sigma > 0.4) & (sigma < 0.7)).float().mean()) == pytest.approx(0.3 * 0.3 + 0.7 * 0.4708, abs=0.025)
