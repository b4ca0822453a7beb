"""What the backbone is asked: every token as much as any other, or those in the box more."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bfs_model.latent import flow
from bfs_model.latent.latents import pack
from bfs_model.objectives import Draw, LatentBatch
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.train.network.backbone import BackboneModule, in_box
from bfs_platform.train.sample import batches


class Answer(nn.Module):
    """A transformer that says what it was told to."""

    def __init__(self, velocity: Tensor) -> None:
        super().__init__()
        self.velocity = velocity

    def forward(self, **_: Any) -> tuple[Tensor]:
        return (self.velocity,)


@pytest.fixture
def drawn(datasets: dict[int, Path]) -> tuple[LatentBatch, Draw]:
    """Two records whose boxes are the upper left quarter of the picture, and half a token more."""
    batch = batches.latent_batch(open_dataset(datasets[2]), np.arange(2))
    mask = torch.zeros_like(batch.mask)
    side = mask.shape[-1]
    cell = side // (batch.z_comp.shape[-1] // 2)
    mask[..., : side // 2, : side // 2 + cell // 2] = 1
    batch = replace(batch, mask=mask)
    return batch, Draw.for_batch(batch, 1, 2)


def test_shares_of_tokens_in_the_box(drawn: tuple[LatentBatch, Draw]) -> None:
    """Row by row, as latents are packed: whole, half, and none."""
    batch, _ = drawn
    columns = batch.z_comp.shape[-1] // 2
    inside = in_box(batch).view(2, -1, columns)
    row = torch.tensor([1.0] * (columns // 2) + [0.5] + [0.0] * (columns - columns // 2 - 1))
    rows = inside.shape[1]
    assert torch.equal(inside[:, : rows // 2], row.expand(2, rows // 2, columns)) and not inside[:, rows // 2 :].any()


def test_errors_in_the_box_weigh_more(drawn: tuple[LatentBatch, Draw]) -> None:
    """The mean of all weights is 1, so that a rate goes on to suit; the terms are plain means over all and over the box."""
    batch, draw = drawn
    target = pack(flow.velocity_target(batch.z_comp, draw.noise_comp))
    inside = in_box(batch)
    wrong = target + 2 * (inside == 1)[..., None]  # off by 2 in whole tokens of the box, right everywhere else
    plain, terms = BackboneModule(Answer(wrong))(batch, draw, batch.z_bg)
    share = float((inside == 1).float().mean())
    assert float(plain) == pytest.approx(4 * share, rel=1e-4) and terms.keys() == {"flow"}
    weighted, terms = BackboneModule(Answer(wrong), 3.0)(batch, draw, batch.z_bg)
    assert float(terms["flow"]) == pytest.approx(float(plain), rel=1e-6)
    assert float(terms["box"]) == pytest.approx(float(4 * (inside == 1).sum() / inside.sum()), rel=1e-4)
    assert float(weighted) == pytest.approx(4 * 4 * share / float(1 + 3 * inside.mean()), rel=1e-4)
