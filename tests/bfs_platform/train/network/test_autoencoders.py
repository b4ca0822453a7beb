"""Latents that are easy to draw: pictures of half the size from half of them (`scale_weight`), channels of one precision (`balanced`)."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from bfs_model import BFSPipeline
from bfs_platform.config import resolve
from bfs_platform.data.shard.reading import open_dataset
from bfs_platform.train.network.autoencoders import RgbVaeModule, RgbVaeTask, balance
from bfs_platform.train.network.pixels import halved
from bfs_platform.train.network.rgba_vae import RgbaVaeModule
from bfs_platform.train.network_spec import RgbaVaeSpec, RgbVaeSpec
from bfs_platform.train.sample import batches
from bfs_platform.train.spec import TrainSpec

SIDE = 16


class Rearranged(nn.Module):
    """A VAE without loss: two by two pixels become one latent of four times the channels, and the other way round."""

    def encode(self, images: Tensor) -> Any:
        mean = F.pixel_unshuffle(images, 2)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, logvar=torch.full_like(mean, -30), std=torch.zeros_like(mean)))

    def decode(self, latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        return (F.pixel_shuffle(latents, 2),)


def smooth(channels: int) -> Tensor:
    """A picture of one colour: of every size the same."""
    return torch.full((1, channels, SIDE, SIDE), 0.25)


def grained(channels: int) -> Tensor:
    """A picture whose detail is finer than two pixels: such latents, halved, still show it."""
    return smooth(channels) * torch.tensor([1.0, -1.0]).repeat(SIDE // 2)


def terms_of(picture: Tensor, scale_weight: float) -> tuple[Tensor, dict[str, Tensor]]:
    noise = torch.zeros(1, picture.shape[1] * 4, SIDE // 2, SIDE // 2)
    spread = torch.zeros(1, 1, 1, 1)
    if picture.shape[1] == 3:
        rgb = RgbVaeModule(Rearranged(), RgbVaeSpec(scale_weight=scale_weight, kl_weight=0))
        return rgb(picture, torch.ones(1, 1, SIDE, SIDE), noise, spread)
    rgba = RgbaVaeModule(Rearranged(), Rearranged(), RgbaVaeSpec(scale_weight=scale_weight, decoder_only=True))
    return rgba(picture, noise, spread)


@pytest.mark.parametrize("channels", [3, 4])
def test_detail_in_halved_latents_costs(channels: int) -> None:
    """Nothing where half the latents are half the picture; where they show detail that half the picture has not, its error."""
    least = terms_of(smooth(channels), 2.0)[1]["scale"]
    total, terms = terms_of(grained(channels), 2.0)
    without, others = terms_of(grained(channels), 0.0)
    assert float(least) <= 0.0101 and float(terms["scale"]) > 0.1
    assert "scale" not in others and float(total - without) == pytest.approx(2 * float(terms["scale"]), rel=1e-5)


def test_layers_are_halved_as_they_show() -> None:
    """Of a square of which a quarter shows red and the rest hides green, a quarter shows, all of it red; of none, nothing."""
    layers = torch.full((1, 4, 2, 4), -1.0)
    layers[:, 1] = 1.0  # green everywhere, under alpha 0
    layers[0, :, 0, 0] = torch.tensor([1.0, -1.0, -1.0, 1.0])
    small = halved(layers)
    assert small.shape == (1, 4, 1, 2)
    torch.testing.assert_close(small[0, :, 0, 0], torch.tensor([1.0, -1.0, -1.0, -0.5]))
    assert float(small[0, 3, 0, 1]) == -1.0


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
