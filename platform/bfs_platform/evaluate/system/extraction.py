"""Extraction: the finished picture is given as well, and a layer comes out of it.

`matting` is what people do without BFS: closed-form matting with the object's true mask, which leaves the effects behind.
"""

from typing import Any

import numpy as np
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture.compositing import composite_u8
from bfs_platform.data.record import Reject
from bfs_platform.data.spec import MattingSpec
from bfs_platform.data.stage.compose import quantised
from bfs_platform.data.stage.matting import matting
from bfs_platform.evaluate.samples import Sample
from bfs_platform.evaluate.system.models import Drawn, LayerModel, PipelineModel
from bfs_platform.evaluate.system.truth import Baseline


class Extraction:
    """The model under evaluation, given picture, background, box and prompt. `joint_guidance` and `refit` as in `BFSPipeline.extract`."""

    def __init__(self, model: LayerModel, joint_guidance: float | int = 0.0, refit: bool = False) -> None:
        if not isinstance(model, PipelineModel):
            raise BadInput("task", "extraction", "needs a BFSPipeline", "evaluate other models with task=insertion")
        self.pipeline, self.settings = model.pipeline, {"joint_guidance": joint_guidance, "refit": refit}

    def predict(self, sample: Sample, seed: int, steps: int | None) -> Drawn:
        """Extract with the noise seed of this record."""
        import torch

        generator = torch.Generator().manual_seed(sample.seed(seed))
        settings: dict[str, Any] = {"num_inference_steps": steps, "generator": generator, **self.settings}
        out = self.pipeline.extract(sample.truth, sample.background, tuple(sample.box), sample.caption, **settings)
        return Drawn(out.foregrounds[0], out.composites[0], warnings=tuple(out.warnings[0]))


class Matting:
    """Cuts the object out of the finished picture, knowing its mask. Needs no weights; the same for every seed."""

    def __init__(self) -> None:
        self.matting = matting(MattingSpec())

    def predict(self, sample: Sample, seed: int, steps: int | None) -> Drawn:
        """The object alone; where matting finds nothing to solve, the mask itself."""
        mask = np.where(sample.object_mask, np.uint8(255), np.uint8(0))
        try:
            layer = quantised(self.matting.cut_out(sample.truth, mask))
        except Reject:
            layer = np.dstack([sample.truth, mask])
        return Drawn(Image.fromarray(layer), Image.fromarray(composite_u8(layer, sample.background)))


def plain_matting(model: LayerModel) -> Baseline:
    """The baseline `matting`; which model is under evaluation does not matter to it."""
    return Matting()
