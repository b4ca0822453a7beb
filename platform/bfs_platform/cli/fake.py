"""A pipeline that needs no weights: `bfs generate --model fake`. It draws a disc with a shadow. It is not a model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from bfs_model.picture.boxes import Box
from bfs_model.picture.compositing import composite_u8
from bfs_model.picture.images import read_image
from bfs_model.sampling.warnings import warnings_of

DEFAULT_STEPS = 4


@dataclass
class FakeOutput:
    """One drawn layer, as `BFSPipeline` returns it."""

    foregrounds: list[Image.Image] = field(default_factory=list)
    composites: list[Image.Image] = field(default_factory=list)
    seeds: list[int | None] = field(default_factory=list)
    warnings: list[list[str]] = field(default_factory=list)


class FakePipeline:
    """Draws a disc inside the box, its colour a function of seed and prompt, its shadow a darker disc below it."""

    config = SimpleNamespace(default_steps=DEFAULT_STEPS)

    def __call__(
        self,
        background: Any,
        box: Any,
        prompt: Any,
        *,
        seed: int | None = None,
        num_inference_steps: int | None = None,
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        reference: Any = None,
        reference_mask: Any = None,
        **weights: Any,
    ) -> FakeOutput:
        """See `bfs_platform.cli.models.Pipeline`. With a reference the disc has its mean colour; weights do nothing."""
        picture = read_image(background, key="background").over_white()
        seed = 0 if seed is None else seed
        for step in range(num_inference_steps or DEFAULT_STEPS):
            if callback_on_step_end is not None:
                callback_on_step_end(self, step, 0, {})
        layer = _disc(Box.of(box), picture.shape[0], picture.shape[1], seed, str(prompt))
        if reference is not None:
            from bfs_model.sampling.reference import cut_out

            covered = np.asarray(cut_out(reference, reference_mask))
            layer[layer[..., 3] == 255, :3] = covered[covered[..., 3] > 127][:, :3].mean(axis=0).round()
        drawn = Image.fromarray(composite_u8(layer, picture))
        return FakeOutput([Image.fromarray(layer)], [drawn], [seed], [[*warnings_of(layer)]])

    def extract(
        self,
        composite: Any,
        background: Any,
        box: Any,
        prompt: Any = "",
        *,
        joint_guidance: float | int = 0.0,
        refit: bool = False,
        **settings: Any,
    ) -> FakeOutput:
        """The same disc, whatever the picture shows."""
        return self(background, box, prompt, **settings)


def _disc(box: Box, height: int, width: int, seed: int, prompt: str) -> np.ndarray:
    """uint8 [height, width, 4]."""
    colour = np.random.default_rng([seed, *prompt.encode()]).integers(64, 256, 3)
    rows, columns = np.indices((height, width)) + 0.5
    x = (columns - (box.x0 + box.x1) / 2) / box.width
    y = (rows - (box.y0 + box.y1) / 2) / box.height
    disc = x**2 + y**2 < 0.4**2
    shadow = (x**2 + ((y - 0.42) / 0.2) ** 2 < 0.4**2) & ~disc
    layer = np.zeros((height, width, 4), np.uint8)
    layer[disc] = [*colour, 255]
    layer[shadow] = [0, 0, 0, 100]
    return layer
