"""The inpainting backbone of the tabletop world: a small Flux transformer, the stand-in for Flux-Fill."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bfs_model import BFSPipeline
from bfs_model.latent import draws, encoding, flow
from bfs_model.latent.latents import condition, image_ids, pack, text_ids
from bfs_model.objectives import Draw, LatentBatch
from bfs_model.weight.memory import to_accelerator
from bfs_platform.train.network.attention import shape_of
from bfs_platform.train.network.export import save_bundle
from bfs_platform.train.network_spec import BackboneSpec
from bfs_platform.train.report import validation
from bfs_platform.train.sample import batches
from bfs_platform.train.sample.encoders import check_encoders
from bfs_platform.train.sample.transfer import place
from bfs_platform.train.spec import TrainSpec
from bfs_platform.train.state.kernels import Shape

if TYPE_CHECKING:
    from PIL import Image

    from bfs_platform.data.shard.reading import Dataset


class BackboneModule(nn.Module):
    """Flow matching of one branch: the composite, given a condition."""

    def __init__(self, transformer: nn.Module, box_weight: float = 0.0) -> None:
        super().__init__()
        self.transformer, self.box_weight = transformer, box_weight

    def forward(self, batch: LatentBatch, draw: Draw, background: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`background` [B, C, h, w]: the latent that the condition shows."""
        error = self.squared(batch, draw, background)
        terms = {"flow": error.mean()}
        if not self.box_weight:
            return terms["flow"], terms
        inside = in_box(batch)
        terms["box"] = (inside * error).sum() / inside.sum()
        weight = 1 + self.box_weight * inside
        return (weight / weight.mean(dim=1, keepdim=True) * error).mean(), terms

    def squared(self, batch: LatentBatch, draw: Draw, background: Tensor) -> Tensor:
        """Mean squared error of the velocity [B, N], token by token."""
        return (self.velocity(batch, draw, background) - pack(flow.velocity_target(batch.z_comp, draw.noise_comp))).square().mean(dim=2)

    def velocity(self, batch: LatentBatch, draw: Draw, background: Tensor) -> Tensor:
        """What the transformer predicts, packed."""
        height, width = batch.z_comp.shape[-2:]
        x = flow.noised(batch.z_comp, draw.noise_comp, draw.sigma)
        velocity: Tensor = self.transformer(
            hidden_states=torch.cat([pack(x), condition(background, batch.mask, batch.mask.shape[-1] // width)], dim=-1),
            encoder_hidden_states=batch.prompt_embeds,
            pooled_projections=batch.pooled_embeds,
            timestep=draw.sigma,
            img_ids=image_ids(height, width, x.device),
            txt_ids=text_ids(batch.prompt_embeds.shape[1], x.device),
            return_dict=False,
        )[0]
        return velocity


def in_box(batch: LatentBatch) -> Tensor:
    """How much of the square of each token lies in the box [B, N], 0 to 1."""
    height, width = batch.z_comp.shape[-2:]
    return F.adaptive_avg_pool2d(batch.mask, (height // 2, width // 2)).flatten(1)


class BackboneTask:
    """Inpainting and insertion: the condition is the composite with its box cut out, or the whole background."""

    def __init__(self, spec: TrainSpec, settings: BackboneSpec, base: str, datasets: "Mapping[str, Dataset]") -> None:
        self.spec, self.settings, self.base = spec, settings, base
        self.dataset = datasets["natural"]
        self.groups = {"natural": batches.by_size(self.dataset)}
        self.held_out = validation.given(datasets)

    @cached_property
    def pipe(self) -> BFSPipeline:
        pipe = BFSPipeline.from_pretrained(self.base, memory="none")
        pipe.set_progress_bar_config(disable=True)
        pipe.dual_branch.eject()
        return pipe

    @cached_property
    def module(self) -> BackboneModule:
        for dataset in [self.dataset] + ([self.held_out.dataset] if self.held_out else []):
            check_encoders(self.pipe, dataset, layers=False)
        return BackboneModule(self.pipe.transformer.requires_grad_(True), self.settings.box_weight)

    @cached_property
    def nothing(self) -> batches.Prompt:
        return self.pipe.encode_prompt([""])

    def attention_shape(self) -> Shape:
        return shape_of(self.pipe, self.dataset, self.spec, branches=1)

    def data(self, step: int) -> str:
        return "natural"

    def batch(self, data: str, rows: np.ndarray, step: int) -> tuple[Sequence[str], tuple[Any, ...]]:
        batch = batches.latent_batch(self.dataset, rows)
        batch = batches.without_some_prompts(batch, self.nothing, self.settings.prompt_dropout, self.spec.seed, step)
        masked = draws.uniform([(self.spec.seed, step, i, "masked") for i in batch.ids]) < self.settings.masked_probability
        background = batch.z_bg.clone()
        if masked.any():
            images = batches.images(self.dataset, rows[masked.numpy()], "composite_png")
            with torch.no_grad():
                background[masked] = encoding.encode_images(self.pipe.vae, images * (1 - batch.mask[masked]))[0]
        draw = Draw.for_batch(batch, self.spec.seed, step, noise_levels=self.settings.noise_levels)
        return batch.ids, (batch, draw, background)

    def validate(self, weights: dict[str, Tensor]) -> dict[str, float]:
        """`flow`: of true prompts, with the whole background as the condition; `box`: of that, what lies in the box."""
        assert self.held_out is not None
        self._load(weights)
        return validation.banded(self.held_out, self._losses)

    @torch.no_grad()
    def _losses(self, rows: np.ndarray, band: int) -> dict[str, Tensor]:
        assert self.held_out is not None
        batch = batches.latent_batch(self.held_out.dataset, rows)
        draw = validation.draw_in_band(batch, self.spec.seed, band)
        batch, draw = place((batch, draw), self.pipe.transformer.device)
        error, inside = self.module.squared(batch, draw, batch.z_bg), in_box(batch)
        return {"flow": error.mean(dim=1), "box": (inside * error).sum(dim=1) / inside.sum(dim=1)}

    def samples(self, weights: dict[str, Tensor]) -> "dict[str, Image.Image]":
        from bfs_platform.train.sample.probes import probe_sheet

        self._load(weights)
        sheet = probe_sheet(to_accelerator(self.pipe), self.dataset)
        self.pipe.dual_branch.eject()
        return {"probes": sheet}

    def export(self, weights: dict[str, Tensor], output: Path, facts: dict[str, Any]) -> Path:
        self._load(weights)
        return save_bundle(self.pipe, {"transformer": self.pipe.transformer}, output, facts)

    def _load(self, weights: dict[str, Tensor]) -> None:
        self.pipe.transformer.load_state_dict({name.removeprefix("transformer."): value for name, value in weights.items()})
