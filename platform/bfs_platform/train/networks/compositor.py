"""Φ of Eq. 7: trained on triplets of the stage-1 set, frozen afterwards."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bfs_model import BFSPipeline, draws, encoding
from bfs_platform.train import batches
from bfs_platform.train.networks.export import save_bundle
from bfs_platform.train.networks.spec import CompositorSpec
from bfs_platform.train.probes import side_by_side
from bfs_platform.train.spec import TrainSpec

if TYPE_CHECKING:
    from PIL import Image

    from bfs_platform.data.shards import Dataset


class CompositorModule(nn.Module):
    """‖Φ(z_F, z_B) − z_C‖₁."""

    def __init__(self, compositor: nn.Module) -> None:
        super().__init__()
        self.compositor = compositor

    def forward(self, z_fg: Tensor, z_bg: Tensor, z_comp: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = F.l1_loss(self.compositor(z_fg, z_bg), z_comp)
        return loss, {"latent": loss}


class CompositorTask:
    """True triplets, some of them with an empty layer over the background; noise on z_F as one-step estimates have."""

    def __init__(self, spec: TrainSpec, settings: CompositorSpec, base: str, datasets: "Mapping[str, Dataset]") -> None:
        self.spec, self.settings, self.base = spec, settings, base
        self.dataset = datasets["synthetic"]
        self.sizes = {"synthetic": len(self.dataset)}

    @cached_property
    def pipe(self) -> BFSPipeline:
        return BFSPipeline.from_pretrained(self.base)

    @cached_property
    def module(self) -> CompositorModule:
        return CompositorModule(self.pipe.compositor.requires_grad_(True))

    @cached_property
    def empty(self) -> Tensor:
        """Latent [1, C, h, w] of a layer with alpha 0 everywhere."""
        size = self.pipe.config.window_size
        with torch.no_grad():
            return encoding.encode_images(self.pipe.rgba_vae, torch.full((1, 4, size, size), -1.0))[0]

    def data(self, step: int) -> str:
        return "synthetic"

    def batch(self, data: str, rows: np.ndarray, step: int) -> tuple[Sequence[str], tuple[Any, ...]]:
        batch = batches.latent_batch(self.dataset, rows, self.spec.seed, step)
        key = (self.spec.seed, step)
        empty = (draws.uniform([(*key, i, "empty") for i in batch.ids]) < self.settings.empty_probability).view(-1, 1, 1, 1)
        level = draws.uniform([(*key, i, "level") for i in batch.ids]).view(-1, 1, 1, 1) * self.settings.noise
        noise = draws.normal([(*key, i, "noise") for i in batch.ids], batch.z_fg.shape[1:])
        z_fg = torch.where(empty, self.empty, batch.z_fg) + level * noise
        return batch.ids, (z_fg, batch.z_bg, torch.where(empty, batch.z_bg, batch.z_comp))

    @torch.no_grad()
    def samples(self, weights: dict[str, Tensor]) -> "dict[str, Image.Image]":
        self._load(weights)
        batch = batches.latent_batch(self.dataset, np.arange(min(8, len(self.dataset))), self.spec.seed, 0)
        decoded = encoding.decode_latents(self.pipe.vae, self.pipe.compositor(batch.z_fg, batch.z_bg))
        return {"composites": side_by_side(self.dataset, "composite_png", encoding.to_image(decoded))}

    def export(self, weights: dict[str, Tensor], output: Path, facts: dict[str, Any]) -> Path:
        self._load(weights)
        return save_bundle(self.pipe, {"compositor": self.pipe.compositor}, output, facts)

    def _load(self, weights: dict[str, Tensor]) -> None:
        self.pipe.compositor.load_state_dict({name.removeprefix("compositor."): value for name, value in weights.items()})
