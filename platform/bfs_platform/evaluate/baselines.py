"""What a model is compared with. A baseline sees the whole record, truth included, and delivers what a model delivers.

`identity`: nothing is added. `truth`: the least layer that gives the true composite, a ceiling; `vae_truth`: that layer
through the RGBA VAE. `two_step`: the backbone alone inpaints, then the object is matted. `matting`: the object cut out of
the true composite with its true mask (task extraction). `NAME=FOLDER`: another model.
`NAME=flux_fill:FOLDER`, `NAME=paint_by_inpaint:FOLDER`, `NAME=precomputed:DIR`: systems of others (`outside`).
Further ones by `"package.module:factory"`; the factory is called with the model under evaluation.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from PIL import Image

from bfs_model.bundle import locate
from bfs_model.compositing import composite_u8
from bfs_model.errors import BadInput
from bfs_model.refit import explaining, least_alpha
from bfs_platform.evaluate.models import Drawn, LayerModel, imported, load_pipeline
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

    Returns uint8 RGBA [H, W, 4], see `bfs_model.refit`. Alpha is 1 on the object.
    """
    covered = object_mask if effect is None else object_mask | effect
    alpha = np.where(object_mask, 1.0, np.where(covered, least_alpha(composite, background), 0.0))
    return explaining(composite, background, alpha)


def _two_step(model: LayerModel) -> Baseline:
    from bfs_platform.evaluate.two_step import TwoStep

    return TwoStep(model)


def _vae_truth(model: LayerModel) -> Baseline:
    from bfs_platform.evaluate.two_step import VaeTruth

    return VaeTruth(model)


def _matting(model: LayerModel) -> Baseline:
    from bfs_platform.evaluate.extraction import plain_matting

    return plain_matting(model)


BASELINES: dict[str, Callable[[LayerModel], Baseline]] = {
    "identity": lambda model: Identity(),
    "truth": lambda model: Truth(),
    "vae_truth": _vae_truth,
    "two_step": _two_step,
    "matting": _matting,
}

OUTSIDE_KINDS = ("flux_fill", "paint_by_inpaint", "precomputed")


def system_name(name: str) -> str:
    """How a baseline is called in the results: what stands before `=`, if anything does."""
    return name.partition("=")[0]


def find_baseline(name: str) -> Callable[[LayerModel], Baseline]:
    """The factory of a baseline: by name, `"NAME=FOLDER"`, `"NAME=KIND:PLACE"` or `"package.module:factory"`. Raises `BadInput` else."""
    if name in BASELINES:
        return BASELINES[name]
    system, equals, folder = name.partition("=")
    if equals:
        if not system or system in BASELINES or system == "model":
            raise BadInput("baseline", name, "has a name that is taken or empty", "use another name before =")
        kind, colon, place = folder.partition(":")
        if colon and kind in OUTSIDE_KINDS:
            from bfs_platform.evaluate.outside import OUTSIDE

            return OUTSIDE[kind](place)
        locate(folder)
        return lambda model: Model(load_pipeline(folder))
    return imported(f"baseline (known: {', '.join(BASELINES)})", name)
