"""Layered pictures: named RGBA layers over a background, flattened as editors do and saved as files that editors open."""

import dataclasses
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bfs_model.document import file
from bfs_model.document.effects import split_layer
from bfs_model.document.layer import Layer, cropped
from bfs_model.errors import BadInput
from bfs_model.picture.blending import blend
from bfs_model.picture.boxes import Box
from bfs_model.picture.images import MAX_PIXELS, checked_array, read_image, to_float, to_u8
from bfs_model.shapes import Given

BAND_PIXELS = 2**21


class LayerStack:
    """A canvas and its layers, from bottom to top. `layers[0]` is the back.

    stack = LayerStack.new(background)
    stack.add(foreground, box=(40, 60, 200, 220), prompt="a red ball", seed=7, model="tiny")
    stack.save("scene.psd")
    """

    def __init__(self, width: int, height: int, layers: Sequence[Layer] = ()) -> None:
        if width < 1 or height < 1:
            raise BadInput("size", f"{width}x{height}", "is not a canvas", "give at least 1x1 pixels")
        self.width, self.height = width, height
        self.layers: list[Layer] = []
        reserved = {layer.id for layer in layers}
        for layer in layers:
            self._insert(layer, len(self.layers), reserved)

    @classmethod
    def new(cls, background: Image.Image | np.ndarray, name: str = "Background") -> "LayerStack":
        """A stack of one layer, the background, which gives the canvas its size. Images, or arrays [H, W, 3 or 4]."""
        pixels = _rgba(background)
        return cls(pixels.shape[1], pixels.shape[0], [Layer(pixels, name=name, role="background", id="background")])

    def add(
        self,
        foreground: Image.Image | np.ndarray,
        name: Given[str | None] = None,
        *,
        x: Given[int] = 0,
        y: Given[int] = 0,
        index: int | None = None,
        **facts: Any,
    ) -> Layer:
        """Put a layer on top, or at position `index` counted from the bottom.

        Args:
            foreground: straight RGBA, of the canvas' size or any other, image or array [h, w, 4], uint8 or float in [0, 1].
            name: by default the prompt.
            x, y: where its top left corner lies on the canvas.
            facts: further fields of `Layer`: box, prompt, seed, model, parameters, opacity, blend_mode, visible, role, id, group.

        Returns: the layer as stored: cut to its visible pixels, colours spread under alpha 0 against fringes in editors.
        """
        pixels = _rgba(foreground)
        if facts.get("box") is not None:
            facts["box"] = Box.of(facts["box"])
        pixels, x, y = cropped(pixels, x, y, facts.get("box"))
        layer = Layer(pixels, x, y, name or facts.get("prompt") or "Layer", **facts)
        return self._insert(layer, len(self.layers) if index is None else index)

    def __getitem__(self, layer_id: str) -> Layer:
        return self.layers[self._position(layer_id)]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def update(self, layer_id: str, **changes: Any) -> Layer:
        """Replace fields of a layer (name, x, y, opacity, blend_mode, visible, …); its box moves with it. Returns the new layer."""
        position = self._position(layer_id)
        layer = self.layers[position]
        if "box" not in changes:
            layer = layer.moved(changes.get("x", layer.x), changes.get("y", layer.y))
        self.layers[position] = dataclasses.replace(layer, **(changes | {"id": layer_id}))
        return self.layers[position]

    def split_effects(self, layer_id: str) -> tuple[Layer, Layer]:
        """Put two layers in a group in the place of one: its effects (shadow, reflection), and over them its object.

        Together they give the same picture, within one level. See `bfs_model.document.effects`. Raises `BadInput` for a layer that
        is a background, is split already, or blends in another mode than normal.
        """
        position = self._position(layer_id)
        effects, thing = split_layer(self.layers[position])
        others = LayerStack(self.width, self.height, self.layers[:position] + self.layers[position + 1 :])
        others._insert(effects, position)
        others._insert(thing, position + 1)
        self.layers = others.layers
        return effects, thing

    def remove(self, layer_id: str) -> Layer:
        return self.layers.pop(self._position(layer_id))

    def reorder(self, layer_ids: Sequence[str]) -> None:
        """Give the order of all layers anew, from bottom to top."""
        if sorted(layer_ids) != sorted(layer.id for layer in self.layers):
            raise BadInput("order", list(layer_ids), "does not name every layer once", f"name {[layer.id for layer in self.layers]}")
        self.layers = [self[layer_id] for layer_id in layer_ids]

    def flatten(self) -> Image.Image:
        """The picture that all visible layers make together: RGB, or RGBA where something stays transparent.

        Computed in float and rounded once; wherever only the background is visible, its pixels come out unchanged.
        """
        out = np.zeros((self.height, self.width, 4), np.uint8)
        num_rows = max(BAND_PIXELS // self.width, 1)
        for top in range(0, self.height, num_rows):
            out[top : top + num_rows] = self._flatten_rows(top, min(top + num_rows, self.height))
        return Image.fromarray(out[..., :3].copy() if (out[..., 3] == 255).all() else out)

    def save(self, path: Path | str) -> Path:
        """Write the document; the suffix decides the format: .psd, .ora, .zip, or .png (flattened).

        Prompt, seed, model and box of every layer travel in each of them. The file appears whole or not at all.
        Raises `BadInput` for an unknown suffix or an unusable path.
        """
        return file.save(self, path)

    @classmethod
    def open(cls, path: Path | str, *, max_pixels: int = MAX_PIXELS) -> "LayerStack":
        """Read a .zip or .psd that `save` wrote, or an OpenRaster file. Raises `BadInput` for anything else, or a damaged one."""
        stack: LayerStack = file.load(path, max_pixels=max_pixels)
        return stack

    def _flatten_rows(self, top: int, bottom: int) -> np.ndarray:
        rows = np.zeros((bottom - top, self.width, 4), np.float32)
        for layer in self.layers:
            x0, x1 = max(layer.x, 0), min(layer.x + layer.width, self.width)
            y0, y1 = max(layer.y, top), min(layer.y + layer.height, bottom)
            if layer.visible and x0 < x1 and y0 < y1:
                part = to_float(layer.rgba[y0 - layer.y : y1 - layer.y, x0 - layer.x : x1 - layer.x])
                under = rows[y0 - top : y1 - top, x0:x1]
                rows[y0 - top : y1 - top, x0:x1] = blend(part, under, layer.blend_mode, layer.opacity)
        return to_u8(rows)

    def _insert(self, layer: Layer, index: int, reserved: Set[str] = frozenset()) -> Layer:
        """Put it there. One without an id gets a number, other than all `reserved` ids."""
        taken = {other.id for other in self.layers}
        if not layer.id:
            others = taken | reserved
            numbers = (n for n in range(1, len(others) + 2) if f"layer-{n}" not in others)
            layer = dataclasses.replace(layer, id=f"layer-{next(numbers)}")
        elif layer.id in taken:
            raise BadInput("id", layer.id, "is the id of another layer", "leave it out or choose a new one")
        self.layers.insert(index, layer)
        return layer

    def _position(self, layer_id: str) -> int:
        ids = [layer.id for layer in self.layers]
        if layer_id not in ids:
            raise BadInput("layer", layer_id, "is not the id of a layer", f"use one of {', '.join(ids)}")
        return ids.index(layer_id)


def _rgba(image: Image.Image | np.ndarray) -> np.ndarray:
    """Any image -> uint8 [H, W, 4]."""
    if isinstance(image, Image.Image):
        return read_image(image, key="layer").rgba()
    pixels = to_u8(checked_array(image, key="layer"))
    if pixels.shape[2] == 4:
        return pixels.copy()
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
