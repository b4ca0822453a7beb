"""The RGB VAE of the tabletop world: the stand-in for Flux's."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bfs_model import BFSPipeline
from bfs_model.latent import encoding
from bfs_model.network import rgba_vae
from bfs_platform.train.network.export import save_bundle
from bfs_platform.train.network.pixels import channels_last, check_crop, crops, decoder_noise, edges, latent_noise
from bfs_platform.train.network_spec import RgbVaeSpec
from bfs_platform.train.sample import batches
from bfs_platform.train.sample.probes import side_by_side
from bfs_platform.train.spec import TrainSpec

if TYPE_CHECKING:
    from PIL import Image

    from bfs_platform.data.shard.reading import Dataset

_NUM_PROBES = 8
_NUM_SCALED = 256  # pictures whose latents decide about shift and scale
_COLOUR_CELL = 4
_START_LOGVAR = -6.0


class RgbVaeModule(nn.Module):
    """Absolute error of pixels (objects weighted), of their differences and of their colours in small cells; KL."""

    def __init__(self, vae: Any, settings: RgbVaeSpec) -> None:
        super().__init__()
        self.vae, self.settings = vae, settings

    def forward(self, images: Tensor, weight: Tensor, noise: Tensor, spread: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`images` [B, 3, H, W]; `weight` [B, 1, H, W] per pixel; `noise` like the latents.

        `spread` [B, 1, 1, 1]: standard deviation of what is added to the latents beyond the posterior, as they leave the encoder.
        """
        posterior = self.vae.encode(channels_last(images)).latent_dist
        latents = posterior.mean + torch.hypot(posterior.std, spread) * noise
        output = self.vae.decode(latents, return_dict=False)[0]
        terms = {"pixel": (weight * (output - images).abs()).mean() / weight.mean(), "edge": edges(output, images)}
        terms["colour"] = F.l1_loss(_opponents(output), _opponents(images))
        terms["kl"] = rgba_vae.kl_to_standard_normal(posterior.mean, posterior.logvar)
        total = terms["pixel"] + self.settings.edge_weight * terms["edge"] + self.settings.colour_weight * terms["colour"]
        return total + self.settings.kl_weight * terms["kl"], terms


class RgbVaeTask:
    """Train the RGB VAE on composites and backgrounds; then measure its latents, so that they are normalised."""

    def __init__(self, spec: TrainSpec, settings: RgbVaeSpec, base: str, datasets: "Mapping[str, Dataset]") -> None:
        self.spec, self.settings, self.base = spec, settings, base
        self.dataset = datasets["natural"]
        self.groups = {"natural": batches.by_size(self.dataset)}
        check_crop(settings.crop, self.groups["natural"], self.dataset)

    @cached_property
    def pipe(self) -> BFSPipeline:
        return BFSPipeline.from_pretrained(self.base, memory="none")

    @cached_property
    def module(self) -> RgbVaeModule:
        vae = self.pipe.vae.requires_grad_(True)
        if self.settings.decoder_only:
            vae.encoder.requires_grad_(False)
        elif self.settings.init == "fresh":
            # One as wide as the prior drowns colours, the weakest signal, for the first thousands of steps.
            with torch.no_grad():
                vae.encoder.conv_out.bias[vae.config.latent_channels :] = _START_LOGVAR
        return RgbVaeModule(vae, self.settings)

    def data(self, step: int) -> str:
        return "natural"

    def batch(self, data: str, rows: np.ndarray, step: int) -> tuple[Sequence[str], tuple[Any, ...]]:
        ids = [str(i) for i in self.dataset.take(rows, ["id"])["id"]]
        images = batches.images(self.dataset, rows, "composite_png" if step % 4 else "background_png")
        weight = 1 + self.settings.object_weight * batches.masks(self.dataset, rows, "object_mask_png")
        if self.settings.crop:
            images, weight = crops(torch.cat([images, weight], dim=1), self.settings.crop, self.spec.seed, step, ids).split([3, 1], dim=1)
        spread = decoder_noise(self.pipe.vae, self.settings.noise, self.spec.seed, step, ids)
        return ids, (images, weight, latent_noise(self.pipe.vae, images, self.spec.seed, step, ids), spread)

    def samples(self, weights: dict[str, Tensor]) -> "dict[str, Image.Image]":
        vae, rows = self._loaded(weights), self.groups["natural"][0][:_NUM_PROBES]
        with torch.no_grad():
            latents = encoding.encode_images(vae, batches.images(self.dataset, rows, "composite_png"))[0]
            decoded = encoding.to_image(encoding.decode_latents(vae, latents))
        return {"reconstruction": side_by_side(self.dataset, rows, "composite_png", decoded)}

    def export(self, weights: dict[str, Tensor], output: Path, facts: dict[str, Any]) -> Path:
        vae = self._loaded(weights)
        if self.settings.decoder_only:
            return save_bundle(self.pipe, {"vae": vae}, output, facts)
        with torch.no_grad():
            images = batches.images(self.dataset, max(self.groups["natural"], key=len)[:_NUM_SCALED], "composite_png").to(vae.device)
            if self.settings.balanced:
                spreads = torch.cat([vae.encode(part).latent_dist.std for part in images.split(16)])
                balance(vae, spreads.square().mean(dim=(0, 2, 3)).sqrt())
            latents = torch.cat([vae.encode(part).latent_dist.mean for part in images.split(16)])
        vae.register_to_config(shift_factor=float(latents.mean()), scaling_factor=float(1 / latents.std()))
        grown = rgba_vae.grow_rgba_vae(vae)
        return save_bundle(self.pipe, {"vae": vae}, output, facts, grown={"rgba_vae": grown})

    def _loaded(self, weights: dict[str, Tensor]) -> Any:
        own = {name.removeprefix("vae."): value for name, value in weights.items()}
        self.pipe.vae.load_state_dict(own, strict=not self.settings.decoder_only)
        return self.pipe.vae


@torch.no_grad()
def balance(vae: Any, spread: Tensor) -> None:
    """Divide the channels of the latents by `spread` [C], that of their posterior, in the layers before and behind.

    Pictures stay the same. Channels in which the decoder bears with noise become small, so that an error of a transformer weighs
    as much as is seen of it.
    """
    last = vae.encoder.conv_out if vae.quant_conv is None else vae.quant_conv
    first = vae.decoder.conv_in if vae.post_quant_conv is None else vae.post_quant_conv
    channels = len(spread)
    last.weight[:channels] /= spread.view(-1, 1, 1, 1)
    last.bias[:channels] /= spread
    last.bias[channels:] -= 2 * spread.log()
    first.weight *= spread.view(1, -1, 1, 1)


def _opponents(images: Tensor) -> Tensor:
    """Red against green and blue against yellow, in small cells. Pictures vary most in brightness, and a plain error
    learns the hues of small objects last: after thousands of steps everything is still orange or blue.
    """
    red, green, blue = F.avg_pool2d(images, _COLOUR_CELL).split(1, dim=1)
    return torch.cat([red - green, blue - (red + green) / 2], dim=1)
