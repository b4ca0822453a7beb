"""The classifier of shapes and colours that evaluation holds drawn objects against."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bfs_model import integrity
from bfs_model.errors import BadInput
from bfs_model.latent import draws
from bfs_model.picture.boxes import Box
from bfs_platform.evaluate.metric.recogniser import KIND, Recogniser, crop_around
from bfs_platform.tabletop.vocabulary import words_of
from bfs_platform.train.network_spec import RecogniserSpec
from bfs_platform.train.sample import batches
from bfs_platform.train.spec import TrainSpec

if TYPE_CHECKING:
    from PIL import Image

    from bfs_platform.data.shard.reading import Dataset


class RecogniserModule(nn.Module):
    """Cross-entropy of shape and colour."""

    def __init__(self, recogniser: Recogniser, label_smoothing: float) -> None:
        super().__init__()
        self.recogniser, self.label_smoothing = recogniser, label_smoothing

    def forward(self, crops: Tensor, shapes: Tensor, colours: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        shape_logits, colour_logits = self.recogniser(crops)
        terms = {
            "shape": F.cross_entropy(shape_logits, shapes, label_smoothing=self.label_smoothing),
            "colour": F.cross_entropy(colour_logits, colours, label_smoothing=self.label_smoothing),
        }
        return torch.stack(list(terms.values())).sum(), terms


class RecogniserTask:
    """Crops of true renders around their boxes, mirrored, shifted and scaled at random; the labels stand in the captions."""

    def __init__(self, spec: TrainSpec, settings: RecogniserSpec, base: str, datasets: "Mapping[str, Dataset]") -> None:
        self.spec, self.settings, self.dataset = spec, settings, datasets["natural"]
        self.groups = {"natural": batches.by_size(self.dataset)}

    @cached_property
    def module(self) -> RecogniserModule:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.spec.seed)
            return RecogniserModule(Recogniser(side=self.settings.side), self.settings.label_smoothing)

    def data(self, step: int) -> str:
        return "natural"

    def batch(self, data: str, rows: np.ndarray, step: int) -> tuple[Sequence[str], tuple[Any, ...]]:
        table = self.dataset.take(rows, ["id", "caption"])
        ids = [str(i) for i in table["id"]]
        words = [self._words(str(caption)) for caption in table["caption"]]
        pictures, boxes = batches.images(self.dataset, rows, "composite_png"), self.dataset.boxes(rows)
        config = self.module.recogniser.config
        crops = [self._crop(picture, box, (self.spec.seed, step, i)) for picture, box, i in zip(pictures, boxes, ids, strict=True)]
        labels = [[config.shapes.index(shape) for shape, _ in words], [config.colours.index(colour) for _, colour in words]]
        return ids, (torch.stack(crops), torch.tensor(labels[0]), torch.tensor(labels[1]))

    def _crop(self, picture: Tensor, box: Sequence[int], key: tuple[Any, ...]) -> Tensor:
        """Around the box, which may be loose or tight: shifted and scaled by up to the setting, mirrored half of the time."""
        flip, dx, dy, scale = draws.uniform([(*key, name) for name in ("flip", "x", "y", "scale")]).tolist()
        x0, y0, x1, y1 = (float(v) for v in box)
        reach = self.settings.jitter * max(x1 - x0, y1 - y0)
        grow = (2 * scale - 1) * reach / 2
        shift_x, shift_y = (2 * dx - 1) * reach / 2, (2 * dy - 1) * reach / 2
        moved = Box(round(x0 + shift_x - grow), round(y0 + shift_y - grow), round(x1 + shift_x + grow), round(y1 + shift_y + grow))
        crop = crop_around(picture, moved, self.module.recogniser.config.side)
        return crop.flip(-1) if flip < 0.5 else crop

    def samples(self, weights: dict[str, Tensor]) -> "dict[str, Image.Image]":
        return {}

    def export(self, weights: dict[str, Tensor], output: Path, facts: dict[str, Any]) -> Path:
        self.module.load_state_dict(weights)
        final = output / "model"
        with integrity.staged(final, KIND) as staging:
            self.module.recogniser.half().save_pretrained(staging)
            return integrity.commit(staging, final, KIND, {"network": "recogniser", **facts})

    def _words(self, caption: str) -> tuple[str, str]:
        words = words_of(caption)
        if words is None:
            raise BadInput("caption", caption, "names no shape and colour of the tabletop world", "train on rendered tabletop scenes")
        return words
