"""What every comparison starts from: the protocol of a system, the model itself, nothing at all, and the truth."""

from typing import Protocol

import numpy as np
from PIL import Image

from bfs_model.picture.compositing import composite_u8
from bfs_model.sampling.refit import least_alpha, solve_foreground
from bfs_platform.evaluate.samples import Sample
from bfs_platform.evaluate.system.models import Drawn, LayerModel


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

    Returns uint8 RGBA [H, W, 4], see `bfs_model.sampling.refit`. Alpha is 1 on the object.
    """
    covered = object_mask if effect is None else object_mask | effect
    alpha = np.where(object_mask, 1.0, np.where(covered, least_alpha(composite, background), 0.0))
    return solve_foreground(composite, background, alpha)
