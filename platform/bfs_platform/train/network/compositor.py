"""Φ of Eq. 7: trained on triplets of the stage-1 set, frozen afterwards."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bfs_model import BFSPipeline
from bfs_model.latent import draws, encoding
from bfs_model.network.compositor import LatentCompositor
from bfs_model.picture.compositing import composite
from bfs_platform.train.network.export import load_parts, save_parts
from bfs_platform.train.network.measures import compositor_figures
from bfs_platform.train.network_spec import CompositorSpec
from bfs_platform.train.report.gates import Gate, GateReport, hold_out
from bfs_platform.train.sample import batches
from bfs_platform.train.sample.encoders import check_encoders
from bfs_platform.train.sample.probes import side_by_side
from bfs_platform.train.spec import TrainSpec

if TYPE_CHECKING:
    from PIL import Image

    from bfs_platform.data.shard.reading import Dataset

_PREFIX = "compositor."
_NUM_PROBES = 8
_RIM = 2  # latents at each side of a crop
_FLOOR = 1e-6  # mean squared error below which a crop counts as exact: the root has no slope at 0


class CompositorModule(nn.Module):
    """‖Φ(z_F, z_B) − z_C‖₁, and the error of decoded crops against the picture: some errors of a latent show, others do not."""

    def __init__(self, compositor: nn.Module, vae: Any, settings: CompositorSpec) -> None:
        super().__init__()
        self.compositor, self.vae, self.settings = compositor, vae.requires_grad_(False), settings

    def forward(
        self, z_fg: Tensor, z_bg: Tensor, z_empty: Tensor, z_comp: Tensor, pictures: Tensor, corners: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Latents [B, C, h, w], and the `pictures` [B, 3, H, W] that z_comp encodes; `corners` int [B, 2]: row and column of the
        crop that is decoded, negative for none."""
        output = self.compositor(z_fg, z_bg, z_empty)
        terms = {"latent": F.l1_loss(output, z_comp)}
        # Always there, and 0 where no crop was drawn: ranks add up their terms one by one.
        some = bool((corners >= 0).any())
        terms["decoded"] = self._decoded(output, pictures, corners) if some else output.new_zeros(())
        return terms["latent"] + self.settings.decoded_weight * terms["decoded"], terms

    def _decoded(self, output: Tensor, pictures: Tensor, corners: Tensor) -> Tensor:
        """Root mean squared error of crops, whose rims the decoder sees without what is around them and which do not count.

        Its expectation over the draw of crops is the mean over the batch, however that is split.
        """
        chosen = corners[:, 0] >= 0
        factor, crop = pictures.shape[-1] // output.shape[-1], self.settings.crop
        decoded = encoding.decode_latents(self.vae, _cropped(output[chosen], corners[chosen], crop))
        squared = (decoded - _cropped(pictures[chosen], factor * corners[chosen], factor * crop)).square()
        rim = 0 if decoded.shape[-2:] == pictures.shape[-2:] else _RIM * factor
        inside = squared[..., rim : squared.shape[-2] - rim, rim : squared.shape[-1] - rim]
        errors = (inside.flatten(1).mean(dim=1) + _FLOOR).sqrt()
        return errors.sum() / (self.settings.decoded_share * len(corners))


class CompositorTask:
    """True triplets; layers over backgrounds of other records; empty layers. Noise on z_F as one-step estimates have."""

    def __init__(self, spec: TrainSpec, settings: CompositorSpec, base: str, datasets: "Mapping[str, Dataset]") -> None:
        self.spec, self.settings, self.base = spec, settings, base
        self.dataset = datasets["synthetic"]
        kept, self.held_out = hold_out(datasets, "synthetic", settings.held_out)
        self.groups = {"synthetic": batches.by_size(self.dataset, kept)}

    @cached_property
    def pipe(self) -> BFSPipeline:
        pipe = load_parts(self.base)
        if self.settings.init == "fresh" or pipe.compositor is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.spec.seed)
                channels = pipe.vae.config.latent_channels
                fresh = LatentCompositor(channels, self.settings.width, self.settings.num_blocks, presence=True)
            pipe.register_modules(compositor=fresh)
        return pipe

    @cached_property
    def module(self) -> CompositorModule:
        check_encoders(self.pipe, self.dataset, layers=True)
        return CompositorModule(self.pipe.compositor.requires_grad_(True), self.pipe.vae, self.settings)

    @cached_property
    def empty(self) -> batches.EmptyLatents:
        return batches.empty_latents(self.pipe.rgba_vae, [self.dataset])

    @cached_property
    def partners(self) -> dict[tuple[int, int], np.ndarray]:
        """Records to train on, by the size of their pictures: whose backgrounds may stand behind which layer."""
        sizes = self.dataset.take([rows[0] for rows in self.groups["synthetic"]], ["height", "width"])
        keys = zip(sizes["height"].tolist(), sizes["width"].tolist(), strict=True)
        return dict(zip(keys, self.groups["synthetic"], strict=True))

    def data(self, step: int) -> str:
        return "synthetic"

    def batch(self, data: str, rows: np.ndarray, step: int) -> tuple[Sequence[str], tuple[Any, ...]]:
        batch = batches.latent_batch(self.dataset, rows, self.empty)
        assert batch.z_empty is not None
        keys = [(self.spec.seed, step, i) for i in batch.ids]
        kind = draws.uniform([(*key, "kind") for key in keys])
        empty = kind < self.settings.empty_probability
        paired = ~empty & (kind < self.settings.empty_probability + self.settings.pair_probability)
        z_bg, z_comp = batch.z_bg.clone(), torch.from_numpy(self.dataset.latents("z_comp_mean", rows))
        pictures = batches.images(self.dataset, rows, "composite_png")
        if paired.any():
            z_bg[paired], z_comp[paired], pictures[paired] = self._recomposed(rows[paired.numpy()], step)
        if empty.any():
            pictures[empty] = batches.images(self.dataset, rows[empty.numpy()], "background_png")
        z_comp = torch.where(empty.view(-1, 1, 1, 1), z_bg, z_comp)
        z_fg = torch.where(empty.view(-1, 1, 1, 1), batch.z_empty, batch.z_fg)
        level = draws.uniform([(*key, "level") for key in keys]).view(-1, 1, 1, 1) * self.settings.noise
        z_fg = z_fg + level * draws.normal([(*key, "noise") for key in keys], z_fg.shape[1:])
        corners = self._corners(keys, z_fg.shape[-2], z_fg.shape[-1])
        return batch.ids, (z_fg, z_bg, batch.z_empty, z_comp, pictures, corners)

    def _recomposed(self, rows: np.ndarray, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """z_B of other records, drawn per record, z_C of these layers over their backgrounds, and the pictures of it."""
        table = self.dataset.take(rows, ["id", "height", "width", "foreground_png"])
        others = []
        for name, height, width in zip(table["id"], table["height"], table["width"], strict=True):
            candidates = self.partners[int(height), int(width)]
            others.append(candidates[int(draws.uniform([(self.spec.seed, step, name, "partner")])[0] * len(candidates))])
        backgrounds = self.dataset.take(others, ["background_png"])["background_png"]
        composed = [
            encoding.to_tensor(composite(batches.decode_png(layer), batches.decode_png(background)))
            for layer, background in zip(table["foreground_png"], backgrounds, strict=True)
        ]
        pictures = torch.stack(composed)
        with torch.no_grad():
            z_comp = encoding.encode_images(self.pipe.vae, pictures)[0].cpu()
        return torch.from_numpy(self.dataset.latents("z_bg_mean", others)), z_comp, pictures

    def _corners(self, keys: list[tuple[int, int, str]], height: int, width: int) -> Tensor:
        """Where each sample is decoded [B, 2], for a share of them; −1 for the others."""
        share = self.settings.decoded_share if self.settings.decoded_weight > 0 else 0.0
        chosen = draws.uniform([(*key, "decoded") for key in keys]) < share
        places = [
            (draws.uniform([(*key, name) for key in keys]) * (max(length - self.settings.crop, 0) + 1)).long()
            for name, length in (("row", height), ("column", width))
        ]
        return torch.where(chosen[:, None], torch.stack(places, dim=1), -1)

    @torch.no_grad()
    def samples(self, weights: dict[str, Tensor]) -> "dict[str, Image.Image]":
        self._load(weights)
        rows, phi = self.groups["synthetic"][0][:_NUM_PROBES], self.pipe.compositor
        batch = batches.latent_batch(self.dataset, rows, self.empty)
        assert batch.z_empty is not None
        latents = phi(batch.z_fg.to(phi.device), batch.z_bg.to(phi.device), batch.z_empty.to(phi.device))
        decoded = encoding.decode_latents(self.pipe.vae, latents)
        return {"composites": side_by_side(self.dataset, rows, "composite_png", encoding.to_image(decoded))}

    def measure(self, weights: dict[str, Tensor]) -> GateReport:
        self._load(weights)
        figures = compositor_figures(self.pipe, self.held_out, self.spec.seed)
        gates = {
            "phi_gap_db": Gate(self.settings.max_gap_db, at_least=False),
            "identity_db": Gate(self.settings.min_identity_db, at_least=True),
        }
        return GateReport(self.held_out.name, len(self.held_out.rows), figures, gates)

    def export(self, weights: dict[str, Tensor], output: Path, facts: dict[str, Any]) -> Path:
        self._load(weights)
        return save_parts(self.pipe, self.base, {"compositor": self.pipe.compositor}, output, facts)

    def _load(self, weights: dict[str, Tensor]) -> None:
        self.pipe.compositor.load_state_dict({name.removeprefix(_PREFIX): value for name, value in weights.items()})


def _cropped(latents: Tensor, corners: Tensor, crop: int) -> Tensor:
    """Squares [N, C, crop, crop] out of latents or pictures, at these corners; whole sides where those are smaller."""
    return torch.stack([z[:, row : row + crop, column : column + crop] for z, (row, column) in zip(latents, corners.tolist(), strict=True)])
