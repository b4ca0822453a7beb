"""Editing by compositing alone: the drawn layer is moved, scaled, duplicated or recoloured, and held against the scene rendered so.

Nothing is drawn again: what an editor's user gets who drags a layer. The truth has its light, shadow and reflections where the edited
object has them, so a layer whose effects belong to it does better than one that was cut out without. The baseline `truth`, whose layer
explains the scene exactly, shows how far compositing itself can go.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from bfs_model.picture.compositing import composite_u8
from bfs_platform.evaluate.metric import metrics
from bfs_platform.evaluate.samples import EditTruth, Sample
from bfs_platform.evaluate.system.models import Drawn

CHANGED = 8 / 255  # a pixel that the edit changes by more, in its largest channel, is judged


def editing_figures(drawn: Drawn, sample: Sample) -> dict[str, float | None]:
    """`edit_NAME_mae` for each edit of the record: the mean error where the truth or the edited layer differs from the background, 0…1."""
    layer = np.asarray(drawn.layer)
    return {f"edit_{name}_mae": _error(layer, sample.background, edit) for name, edit in sample.edits.items()}


def edited(layer: np.ndarray, background: np.ndarray, change: Mapping[str, Any]) -> np.ndarray:
    """The background with the layer changed as an editor would: uint8 [H, W, 4] and [H, W, 3] → [H, W, 3]."""
    moved = layer if change["colours"] is None else recoloured(layer, change["colours"])
    moved = transformed(moved, change["scale"], change["origin"], change["target"])
    if not change["kept"]:
        return composite_u8(moved, background)
    # Whichever stands nearer, which is drawn larger, lies above.
    first, second = (moved, layer) if change["scale"] < 1 else (layer, moved)
    return composite_u8(second, composite_u8(first, background))


def transformed(layer: np.ndarray, scale: float, origin: list[float], target: list[float]) -> np.ndarray:
    """The layer with its point `origin` at `target` and `scale` times as large; both in shares of its sides. uint8 [H, W, 4]."""
    height, width = layer.shape[:2]
    if scale == 1 and origin == target:
        return layer
    sides = np.array([width, height])
    offset = np.array(origin) * sides - np.array(target) * sides / scale
    # Pillow asks for the way back, from the result's pixels to the layer's; premultiplied, or clear pixels would bleed in.
    matrix = (1 / scale, 0.0, offset[0], 0.0, 1 / scale, offset[1])
    image = Image.fromarray(layer).convert("RGBa")
    return np.asarray(image.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR).convert("RGBA"))


def recoloured(layer: np.ndarray, colours: list[list[float]]) -> np.ndarray:
    """The layer with the matrix `colours` on its linear RGB. Shadows are black, and stay so."""
    srgb = layer[..., :3].astype(np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4) @ np.array(colours).T
    linear = np.clip(linear, 0, 1)
    back = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.dstack([np.rint(back * 255).astype(np.uint8), layer[..., 3]])


def _error(layer: np.ndarray, background: np.ndarray, edit: EditTruth) -> float | None:
    picture, truth, before = (a.astype(np.float32) / 255 for a in (edited(layer, background, edit.change), edit.picture, background))
    judged = (np.maximum(np.abs(truth - before), np.abs(picture - before)).max(axis=-1)) > CHANGED
    return metrics.mae(picture, truth, judged) if judged.any() else None
