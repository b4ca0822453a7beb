"""The RGBA VAE, grown from the RGB VAE of the base and fine-tuned on layers."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bfs_model import BFSPipeline
from bfs_model.latent import draws, encoding
from bfs_model.network import rgba_vae
from bfs_model.network.perceptual import Lpips, MultiScaleGradients, Perceptual
from bfs_platform.train.network.export import load_parts, save_parts
from bfs_platform.train.network.measures import rgba_figures
from bfs_platform.train.network.pixels import channels_last, check_crop, crops, decoder_noise, edges, latent_noise
from bfs_platform.train.network_spec import RgbaVaeSpec
from bfs_platform.train.report.gates import Gate, GateReport, hold_out
from bfs_platform.train.sample import batches
from bfs_platform.train.sample.probes import side_by_side
from bfs_platform.train.spec import TrainSpec

if TYPE_CHECKING:
    from PIL import Image

    from bfs_platform.data.shard.reading import Dataset

_NUM_PROBES = 8
_PREFIX = "vae."


class RgbaVaeModule(nn.Module):
    """Random-background reconstruction in closed form, alpha, edges, perception, KL, and KL to the RGB VAE on opaque images."""

    def __init__(self, vae: Any, reference: Any, settings: RgbaVaeSpec, perceptual: Perceptual | None = None) -> None:
        super().__init__()
        self.vae, self.reference, self.settings = vae, reference.requires_grad_(False), settings
        self.perceptual = perceptual

    def forward(self, layers: Tensor, noise: Tensor, spread: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`layers` [B, 4, H, W] in [-1, 1], some of them opaque by choice of the batch; `noise` like the latents.

        `spread` [B, 1, 1, 1]: standard deviation of what is added to the latents beyond the posterior, as they leave the encoder.
        """
        s = self.settings
        posterior = self.vae.encode(channels_last(layers)).latent_dist
        latents = posterior.mean + torch.hypot(posterior.std, spread) * noise
        decoded = self.vae.decode(latents, return_dict=False)[0]
        output = rgba_vae.clipped_alpha(decoded)
        squared = rgba_vae.random_background_loss(layers, output)
        terms = {"layer": (squared.clamp_min(0) + 1e-4).sqrt().mean()}
        terms["alpha"] = rgba_vae.alpha_loss(layers[:, 3], decoded[:, 3], s.empty_weight, s.alpha_margin)
        terms["edge"] = edges(rgba_vae.over_colour(output, 0), rgba_vae.over_colour(layers, 0))
        weights = {"alpha": s.alpha_weight, "edge": s.edge_weight}
        if not s.decoder_only:
            terms["kl"] = rgba_vae.kl_to_standard_normal(posterior.mean, posterior.logvar)
            terms["reference"] = self._drift(layers)
            weights |= {"kl": s.kl_weight, "reference": s.reference_weight}
        if self.perceptual is not None:
            terms["perceptual"] = self._perceptual(output, layers, self.perceptual)
            weights["perceptual"] = s.perceptual_weight
        return terms["layer"] + torch.stack([weight * terms[name] for name, weight in weights.items()]).sum(), terms

    def _drift(self, layers: Tensor) -> Tensor:
        """KL to the RGB VAE's posterior on opaque images: the layers flattened on grey."""
        flat = rgba_vae.over_colour(layers, 0)
        ours = self.vae.encode(torch.cat([flat, torch.ones_like(flat[:, :1])], dim=1)).latent_dist
        with torch.no_grad():
            theirs = self.reference.encode(flat).latent_dist
        return rgba_vae.kl_to_reference(ours.mean, ours.logvar, theirs.mean, theirs.logvar.clamp_min(-6))

    def _perceptual(self, output: Tensor, layers: Tensor, distance: Perceptual) -> Tensor:
        """Mean over a black and a white background (AlphaVAE)."""
        return torch.stack([distance(rgba_vae.over_colour(output, c), rgba_vae.over_colour(layers, c)) for c in (-1, 1)]).mean()


class RgbaVaeTask:
    """Fine-tune the RGBA VAE on the layers of the stage-1 set: objects with their shadows."""

    def __init__(self, spec: TrainSpec, settings: RgbaVaeSpec, base: str, datasets: "Mapping[str, Dataset]") -> None:
        self.spec, self.settings, self.base = spec, settings, base
        self.dataset = datasets["synthetic"]
        kept, self.held_out = hold_out(datasets, "synthetic", settings.held_out)
        self.groups = {"synthetic": batches.by_size(self.dataset, kept)}
        check_crop(settings.crop, self.groups["synthetic"], self.dataset)

    @cached_property
    def pipe(self) -> BFSPipeline:
        pipe = load_parts(self.base)
        if self.settings.init == "fresh":
            pipe.register_modules(rgba_vae=rgba_vae.grow_rgba_vae(pipe.vae))
        return pipe

    @cached_property
    def module(self) -> RgbaVaeModule:
        vae = self.pipe.rgba_vae.requires_grad_(True)
        for part in (vae.encoder, vae.quant_conv):
            if part is not None:
                part.requires_grad_(not self.settings.decoder_only)
        return RgbaVaeModule(vae, self.pipe.vae, self.settings, perceptual_of(self.settings))

    def data(self, step: int) -> str:
        return "synthetic"

    def batch(self, data: str, rows: np.ndarray, step: int) -> tuple[Sequence[str], tuple[Any, ...]]:
        ids = [str(i) for i in self.dataset.take(rows, ["id"])["id"]]
        layers = batches.images(self.dataset, rows, "foreground_png")
        opaque = draws.uniform([(self.spec.seed, step, i, "opaque") for i in ids]) < self.settings.opaque_probability
        composites = batches.images(self.dataset, rows, "composite_png")
        composites = torch.cat([composites, torch.ones_like(composites[:, :1])], dim=1)
        layers = torch.where(opaque.view(-1, 1, 1, 1), composites, layers)
        if self.settings.crop:
            layers = crops(layers, self.settings.crop, self.spec.seed, step, ids, wanted=layers[:, 3] > -1)
        spread = decoder_noise(self.pipe.rgba_vae, self.settings.noise, self.spec.seed, step, ids)
        return ids, (layers, latent_noise(self.pipe.vae, layers, self.spec.seed, step, ids), spread)

    @torch.no_grad()
    def samples(self, weights: dict[str, Tensor]) -> "dict[str, Image.Image]":
        vae = self._loaded(weights)
        rows = self.groups["synthetic"][0][:_NUM_PROBES]
        layers = batches.images(self.dataset, rows, "foreground_png")
        decoded = encoding.to_image(encoding.decode_latents(vae, encoding.encode_images(vae, layers)[0]))
        return {"layers": side_by_side(self.dataset, rows, "foreground_png", decoded)}

    def measure(self, weights: dict[str, Tensor]) -> GateReport:
        s, figures = self.settings, rgba_figures(self._loaded(weights), self.pipe.vae, self.held_out)
        limits = {"alpha_mae_low": s.max_alpha_mae_low, "alpha_mae_high": s.max_alpha_mae_high, "empty_alpha": s.max_empty_alpha}
        limits |= {"drift_mean": s.max_drift, "drift_std": s.max_drift}
        gates = {name: Gate(limit, at_least=False) for name, limit in limits.items()}
        gates["psnr_db"] = Gate(s.min_psnr_db, at_least=True)
        return GateReport(self.held_out.name, len(self.held_out.rows), figures, gates)

    def export(self, weights: dict[str, Tensor], output: Path, facts: dict[str, Any]) -> Path:
        return save_parts(self.pipe, self.base, {"rgba_vae": self._loaded(weights)}, output, facts)

    def _loaded(self, weights: dict[str, Tensor]) -> Any:
        own = {name.removeprefix(_PREFIX): value for name, value in weights.items() if name.startswith(_PREFIX)}
        self.pipe.rgba_vae.load_state_dict(own, strict=not self.settings.decoder_only)
        return self.pipe.rgba_vae


def perceptual_of(settings: RgbaVaeSpec) -> Perceptual | None:
    """The perceptual distance that the settings name. Raises `BadInput` when its weights are not there."""
    if settings.perceptual == "lpips":
        return Lpips.from_folder(settings.perceptual_folder)
    return MultiScaleGradients() if settings.perceptual == "gradients" else None
