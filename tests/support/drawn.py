"""Drawn sources for tests: coloured disks with soft shadows, in RORem's layout."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (0.8, 0.15, 0.1), "green": (0.1, 0.6, 0.2), "blue": (0.15, 0.25, 0.8), "yellow": (0.85, 0.75, 0.1)}


def draw_scene(index: int, size: int) -> tuple[dict[str, np.ndarray], str]:
    """A coloured disk with a soft shadow on a gradient: source, mask, GT and effect as uint8, and a caption."""
    draw = np.random.default_rng([5, index])
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    tint = draw.uniform(0.4, 0.8, 3)
    ground = np.clip(tint + 0.15 * (x[..., None] - 0.5) * draw.uniform(-1, 1, 3) - 0.2 * (y[..., None] - 0.5), 0, 1)
    centre, radius = draw.uniform(0.35, 0.65, 2), draw.uniform(0.12, 0.2)
    name = list(COLOURS)[index % len(COLOURS)]
    alpha = np.clip((radius - np.hypot(x - centre[0], y - centre[1])) * size + 0.5, 0, 1)[..., None]
    shadow = 0.5 * np.exp(-((x - centre[0] - 0.05) ** 2 / (2 * radius**2) + (y - centre[1] - radius) ** 2 / (0.1 * radius**2)))[..., None]
    colour = np.array(COLOURS[name]) * (1.1 - 0.4 * (y[..., None] - centre[1] + radius) / (2 * radius))
    picture = alpha * colour + (1 - alpha) * (1 - shadow) * ground
    effect = (shadow > 0.05) & (alpha < 0.5)
    arrays = {"source": picture, "mask": (alpha[..., 0] > 0.5), "GT": ground, "effect": effect[..., 0]}
    return {key: np.rint(np.clip(value, 0, 1) * 255).astype(np.uint8) for key, value in arrays.items()}, f"a {name} disk"


def write_rorem(root: Path, num_records: int, size: int = 32, first: int = 0) -> Path:
    """A folder in RORem's layout."""
    entries = []
    for folder in ("source", "mask", "GT", "effect"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(first, first + num_records):
        pictures, caption = draw_scene(index, size)
        for folder, picture in pictures.items():
            Image.fromarray(picture).save(root / folder / f"{index:04d}.png")
        entries.append({folder: f"{folder}/{index:04d}.png" for folder in pictures} | {"caption": caption})
    (root / "meta.json").write_text(json.dumps(entries))
    return root
