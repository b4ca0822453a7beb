"""Pictures of all systems at full size, kept beside the figures: what a user study shows."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from bfs_model.picture.images import png_bytes
from bfs_platform.evaluate.metric.measure import judged
from bfs_platform.evaluate.samples import Sample
from bfs_platform.evaluate.system.models import Drawn

FOLDER = "pictures"
INPUT, LAYER, COMPOSITE, BACKGROUND = "input", "layer", "composite", "background"
_KEPT = "kept "


def full_size_kinds(systems: Iterable[str]) -> tuple[str, ...]:
    """Names of everything that may be kept of one record."""
    return (_KEPT + INPUT, *(f"{_KEPT}{name}/{kind}" for name in systems for kind in (LAYER, COMPOSITE, BACKGROUND)))


def full_size_pictures(name: str, drawn: Drawn, sample: Sample, systems: list[str]) -> dict[str, bytes]:
    """PNG bytes of what one system delivers for a record, and, with the first system, of the input background."""
    out = {_KEPT + INPUT: png_bytes(sample.background)} if name == systems[0] else {}
    if drawn.has_layer:
        out[f"{_KEPT}{name}/{LAYER}"] = png_bytes(np.asarray(drawn.layer))
    if drawn.background is None:
        out[f"{_KEPT}{name}/{COMPOSITE}"] = png_bytes(judged(drawn, sample)[0])
    else:  # judged by its background; a person sees both
        out[f"{_KEPT}{name}/{COMPOSITE}"] = png_bytes(drawn.composite.convert("RGB"))
        out[f"{_KEPT}{name}/{BACKGROUND}"] = png_bytes(drawn.background.convert("RGB"))
    return out


def write_full_size(images: Mapping[int, Mapping[str, bytes]], systems: Iterable[str], directory: Path) -> None:
    """Write what was kept to `directory/pictures/POSITION/…`, POSITION being the record's place in the list."""
    folders = {name: folder_of(number, name) for number, name in enumerate(systems)}
    for position, kinds in images.items():
        for kind, data in kinds.items():
            if not kind.startswith(_KEPT):
                continue
            system, _, part = kind.removeprefix(_KEPT).rpartition("/")
            path = directory / FOLDER / f"{position:05d}" / (f"{folders[system]}/{part}.png" if system else f"{part}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def folder_of(number: int, system: str) -> str:
    """The folder of a system's pictures: its place among the systems, and its name as far as a file name can hold it."""
    return f"{number}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', system)[:80]}"
