"""Simulated shadows for the foreground layer of the synthetic set (paper §4.1), behind one protocol.

The paper renders shadows with an internal network on the object over white. `ProceduralShadow` needs no weights: the
silhouette is laid onto the ground by an affine map, blurred more the farther it falls, and joined by a contact shadow.
`layer_from_white` turns what such a network draws into a layer.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from bfs_model.picture.compositing import composite

OPAQUE = 0.5
NOTHING = 0.02
MOST = 0.9
DARK = 0.05
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class ShadowProvider(Protocol):
    """Adds shadows (and, if it likes, reflections) under the object of a layer."""

    def add_shadow(self, layer: np.ndarray, seed: int) -> np.ndarray:
        """Args: `layer` float [H, W, 4], straight RGBA in [0, 1], the object alone. Returns the same, effects included."""
        ...


@dataclass(frozen=True, slots=True)
class ProceduralShadow:
    """Contact shadow, cast shadow and an occasional reflection of an object that stands on the ground.

    Every range is (low, high) and is sampled from the seed alone. Lengths are in units of the object's own size.
    """

    strength: tuple[float, float] = (0.35, 0.7)
    contact: tuple[float, float] = (0.4, 0.75)
    slant: tuple[float, float] = (-1.1, 1.1)
    depth: tuple[float, float] = (0.2, 0.5)
    softness: tuple[float, float] = (0.03, 0.12)
    toward_viewer: float = 0.3
    reflection: tuple[float, float] = (0.08, 0.25)
    reflection_chance: float = 0.15

    def add_shadow(self, layer: np.ndarray, seed: int) -> np.ndarray:
        """Return `layer` with shadow (black, alpha s) and reflection beneath its object. A layer without object is returned as it is."""
        draw = np.random.default_rng([20, seed])
        strength, contact, slant, depth, softness = (
            float(draw.uniform(*limits)) for limits in (self.strength, self.contact, self.slant, self.depth, self.softness)
        )
        side = -1.0 if draw.random() < self.toward_viewer else 1.0
        mirrored = float(draw.uniform(*self.reflection)) if draw.random() < self.reflection_chance else 0.0
        layer = layer.astype(np.float32)
        silhouette = layer[..., 3]
        ground = _ground(silhouette)
        if ground is None:
            return layer
        size = max(ground.height, ground.width)
        cast = strength * cast_shadow(silhouette, ground, slant, side * depth, softness * size)
        touching = contact * contact_shadow(silhouette, ground)
        shadow = _black(1 - (1 - cast) * (1 - touching))
        if mirrored > 0:
            shadow = over(reflection(layer, ground, mirrored), shadow)
        return over(layer, shadow)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where an object stands: `line` is the row just below its lowest pixel; its height and width in pixels."""

    line: int
    height: int
    width: int


def cast_shadow(silhouette: np.ndarray, ground: Ground, slant: float, depth: float, softness: float) -> np.ndarray:
    """The silhouette [H, W] laid on the ground: a point `h` above it falls `slant·h` sideways and `depth·h` back (up in the picture).

    Blur (in pixels) grows from next to nothing at the contact to `softness` at the far end; darkness fades by half.
    """
    num_rows, num_columns = silhouette.shape
    # Output row v shows what stands h = (line − v) / depth above the ground; column u shows x = u − slant·h.
    shift, scale = ground.line / depth, 1 / depth
    coefficients = (1.0, slant * scale, -slant * shift, 0.0, scale, ground.line * (1 - scale))
    picture = Image.fromarray(np.ascontiguousarray(silhouette, np.float32))
    size, method = (num_columns, num_rows), Image.Resampling.BILINEAR
    laid = np.asarray(picture.transform(size, Image.Transform.AFFINE, coefficients, method, fillcolor=0))
    height = (ground.line - np.arange(num_rows) - 0.5) / depth / max(ground.height, 1)
    distance = np.clip(height, 0, 1)[:, None]
    levels = [blur(laid, 0.35 + softness * step) for step in (0.0, 0.33, 0.67, 1.0)]
    position = distance * (len(levels) - 1)
    soft = sum(level * np.clip(1 - np.abs(position - i), 0, 1) for i, level in enumerate(levels))
    return np.clip(soft * (1 - 0.5 * distance), 0, 1).astype(np.float32)


def contact_shadow(silhouette: np.ndarray, ground: Ground) -> np.ndarray:
    """A dark, narrow blur [H, W] where the lowest tenth of the object meets the ground."""
    foot = max(2, round(0.1 * ground.height))
    rows = np.arange(silhouette.shape[0])
    near = silhouette * ((rows >= ground.line - foot) & (rows < ground.line))[:, None]
    width = near.sum(axis=0) / foot
    thickness = max(1.0, 0.035 * ground.width)
    profile = np.exp(-0.5 * ((rows + 0.5 - ground.line) / thickness) ** 2)
    return np.clip(profile[:, None] * blur(width[None, :], max(0.5, 0.05 * ground.width)), 0, 1).astype(np.float32)


def reflection(layer: np.ndarray, ground: Ground, strength: float) -> np.ndarray:
    """The layer [H, W, 4] mirrored at the ground line, fading out over 60 % of the object's height."""
    num_rows = layer.shape[0]
    rows = np.arange(num_rows)
    source = 2 * ground.line - 1 - rows
    inside = (source >= 0) & (source < num_rows) & (rows >= ground.line)
    mirrored = layer[np.clip(source, 0, num_rows - 1)].copy()
    fade = np.clip(1 - (rows - ground.line) / max(1.0, 0.6 * ground.height), 0, 1) * inside
    mirrored[..., 3] = blur(mirrored[..., 3] * fade[:, None].astype(np.float32), 0.5) * strength
    return mirrored


def over(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Straight RGBA `top` over straight RGBA `bottom`, both [H, W, 4]: α = a + (1 − a)·s, premultiplied colours add alike."""
    a, s = top[..., 3:4], bottom[..., 3:4]
    alpha = a + (1 - a) * s
    premultiplied = a * top[..., :3] + (1 - a) * s * bottom[..., :3]
    rgb = np.where(alpha > 0, premultiplied / np.maximum(alpha, 1e-8), 0)
    return np.concatenate([np.clip(rgb, 0, 1), alpha], axis=-1).astype(np.float32)


def layer_from_white(image: np.ndarray, object_layer: np.ndarray) -> np.ndarray:
    """The layer that a shadow network drew: object and shadow over white → RGBA.

    A black shadow of alpha s leaves 1 − s of a white ground, so s = 1 − luminance outside the object; luminance, because a
    network tints its halos. Less than 0.02 counts as white.

    Args: `image` float [H, W, 3] in [0, 1]; `object_layer` float [H, W, 4], the object without shadow. Returns float [H, W, 4].
    """
    darkness = np.clip(1 - image.astype(np.float32) @ LUMA, 0, 1)
    # Beneath a solid object the picture shows the object itself: nothing is known of the shadow there, and nothing needs to be.
    shadow = np.where(object_layer[..., 3] < 0.999, darkness, 0)
    a = object_layer[..., 3]
    # Where the object is half transparent, take its own share of the darkness out: 1 − I = a·(1 − F) + (1 − a)·s.
    own = a * (1 - object_layer[..., :3].astype(np.float32) @ LUMA)
    shadow = np.clip((shadow - own) / np.maximum(1 - a, 1e-3), 0, 1)
    return over(object_layer.astype(np.float32), _black(shadow, most=1.0))


def shadow_over_white(picture: np.ndarray, shadow_free: np.ndarray, object_layer: np.ndarray) -> np.ndarray:
    """The object over white with the shadow of a photograph: white loses the share of its light that the ground loses.

    s = 1 − luminance with / without shadow; less than 0.02, and whatever lies on ground too dark to tell, is none. The inverse
    of `layer_from_white` as far as the object lets the ground show.

    Args: `picture`, `shadow_free` float [H, W, 3] in [0, 1], the same scene; `object_layer` float [H, W, 4], the object without
    shadow. Returns float [H, W, 3].
    """
    ground = shadow_free.astype(np.float32) @ LUMA
    lost = 1 - picture.astype(np.float32) @ LUMA / np.maximum(ground, DARK)
    shadow = np.where((ground >= DARK) & (object_layer[..., 3] < OPAQUE), np.clip(lost, 0, 1), 0)
    layer = over(object_layer.astype(np.float32), _black(shadow))
    return composite(layer, np.ones_like(picture, np.float32))


def blur(plane: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a float [H, W] plane with darkness (0) beyond its edges; `sigma` in pixels."""
    rows, columns = (_gaussian(length, sigma) for length in plane.shape)
    return (rows @ plane.astype(np.float32) @ columns.T).astype(np.float32)


def _gaussian(length: int, sigma: float) -> np.ndarray:
    """Blur as a banded matrix [length, length]: exact, without a loop over taps. A single row or column stays as it is."""
    if length == 1:
        return np.ones((1, 1), np.float32)
    offset = np.arange(length)
    reach = max(1, int(np.ceil(3 * sigma)))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
    distance = np.abs(offset[:, None] - offset[None, :])
    weights = np.exp(-0.5 * (distance / max(sigma, 1e-3)) ** 2) * (distance <= reach)
    return (weights / taps.sum()).astype(np.float32)


def _ground(silhouette: np.ndarray) -> Ground | None:
    solid = silhouette > OPAQUE
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    if rows.size == 0:
        return None
    return Ground(line=int(rows[-1]) + 1, height=int(rows[-1] - rows[0]) + 1, width=int(columns[-1] - columns[0]) + 1)


def _black(shadow: np.ndarray, most: float = MOST) -> np.ndarray:
    alpha = np.where(shadow < NOTHING, 0, np.minimum(shadow, most)).astype(np.float32)
    return np.concatenate([np.zeros((*alpha.shape, 3), np.float32), alpha[..., None]], axis=-1)
