"""A small source in RORem's layout whose truth is known by construction."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bfs_model import integrity

SIDE = 24
MakeSource = Callable[..., Path]
Meta = dict[str, Any] | None


def scene(index: int) -> dict[str, np.ndarray]:
    """A grey ramp; on it an 8×8 object of one colour, and right of it a 4×8 shadow that takes a quarter of the light."""
    ramp = np.broadcast_to(np.linspace(80, 200, SIDE).astype(np.uint8)[:, None, None], (SIDE, SIDE, 3)).copy()
    picture = ramp.copy()
    picture[8:16, 6:14] = (200, 30 + 10 * index, 40)
    picture[8:16, 14:18] = picture[8:16, 14:18] // 4 * 3
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[8:16, 6:14] = 255
    effect = np.zeros((SIDE, SIDE), np.uint8)
    effect[8:16, 14:18] = 255
    return {"source": picture, "GT": ramp, "mask": mask, "effect": effect}


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    """Write `num` scenes; `extras` also writes captions, boxes, effects and materials, `sealed` a manifest."""

    def make(
        num: int = 3, *, extras: bool = True, sealed: bool = False, folder: str = "source", meta: dict[str, str] | None = None
    ) -> Path:
        root = tmp_path / folder
        records = []
        for index in range(num):
            pictures = scene(index)
            record: dict[str, Any] = {}
            for kind in ("source", "GT", "mask", *(["effect"] if extras else [])):
                (root / kind).mkdir(parents=True, exist_ok=True)
                record[kind] = f"{kind}/{index:03d}.png"
                Image.fromarray(pictures[kind]).save(root / record[kind])
            if extras:
                record |= {"caption": f"cube {index}", "box": [6, 8, 14, 16], "material": ["metal", "glass"][index % 2]}
            records.append(record | (meta or {}))
        (root / "meta.json").write_text(json.dumps(records))
        if sealed:
            integrity.write_manifest(root, "source", {"name": "scenes", "licence": "CC0-1.0"})
        return root

    return make
