"""The reference encoder of the tabletop world: the stand-in for Flux-Redux, distilled from the text encoder.

A picture of an object becomes the tokens that the T5 encoder makes of its caption, so the backbone reads pictures without
being trained on them. The real Redux was trained through its backbone; this takes minutes on a CPU instead of days.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from bfs_model import BFSPipeline
from bfs_model.latent import draws
from bfs_model.picture.boxes import bounding_box
from bfs_model.sampling.reference import prepare
from bfs_model.tiny.flux_fill import random_redux_parts
from bfs_model.weight.memory import to_accelerator
from bfs_platform.train.network.export import save_bundle
from bfs_platform.train.network_spec import ReferenceSpec
from bfs_platform.train.sample import batches
from bfs_platform.train.sample.probes import grid
from bfs_platform.train.spec import TrainSpec

if TYPE_CHECKING:
    from bfs_platform.data.shard.reading import Dataset

_NUM_PROBES = 6
_PLAIN = (1.0, 1.0, 0.5, 0.5)  # cut out on white, not mirrored, in the middle


class ReferenceModule(nn.Module):
    """Squared error of the tokens, as a share of how much the captions' tokens vary: 1 means nothing was learned."""

    def __init__(self, encoder: nn.Module, embedder: nn.Module, variance: float) -> None:
        super().__init__()
        self.image_encoder, self.image_embedder, self.variance = encoder, embedder, variance

    def forward(self, pixels: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`pixels` [B, 3, S, S] as the feature extractor gives them; `target` [B, tokens, D]."""
        tokens = self.image_embedder(self.image_encoder(pixels).last_hidden_state).image_embeds
        loss = (tokens - target).square().mean() / self.variance
        return loss, {"unexplained": loss}


class ReferenceTask:
    """True pictures: objects cut out on white, or with some of their surroundings, mirrored and cut more or less tightly."""

    def __init__(self, spec: TrainSpec, settings: ReferenceSpec, base: str, datasets: "Mapping[str, Dataset]") -> None:
        self.spec, self.settings, self.base = spec, settings, base
        self.dataset = datasets["natural"]
        self.groups = {"natural": batches.by_size(self.dataset)}

    @cached_property
    def pipe(self) -> BFSPipeline:
        """The base with a fresh encoder that makes as many tokens as the text has, or as fill a square."""
        pipe = BFSPipeline.from_pretrained(self.base, memory="none")
        pipe.set_progress_bar_config(disable=True)
        num_tokens, text_dim = pipe.encode_prompt([""])[0].shape[1:]
        s, side = self.settings, math.isqrt(num_tokens)
        parts = random_redux_parts(text_dim, side * s.patch_size, s.patch_size, s.hidden_size, s.num_layers, self.spec.seed)
        pipe.register_modules(**parts)
        return pipe

    @cached_property
    def targets(self) -> dict[str, Tensor]:
        """The text tokens [side², D] of every caption."""
        captions = sorted({str(c) for c in self.dataset.take(np.arange(len(self.dataset)), ["caption"])["caption"]})
        num_tokens = math.isqrt(self.pipe.encode_prompt([""])[0].shape[1]) ** 2
        tokens = torch.cat([self.pipe.encode_prompt(captions[i : i + 64])[0] for i in range(0, len(captions), 64)])
        return dict(zip(captions, tokens[:, :num_tokens].float(), strict=True))

    @cached_property
    def module(self) -> ReferenceModule:
        variance = torch.stack(list(self.targets.values())).var(dim=0, correction=0).mean()
        encoder, embedder = (part.requires_grad_(True) for part in (self.pipe.image_encoder, self.pipe.image_embedder))
        return ReferenceModule(encoder, embedder, max(float(variance), 1e-6))

    def data(self, step: int) -> str:
        return "natural"

    def batch(self, data: str, rows: np.ndarray, step: int) -> tuple[Sequence[str], tuple[Any, ...]]:
        table = self.dataset.take(rows, ["id", "caption"])
        ids = [str(i) for i in table["id"]]
        pictures = self._pictures(rows, [(self.spec.seed, step, i) for i in ids])
        pixels = self.pipe.feature_extractor(images=pictures, return_tensors="pt")["pixel_values"]
        return ids, (pixels, torch.stack([self.targets[str(caption)] for caption in table["caption"]]))

    def samples(self, weights: dict[str, Tensor]) -> dict[str, Image.Image]:
        """Three rows: references, what is drawn from them without a word, and what is drawn from their captions."""
        self._load(weights)
        to_accelerator(self.pipe)
        rows = np.arange(min(_NUM_PROBES, len(self.dataset)))
        table = self.dataset.take(rows, ["background_png", "box", "caption"])
        drawn: list[list[Any]] = [self._pictures(rows, None), [], []]
        for i, (png, box, caption) in enumerate(zip(table["background_png"], table["box"], table["caption"], strict=True)):
            place = (batches.decode_png(png), tuple(int(v) for v in box))
            drawn[1].append(self.pipe.generate(*place, "", reference=drawn[0][i], seed=i).composites[0])
            drawn[2].append(self.pipe.generate(*place, str(caption), seed=i).composites[0])
        self.pipe.dual_branch.eject()
        return {"references": grid(drawn)}

    def export(self, weights: dict[str, Tensor], output: Path, facts: dict[str, Any]) -> Path:
        self._load(weights)
        parts = {"image_encoder": self.pipe.image_encoder, "image_embedder": self.pipe.image_embedder}
        return save_bundle(self.pipe, parts, output, facts)

    def _pictures(self, rows: np.ndarray, keys: list[tuple[Any, ...]] | None) -> list[Image.Image]:
        """Prepared references; with keys, varied as drawn from them."""
        table = self.dataset.take(rows, ["composite_png", "object_mask_png"])
        pictures = []
        for i, (png, mask_png) in enumerate(zip(table["composite_png"], table["object_mask_png"], strict=True)):
            pixels, mask = (np.rint(batches.decode_png(data) * 255).astype(np.uint8) for data in (png, mask_png))
            cover = mask[..., 0]
            chances = _PLAIN if keys is None else draws.uniform([(*keys[i], name) for name in ("whole", "mirror", "x", "y")]).tolist()
            pictures.append(self._varied(pixels, cover, *chances))
        return pictures

    def _varied(self, pixels: np.ndarray, cover: np.ndarray, whole: float, mirror: float, x: float, y: float) -> Image.Image:
        """The object on white, or, of some, what stands around it too; the cut moves by up to the setting's share of its side."""
        box = bounding_box(cover > 127)
        assert box is not None, "records without an object do not enter a data set"
        if whole < self.settings.whole_probability:
            reach = round(0.15 * max(box.width, box.height))
            height, width = cover.shape
            cut = np.s_[max(box.y0 - reach, 0) : min(box.y1 + reach, height), max(box.x0 - reach, 0) : min(box.x1 + reach, width)]
            picture = prepare(pixels[cut])
        else:
            picture = prepare(pixels, np.repeat(cover[..., None], 3, axis=-1))
        if mirror < 0.5:
            picture = ImageOps.mirror(picture)
        return _shifted(picture, (2 * x - 1) * self.settings.jitter, (2 * y - 1) * self.settings.jitter)

    def _load(self, weights: dict[str, Tensor]) -> None:
        for name in ("image_encoder", "image_embedder"):
            own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
            getattr(self.pipe, name).load_state_dict(own)


def _shifted(picture: Image.Image, x: float, y: float) -> Image.Image:
    """Moved by shares of its side; white comes in."""
    moved = Image.new("RGB", picture.size, (255, 255, 255))
    moved.paste(picture, (round(x * picture.width), round(y * picture.height)))
    return moved
