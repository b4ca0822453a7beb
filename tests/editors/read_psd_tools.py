"""psd-tools as a reader: it wrote the file, so what it reads back is the least that must be right."""

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from psd_tools import PSDImage
from psd_tools.constants import BlendMode

from .seen import Seen, SeenLayer

NAME = "psd-tools"
ABSENT = None


def version() -> str:
    """Of the installed package."""
    return metadata.version("psd-tools")


def read(documents: list[Path], folder: Path) -> dict[Path, Seen]:
    """All documents."""
    return {path: _seen(PSDImage.open(path)) for path in documents}


def _seen(document: Any) -> Seen:
    flat = np.asarray(document.topil(apply_icc=False).convert("RGBA"))
    return Seen(document.width, document.height, _layers(document, ()), flat, stored=True)


def _layers(parent: Any, groups: tuple[str, ...]) -> list[SeenLayer]:
    found = []
    for item in parent:
        if item.kind == "group":
            assert (item.blend_mode, item.opacity, item.visible) == (BlendMode.PASS_THROUGH, 255, True), item
            found += _layers(item, (*groups, item.name))
        else:
            assert item.kind == "pixel" and not item.has_mask(), item
            pixels = np.asarray(item.topil(apply_icc=False).convert("RGBA"))
            looks = (item.opacity / 255, item.blend_mode.name.lower(), item.visible)
            found.append(SeenLayer(groups, item.name, *looks, item.left, item.top, pixels))
    return found
