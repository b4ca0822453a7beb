"""What a model is compared with. A baseline sees the whole record, truth included, and delivers what a model delivers.

`identity`: nothing is added. `truth`: the least layer that gives the true composite, a ceiling. Further ones by
`"package.module:factory"`; the factory is called with the model under evaluation, for baselines that use part of it.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from PIL import Image

from bfs_model.compositing import composite_u8
from bfs_platform.evaluate.models import Drawn, LayerModel, imported
from bfs_platform.evaluate.samples import Sample


class Baseline(Protocol):
    """Delivers a layer and a composite for a record."""

    def predict(self, sample: Sample, seed: int, steps: int | None) -> Drawn:
        """The baseline's answer for one record. Raises whatever is wrong."""
        ...


class Model:
    """The model under evaluation as a system: it sees background, box and prompt only."""

    def __init__(self, model: LayerModel) -> None:
        self.model = model

    def predict(self, sample: Sample, seed: int, steps: int | None) -> Drawn:
        """Draw with the noise seed of this record."""
        box = (sample.box.x0, sample.box.y0, sample.box.x1, sample.box.y1)
        return self.model.draw(Image.fromarray(sample.background), box, sample.caption, sample.seed(seed), steps)


class Identity:
    """The background unchanged under an empty layer: what a composite error means when nothing is drawn."""

    def predict(self, sample: Sample, seed: int, steps: int | None) -> Drawn:
        """An empty layer."""
        height, width = sample.object_mask.shape
        return Drawn(Image.new("RGBA", (width, height)), Image.fromarray(sample.background))


class Truth:
    """The ceiling: the object opaque in its true colours, the effects with the least alpha that explains them."""

    def predict(self, sample: Sample, seed: int, steps: int | None) -> Drawn:
        """The true layer."""
        layer = least_layer(sample.truth, sample.background, sample.object_mask, sample.effect)
        return Drawn(Image.fromarray(layer), Image.fromarray(composite_u8(layer, sample.background)))


def least_layer(composite: np.ndarray, background: np.ndarray, object_mask: np.ndarray, effect: np.ndarray | None) -> np.ndarray:
    """The layer of least alpha that turns `background` into `composite` (both uint8 [H, W, 3]) in object and effect region.

    C = α·F + (1−α)·B has a colour F in [0, 1] iff α ≥ (C−B)/(1−B) where C > B and α ≥ (B−C)/B where C < B, in each channel.
    Returns uint8 RGBA [H, W, 4]; alpha is rounded up, so that the colour stays in range. Alpha is 1 on the object.
    """
    c, b = composite.astype(np.float64) / 255, background.astype(np.float64) / 255
    room = np.where(c > b, 1 - b, b)
    needed = np.divide(np.abs(c - b), room, out=np.zeros_like(c), where=room > 0).max(axis=-1)
    alpha = np.where(object_mask, 1.0, np.ceil(needed * 255 - 1e-9) / 255)
    if effect is None:
        alpha = np.where(object_mask, alpha, 0.0)
    else:
        alpha = np.where(object_mask | effect, alpha, 0.0)
    visible = alpha[..., None] > 0
    colour = np.divide(c - (1 - alpha[..., None]) * b, alpha[..., None], out=np.zeros_like(c), where=visible)
    return np.concatenate([np.rint(np.clip(colour, 0, 1) * 255), alpha[..., None] * 255], axis=-1).round().astype(np.uint8)


BASELINES: dict[str, Callable[[LayerModel], Baseline]] = {"identity": lambda model: Identity(), "truth": lambda model: Truth()}


def find_baseline(name: str) -> Callable[[LayerModel], Baseline]:
    """The factory of a baseline, by name or by `"package.module:factory"`. Raises `BadInput` for neither."""
    if name in BASELINES:
        return BASELINES[name]
    return imported(f"baseline (known: {', '.join(BASELINES)})", name)
