"""A handful of records to rehearse on: drawn balls with shadows, at the size that is asked for, in a moment."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

_COLOURS = {"red": (0.8, 0.15, 0.1), "green": (0.1, 0.6, 0.2), "blue": (0.15, 0.25, 0.8), "yellow": (0.85, 0.75, 0.1)}
# Where the pictures of a scene lie: in RORem's layout, and in DESOBAv2's.
_ROREM = {"source": "picture", "mask": "object", "GT": "ground", "effect": "shade"}
_DESOBA = {"shadow_imgs": "picture", "shadowfree_imgs": "unshaded", "object_masks": "object", "shadow_masks": "shade"}


def write_records(folder: Path, number: int, side: int, seed: int) -> Path:
    """Write `number` scenes of `side` × `side` pixels as RORem's, a function of `seed` and their place, and return the folder."""
    entries = []
    for index in range(number):
        colour = _write(folder, _ROREM, index, side, seed)
        entries.append({role: f"{role}/{index:04d}.png" for role in _ROREM} | {"caption": f"a {colour} ball"})
    (folder / "meta.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


def write_shadows(folder: Path, number: int, side: int, seed: int) -> Path:
    """Write such scenes as DESOBAv2's: each with its shadow and without. Returns the folder."""
    for index in range(number):
        _write(folder, _DESOBA, index, side, seed)
    (folder / "train.txt").write_text("".join(f"{index:04d}.png\n" for index in range(number)), encoding="utf-8")
    return folder


def _write(folder: Path, layout: Mapping[str, str], index: int, side: int, seed: int) -> str:
    """Write the pictures of one scene, and return its colour."""
    name = list(_COLOURS)[index % len(_COLOURS)]
    pictures = _drawn(np.random.default_rng([seed, index]), side, np.array(_COLOURS[name]))
    for place, picture in layout.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        levels = np.rint(np.clip(pictures[picture], 0, 1) * 255).astype(np.uint8)
        Image.fromarray(levels).save(folder / place / f"{index:04d}.png")
    return name


def _drawn(draw: np.random.Generator, side: int, colour: np.ndarray) -> dict[str, np.ndarray]:
    """One scene in [0, 1]: the picture, the same without shadow, the ground alone, and the masks of object and shadow."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    grain = draw.normal(0, 0.03, (side, side, 1))  # flat pictures would be near-copies of each other
    ground = draw.uniform(0.4, 0.8, 3) + 0.2 * (x[..., None] - 0.5) * draw.uniform(-1, 1, 3) - 0.2 * (y[..., None] - 0.5) + grain
    centre, radius = draw.uniform(0.35, 0.6, 2), draw.uniform(0.14, 0.22)
    alpha = np.clip((radius - np.hypot(x - centre[0], y - centre[1])) * side + 0.5, 0, 1)[..., None]
    shade = ((x - centre[0] - 0.06) / radius) ** 2 + ((y - centre[1] - radius) / (0.3 * radius)) ** 2
    shadow = 0.5 * np.exp(-shade / 2)[..., None]
    lit = colour * (1.1 - 0.5 * (y[..., None] - centre[1] + radius) / (2 * radius))
    return {
        "picture": alpha * lit + (1 - alpha) * (1 - shadow) * ground,
        "unshaded": alpha * lit + (1 - alpha) * ground,
        "ground": ground,
        "object": alpha[..., 0] > 0.5,
        "shade": ((shadow > 0.05) & (alpha < 0.5))[..., 0],
    }
