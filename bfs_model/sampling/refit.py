"""A setting of extraction: the layer is made to explain the finished picture, which is known, instead of resembling it.

Where the extracted layer shows anything, its alpha is raised to the least that can turn the background into the picture, and
its colour is the one that does so. Where it shows nothing it stays empty, so differences that are not the layer's (noise of
compression, other objects) are left alone. What counts as object and what as shadow is still the model's word.
"""

from typing import Any

import numpy as np
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture import canvas
from bfs_model.picture.boxes import bounding_box
from bfs_model.picture.images import to_u8
from bfs_model.sampling.warnings import warnings_of


def least_alpha(composite: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The least alpha with which some colour over `background` gives `composite`: uint8 [H, W, 3] twice -> float64 [H, W].

    C = α·F + (1−α)·B has a colour F in [0, 1] iff α ≥ (C−B)/(1−B) where C > B and α ≥ (B−C)/B where C < B, in each channel.
    Rounded up to a level of 255, so that the colour stays in range.
    """
    c, b = composite.astype(np.float64) / 255, background.astype(np.float64) / 255
    room = np.where(c > b, 1 - b, b)
    needed = np.divide(np.abs(c - b), room, out=np.zeros_like(c), where=room > 0).max(axis=-1)
    return np.asarray(np.ceil(needed * 255 - 1e-9) / 255)


def solve_foreground(composite: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The layer with this `alpha` (float [H, W]) and the colours that turn `background` into `composite`: uint8 [H, W, 4].

    Exact within a level where `alpha` is at least `least_alpha`; elsewhere as near as a colour can come.
    """
    c, b = composite.astype(np.float64) / 255, background.astype(np.float64) / 255
    a = alpha[..., None]
    colour = np.divide(c - (1 - a) * b, a, out=np.zeros_like(c), where=a > 0)
    return np.concatenate([np.rint(np.clip(colour, 0, 1) * 255), a * 255], axis=-1).round().astype(np.uint8)


def refit(layer: np.ndarray, composite: np.ndarray, background: np.ndarray) -> np.ndarray:
    """A layer (uint8 [H, W, 4]) that, over `background`, gives `composite` within a level wherever it is visible."""
    shown = layer[..., 3] > 0
    alpha = np.where(shown, np.maximum(layer[..., 3] / 255.0, least_alpha(composite, background)), 0.0)
    return solve_foreground(composite, background, alpha)


def refitted(output: Any, composite: Any, background: Any) -> Any:
    """What the pipeline extracted, with every layer refitted to its picture and the composites made anew. Raises `BadInput`."""
    given = [list(value) if isinstance(value, list | tuple) else [value] for value in (composite, background)]
    backgrounds = given[1] * len(output.foregrounds) if len(given[1]) == 1 else given[1]
    for index, (foreground, picture, behind) in enumerate(zip(output.foregrounds, given[0], backgrounds, strict=True)):
        if not isinstance(foreground, Image.Image):
            raise BadInput("refit", "true", "needs layers as PIL images", "use output_type=pil")
        before = warnings_of(foreground)
        layer, under = np.array(foreground), to_u8(canvas.pixels(behind, "background"))
        box = bounding_box(layer[..., 3])
        if box is not None:
            part = (slice(box.y0, box.y1), slice(box.x0, box.x1))
            layer[part] = refit(layer[part], to_u8(canvas.pixels(picture, "composite"))[part], under[part])
        output.foregrounds[index] = Image.fromarray(layer, "RGBA")
        output.warnings[index] = [w for w in output.warnings[index] if w not in before] + [*warnings_of(layer)]
        output.composites[index] = Image.fromarray(canvas.over(layer, under), "RGB")
    return output
