"""Krita as a reader: a script inside it opens the documents and copies every layer's memory."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from krita_program import ABSENT, run

from .seen import Seen, SeenLayer

NAME = "Krita"
__all__ = ["ABSENT", "NAME", "read", "version"]
_SCRIPT = Path(__file__).with_name("inside_krita.py")
_known: dict[str, str] = {}


def version() -> str:
    """As Krita says it, once it has read."""
    return _known["version"]


def read(documents: list[Path], folder: Path) -> dict[Path, Seen]:
    """All documents in one Krita."""
    folder.mkdir()
    said = run(_SCRIPT, folder, folder, *documents)
    _known["version"] = json.loads(said.splitlines()[0])["version"]
    return {path: _seen(folder, number) for number, path in enumerate(documents)}


def _seen(folder: Path, number: int) -> Seen:
    described: dict[str, Any] = json.loads((folder / f"{number}.json").read_text(encoding="utf-8"))
    width, height = described["width"], described["height"]
    layers = []
    for position, layer in enumerate(described["layers"]):
        assert (layer["type"], layer["space"]) == ("paintlayer", ["RGBA", "U8"]), layer
        x, y, *size = layer["box"]
        looks = (layer["opacity"], layer["blend_mode"], layer["visible"])
        pixels = _pixels(folder / str(number) / f"{position}.bgra", *size)
        layers.append(SeenLayer(tuple(layer["groups"]), layer["name"], *looks, x, y, pixels))
    return Seen(width, height, layers, _pixels(folder / str(number) / "flat.bgra", width, height))


def _pixels(path: Path, width: int, height: int) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), np.uint8).reshape(height, width, 4)[..., [2, 1, 0, 3]]
