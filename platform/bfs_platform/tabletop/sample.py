"""One finished scene: the first acceptable attempt, rendered, as PNG bytes and a record."""

import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from bfs_model.errors import BadInput
from bfs_model.picture.boxes import Box, bounding_box
from bfs_platform.tabletop import render
from bfs_platform.tabletop.description import Description
from bfs_platform.tabletop.edits import EDITS, Edit, edits_of
from bfs_platform.tabletop.scene import draw
from bfs_platform.tabletop.vocabulary import DEFAULT_WORLD, SIZES, WORLDS, check_split

FOLDERS = ("source", "mask", "GT", "effect")
VERSION = 1  # of the world: raise it when the pixels of equal requests change
_MAX_ATTEMPTS = 200


@dataclass(frozen=True, slots=True)
class Request:
    """Everything the pixels of a tabletop set depend on, apart from how many scenes are asked for."""

    seed: int
    split: str = "train"
    resolution: int = 64
    samples: int = render.DEFAULT_SAMPLES
    world: int = DEFAULT_WORLD
    edits: bool = False

    def __post_init__(self) -> None:
        check_split(self.split)
        if self.seed < 0:
            raise BadInput("seed", self.seed, "is negative", "use 0 or more")
        if not 16 <= self.resolution <= 1024:
            raise BadInput("resolution", self.resolution, "is not between 16 and 1024 pixels", "use 64 or 128")
        if self.world not in WORLDS:
            raise BadInput("world", self.world, "is not known", f"use one of {', '.join(map(str, WORLDS))}")
        if not 4 <= self.samples <= 65536:
            raise BadInput("samples", self.samples, "is not between 4 and 65536 per pixel", f"use {render.DEFAULT_SAMPLES}")

    def facts(self) -> dict[str, Any]:
        """As a manifest names it; what there was not at first goes without saying where it is not asked for."""
        unsaid = (("world", DEFAULT_WORLD), ("edits", False))
        return {key: value for key, value in asdict(self).items() if (key, value) not in unsaid}

    @property
    def folders(self) -> tuple[str, ...]:
        """Where its pictures go."""
        return (*FOLDERS, *(f"edit_{name}" for name in EDITS)) if self.edits else FOLDERS


@dataclass(frozen=True, slots=True)
class Sample:
    """Scene `index` as files: PNG bytes by folder, and its entry of `meta.json`."""

    index: int
    images: dict[str, bytes]
    record: dict[str, Any]


def make_sample(request: Request, index: int) -> Sample:
    """Draw, check and render scene `index`; a pure function of its arguments.

    Raises `RuntimeError` when no attempt is acceptable, which a fault of the world alone can cause.
    """
    for attempt in range(_MAX_ATTEMPTS):
        description = draw(request.seed, request.split, index, attempt, request.world)
        if description is None:
            continue
        mask = render.render_mask(description, request.resolution)
        box = bounding_box(mask)
        if box is None or not _whole(description, mask, box):
            continue
        rendered = render.render(description, request.resolution, mask, request.samples)
        if _visible(rendered):
            edits = edits_of(description) if request.edits else {}
            pictures = {f"edit_{name}": _png(_edited(edit, request)) for name, edit in edits.items()}
            return Sample(index, _encode(rendered) | pictures, _record(request, index, description, box, edits))
    raise RuntimeError(f"scene {index} of {request} has no acceptable attempt")


def make_chunk(request: Request, indices: list[int]) -> list[Sample]:
    """Scenes `indices` of a request, one after another."""
    return [make_sample(request, index) for index in indices]


def _whole(description: Description, mask: np.ndarray, box: Box) -> bool:
    """Whether the object is as large in the picture as its size says, so neither cut off nor mostly hidden."""
    low, high = SIZES[description.size]
    resolution = len(mask)
    longer, shorter = max(box.width, box.height) / resolution, min(box.width, box.height) / resolution
    return 0.9 * low <= longer <= 1.05 * high + 1 / resolution and shorter >= 0.14 and mask.mean() >= 0.015


def _visible(rendered: render.Rendered) -> bool:
    """Whether most of the object differs from what is behind it."""
    difference = np.abs(rendered.source.astype(np.int16) - rendered.background).max(axis=-1)
    return bool(np.mean(difference[rendered.mask] > 16) > 0.7)


def _encode(rendered: render.Rendered) -> dict[str, bytes]:
    mask, effect = (np.where(where, np.uint8(255), np.uint8(0)) for where in (rendered.mask, rendered.effect))
    return {"source": _png(rendered.source), "mask": _png(mask), "GT": _png(rendered.background), "effect": _png(effect)}


def _edited(edit: Edit, request: Request) -> np.ndarray:
    return render.render_picture(edit.description, request.resolution, request.samples)


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def _record(request: Request, index: int, description: Description, box: Box, edits: dict[str, Edit]) -> dict[str, Any]:
    paths = {folder: f"{folder}/{name_of(index)}.png" for folder in FOLDERS}
    words = description.target.combination._asdict() | {"size": description.size}
    changed = {name: {"picture": f"edit_{name}/{name_of(index)}.png", **edit.facts()} for name, edit in edits.items()}
    record = paths | {"caption": description.caption, "box": list(box)} | words | {"seed": request.seed}
    return record | ({"edits": changed} if changed else {})


def name_of(index: int) -> str:
    return f"{index:06d}"
