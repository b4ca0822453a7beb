"""The reference encoder: distilled from the text encoder, deterministic, and part of the bundle that comes out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bfs_model import BFSPipeline
from bfs_platform.config import resolve
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.train.network.reference import ReferenceTask
from bfs_platform.train.spec import TrainSpec

SMALL = ["network.hidden_size=32", "network.num_layers=1", "network.patch_size=4", "batch_size=4", "micro_batch_size=4"]


@pytest.fixture
def task(base: Path, datasets: dict[int, Path]) -> ReferenceTask:
    """The task of the recipe, made small."""
    spec = resolve("tabletop_reference", SMALL, TrainSpec)
    return ReferenceTask(spec, spec.network, str(base), {"natural": open_dataset(datasets[2])})  # type: ignore[arg-type]


def test_a_batch_is_a_function_of_seed_step_and_sample(task: ReferenceTask) -> None:
    """The same rows at the same step are the same pictures, at another step varied anew; targets are the text's own tokens."""
    rows = np.array([2, 5])
    (_, (one, target)), (_, (two, _)), (_, (other, _)) = (task.batch("natural", rows, step) for step in (3, 3, 4))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert one.shape == (2, 3, 16, 16) and one.abs().max() <= 1
    assert torch.equal(target[0], task.pipe.encode_prompt(["a red cube"])[0][0])


def test_it_learns_and_the_bundle_draws_from_pictures(task: ReferenceTask, tmp_path: Path) -> None:
    """Twenty steps take the error down; the exported bundle carries the encoder and answers to pictures."""
    optimizer = torch.optim.Adam(task.module.parameters(), lr=3e-3)
    losses = []
    for step in range(20):
        loss, _ = task.module(*task.batch("natural", np.arange(4), step)[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    sheet = task.samples(task.module.state_dict())["references"]
    assert sheet.size == (6 * 128, 3 * 128)
    manifest = task.export(task.module.state_dict(), tmp_path, {"training": {}})
    pipe = BFSPipeline.from_pretrained(manifest.parent)
    pipe.set_progress_bar_config(disable=True)
    pictures = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    out = pipe(
        np.zeros((32, 32, 3), np.float32), (4, 4, 20, 20), reference=pictures, seed=[1, 1], num_inference_steps=2, output_type="latent"
    )
    assert not torch.equal(out.foregrounds[0], out.foregrounds[1])


def test_text_whose_tokens_fill_no_square(task: ReferenceTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 23 tokens (FLUX has 512) it makes the first 16: no square has more of them than the text."""
    whole = BFSPipeline.encode_prompt

    def longer(self: BFSPipeline, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens, pooled = whole(self, prompts)
        return torch.cat([tokens, tokens[:, :7]], dim=1), pooled

    monkeypatch.setattr(BFSPipeline, "encode_prompt", longer)
    _, (pixels, target) = task.batch("natural", np.arange(2), 0)
    assert target.shape[1] == 16 and torch.isfinite(task.module(pixels, target)[0])
