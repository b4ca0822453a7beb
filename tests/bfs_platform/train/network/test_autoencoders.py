"""Latents that are easy to draw: a posterior that is gone on with, channels of one precision (`balanced`)."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from bfs_model import BFSPipeline
from bfs_platform.config import resolve
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.train.network.autoencoders import RgbVaeTask, balance
from bfs_platform.train.network_spec import RgbVaeSpec
from bfs_platform.train.sample import batches
from bfs_platform.train.spec import TrainSpec


@pytest.mark.parametrize("init", ["fresh", "base"])
def test_a_posterior_that_is_there_can_be_gone_on_with(init: str, base: Path, datasets: dict[int, Path]) -> None:
    """A fresh one is narrow, so that colours are not drowned; one that is trained would become narrow again."""
    spec = resolve("tabletop_rgb_vae", [f"network.init={init}"], TrainSpec)
    assert isinstance(spec.network, RgbVaeSpec)
    vae = RgbVaeTask(spec, spec.network, str(base), {"natural": open_dataset(str(datasets[2]))}).module.vae
    spread = vae.encoder.conv_out.bias[vae.config.latent_channels :]
    there = BFSPipeline.from_pretrained(base).vae.encoder.conv_out.bias[vae.config.latent_channels :]
    assert torch.equal(spread, there) is (init == "base") and bool((spread == -6).all()) is (init == "fresh")


@pytest.mark.parametrize("convolutions", [False, True], ids=["plain", "quant_conv"])
def test_balanced_latents_show_the_same_pictures(convolutions: bool) -> None:
    """The posterior becomes one wide in every channel, whatever it was, and what is decoded stays."""
    torch.manual_seed(3)
    sizes = {"block_out_channels": (8, 8), "norm_num_groups": 4, "latent_channels": 4, "layers_per_block": 1}
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = AutoencoderKL(**sizes, **kinds, use_quant_conv=convolutions, use_post_quant_conv=convolutions).double()
    images = torch.rand(3, 3, 16, 16, dtype=torch.double) * 2 - 1
    with torch.no_grad():
        before = vae.encode(images).latent_dist
        spread = before.std.square().mean(dim=(0, 2, 3)).sqrt() * torch.tensor([1.0, 2.0, 0.5, 3.0])
        shown = vae.decode(before.mean).sample
        balance(vae, spread)
        after = vae.encode(images).latent_dist
        torch.testing.assert_close(vae.decode(after.mean).sample, shown)
    for now, then in ((after.mean, before.mean), (after.std, before.std)):
        torch.testing.assert_close(now, then / spread.view(1, -1, 1, 1))


def test_a_training_leaves_balanced_latents(base: Path, datasets: dict[int, Path], tmp_path: Path) -> None:
    """As wide in one channel as in another, over all that the scale is taken from; without it, as they come."""
    for balanced in (True, False):
        spec = resolve("tabletop_rgb_vae", [f"network.balanced={str(balanced).lower()}", "network.init=base"], TrainSpec)
        assert isinstance(spec.network, RgbVaeSpec)
        task = RgbVaeTask(spec, spec.network, str(base), {"natural": open_dataset(str(datasets[2]))})
        task.export(task.module.state_dict(), tmp_path / str(balanced), {})
        vae = BFSPipeline.from_pretrained(tmp_path / str(balanced) / "bundle").vae
        images = batches.images(task.dataset, max(task.groups["natural"], key=len), "composite_png")
        with torch.no_grad():
            spreads = vae.encode(images.to(vae.dtype)).latent_dist.std.square().mean(dim=(0, 2, 3)).sqrt()
        assert bool(torch.allclose(spreads, torch.ones_like(spreads), rtol=0.02)) is balanced
