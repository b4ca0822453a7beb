"""The words of the tabletop world, and which combinations of them each split may use."""

import hashlib
from functools import cache
from typing import NamedTuple

from bfs_model.errors import BadInput

# The shapes of each world. Earlier worlds stay as they are: models were trained and measured on them.
WORLDS: dict[int, tuple[str, ...]] = {1: ("sphere", "cube", "cylinder", "cone", "capsule", "torus", "pyramid", "snowman", "cup", "arch")}
WORLDS[2] = (*WORLDS[1], "vase", "mushroom", "teapot", "star", "heart")
DEFAULT_WORLD = 1
SHAPES = WORLDS[max(WORLDS)]

# Linear RGB reflectance. White and black keep away from 1 and 0: shading must stay visible on them.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.70, 0.025, 0.025),
    "orange": (0.85, 0.22, 0.015),
    "yellow": (0.85, 0.62, 0.02),
    "lime": (0.36, 0.72, 0.03),
    "green": (0.02, 0.27, 0.06),
    "cyan": (0.03, 0.58, 0.62),
    "blue": (0.025, 0.08, 0.62),
    "purple": (0.22, 0.04, 0.45),
    "pink": (0.85, 0.22, 0.45),
    "brown": (0.20, 0.075, 0.025),
    "white": (0.82, 0.82, 0.82),
    "black": (0.022, 0.022, 0.024),
}

# Material name -> how a caption says it.
MATERIALS = {
    "matte": "matte",
    "plastic": "glossy plastic",
    "ceramic": "glazed ceramic",
    "metal": "polished metal",
    "brushed metal": "brushed metal",
    "glass": "glass",
}

# Size -> the longer side of the object in the picture, as a fraction of the frame (18 to 40 pixels of 64).
SIZES: dict[str, tuple[float, float]] = {"small": (0.295, 0.370), "medium": (0.385, 0.480), "large": (0.495, 0.600)}

# Split -> its number in the random key. Never renumber: it would change every scene.
SPLITS = {"train": 0, "validation": 1, "heldout": 2}

_PERCENT_HELDOUT, _PERCENT_VALIDATION = 10, 10


class Combination(NamedTuple):
    """What a split may or may not show; the size is free in every split."""

    shape: str
    colour: str
    material: str


def caption(size: str, combination: Combination) -> str:
    """Name an object, for instance `a large blue glass cone`."""
    return f"a {size} {combination.colour} {MATERIALS[combination.material]} {combination.shape}"


def words_of(caption: str) -> tuple[str, str] | None:
    """Shape and colour that a caption of the tabletop world names, or None when it names none of them."""
    words = caption.lower().split()
    colours = [word for word in words if word in COLOURS]
    if not words or words[-1] not in SHAPES or len(colours) != 1:
        return None
    return words[-1], colours[0]


def split_of(combination: Combination) -> str:
    """The only split in which this combination occurs: a fixed function of its words."""
    digest = hashlib.sha256("|".join(combination).encode()).digest()
    percent = int.from_bytes(digest[:8], "big") % 100
    if percent < _PERCENT_HELDOUT:
        return "heldout"
    return "validation" if percent < _PERCENT_HELDOUT + _PERCENT_VALIDATION else "train"


@cache
def combinations(split: str, world: int = DEFAULT_WORLD) -> tuple[Combination, ...]:
    """All combinations of a split of a world, in a fixed order. Raises `BadInput` for an unknown split."""
    check_split(split)
    every = (Combination(s, c, m) for s in WORLDS[world] for c in COLOURS for m in MATERIALS)
    return tuple(combination for combination in every if split_of(combination) == split)


def check_split(split: str) -> None:
    if split not in SPLITS:
        raise BadInput("split", split, "is not a split of the tabletop world", f"use one of {', '.join(SPLITS)}")
