"""Layered pictures: named RGBA layers over a background, flattened as editors do and saved as files that editors open."""

import dataclasses
import json
import operator
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bfs_model.blending import BLEND_MODES, blend
from bfs_model.boxes import Box, bounding_box
from bfs_model.compositing import pad_rgb, resize_rgba
from bfs_model.errors import BadInput
from bfs_model.images import MAX_PIXELS, checked_array, read_image, to_float, to_u8
from bfs_model.shapes import Given

ROLES = ("background", "foreground")
PARTS = ("object", "effects")
NAME_LENGTH = 250  # Photoshop ends at 255
MAX_OFFSET = 2**30  # of a layer from the canvas' corner: files hold 32 bits
BAND_PIXELS = 2**21


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer: pixels, where they lie, how they blend, and how they came to be.

    `rgba` is uint8 [h, w, 4], straight alpha; `x`, `y` its top left corner on the canvas, may be negative.
    """

    rgba: np.ndarray
    x: Given[int] = 0
    y: Given[int] = 0
    name: Given[str] = "Layer"
    opacity: Given[float] = 1.0
    blend_mode: str = "normal"
    visible: Given[bool] = True
    role: str = "foreground"
    box: Box | None = None
    """The box that was asked for."""
    prompt: Given[str | None] = None
    seed: Given[int | None] = None
    model: Mapping[str, Any] | str | None = None
    """What made it: name, and where known version and content hash. A bare name becomes `{"name": …}`."""
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further settings; anything that JSON can hold."""
    id: Given[str] = ""
    group: Given[str | None] = None
    """Name of the group it lies in; neighbours of one name are one group, which has no look of its own."""
    part: str | None = None
    """Which part of a drawn layer it is: "object" or "effects"; None when it is the whole."""

    def __post_init__(self) -> None:
        assert self.rgba.dtype == np.uint8, f"expected uint8, got {self.rgba.dtype}"
        assert self.rgba.ndim == 3, f"expected [h, w, 4], got {self.rgba.shape}"
        assert self.rgba.shape[2] == 4, f"expected [h, w, 4], got {self.rgba.shape}"
        if not isinstance(self.opacity, int | float | np.number) or not 0 <= self.opacity <= 1:
            raise BadInput("opacity", self.opacity, "is not between 0 and 1")
        if not isinstance(self.visible, bool | np.bool_):
            raise BadInput("visible", self.visible, "is neither true nor false")
        if self.blend_mode not in BLEND_MODES:
            raise BadInput("blend_mode", self.blend_mode, "is not a blend mode", f"use one of {', '.join(BLEND_MODES)}")
        if self.role not in ROLES:
            raise BadInput("role", self.role, "is not a role", f"use one of {', '.join(ROLES)}")
        if self.part is not None and self.part not in PARTS:
            raise BadInput("part", self.part, "is not a part of a layer", f"use one of {', '.join(PARTS)}, or none")
        for field in ("name", "id", "group", "prompt"):
            value = getattr(self, field)
            if not isinstance(value, str) and not (value is None and field in ("group", "prompt")):
                raise BadInput(field, value, "is not text")
        model = {"name": self.model} if isinstance(self.model, str) else self.model
        clean = {
            "x": whole("x", self.x, MAX_OFFSET),
            "y": whole("y", self.y, MAX_OFFSET),
            "opacity": float(self.opacity),
            "visible": bool(self.visible),
            "seed": None if self.seed is None else whole("seed", self.seed),
            "name": printable(self.name)[:NAME_LENGTH] or "Layer",
            "id": printable(self.id)[:NAME_LENGTH],
            "group": (printable(self.group)[:NAME_LENGTH] or None) if self.group is not None else None,
            "prompt": None if self.prompt is None else encodable(self.prompt),
            "box": None if self.box is None else Box.of(self.box),
            "model": None if model is None else _plain("model", model),
            "parameters": _plain("parameters", self.parameters),
        }
        for field, value in clean.items():
            object.__setattr__(self, field, value)

    @property
    def width(self) -> int:
        return int(self.rgba.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgba.shape[0])

    def on_canvas(self, width: int, height: int) -> np.ndarray:
        """The layer's own pixels on an empty canvas: uint8 [height, width, 4], cut off at the canvas' edges."""
        canvas = np.zeros((height, width, 4), np.uint8)
        x0, y0, x1, y1 = max(self.x, 0), max(self.y, 0), min(self.x + self.width, width), min(self.y + self.height, height)
        if x0 < x1 and y0 < y1:
            canvas[y0:y1, x0:x1] = self.rgba[y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x]
        return canvas

    def resized(self, width: int, height: int) -> "Layer":
        """The same layer scaled to `width` × `height` pixels, top left corner kept."""
        pixels = to_u8(resize_rgba(to_float(self.rgba), width, height))
        return dataclasses.replace(self, rgba=pad_rgb(pixels))


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
        for layer in layers:
            self._insert(layer, len(self.layers))

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
        """Replace fields of a layer (name, x, y, opacity, blend_mode, visible, …). Returns the new layer."""
        position = self._position(layer_id)
        self.layers[position] = dataclasses.replace(self.layers[position], **(changes | {"id": layer_id}))
        return self.layers[position]

    def split_effects(self, layer_id: str) -> tuple[Layer, Layer]:
        """Put two layers in a group in the place of one: its effects (shadow, reflection), and over them its object.

        Together they give the same picture, within one level. See `bfs_model.effects`. Raises `BadInput` for a layer that
        is a background, is split already, or blends in another mode than normal.
        """
        from bfs_model.effects import split_layer

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
        from bfs_model import documents

        return documents.save(self, path)

    @classmethod
    def open(cls, path: Path | str, *, max_pixels: int = MAX_PIXELS) -> "LayerStack":
        """Read a .zip or .psd that `save` wrote, or an OpenRaster file. Raises `BadInput` for anything else, or a damaged one."""
        from bfs_model import documents

        return documents.load(path, max_pixels=max_pixels)

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

    def _insert(self, layer: Layer, index: int) -> Layer:
        taken = {other.id for other in self.layers}
        if not layer.id:
            numbers = (n for n in range(1, len(taken) + 2) if f"layer-{n}" not in taken)
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


def cropped(rgba: np.ndarray, x: Given[int], y: Given[int], box: Box | None) -> tuple[np.ndarray, Given[int], Given[int]]:
    """A layer cut to its visible pixels, colours spread under alpha 0, and where its new top left corner lies.

    One clear pixel, at `box` if there is one, stands for a layer that holds nothing: file formats know no empty images.
    """
    visible = bounding_box(rgba[..., 3])
    if visible is None:
        return np.zeros((1, 1, 4), np.uint8), *((box.x0, box.y0) if box else (x, y))
    pixels = pad_rgb(rgba[visible.y0 : visible.y1, visible.x0 : visible.x1])
    return np.ascontiguousarray(pixels), x + visible.x0, y + visible.y0


def _rgba(image: Image.Image | np.ndarray) -> np.ndarray:
    """Any image -> uint8 [H, W, 4]."""
    if isinstance(image, Image.Image):
        return read_image(image, key="layer").rgba()
    pixels = to_u8(checked_array(image, key="layer"))
    if pixels.shape[2] == 4:
        return pixels.copy()
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


def whole(field: str, value: Any, limit: int | None = None) -> int:
    """A whole number, also one of numpy's, as Python's own, which every file can hold. Raises `BadInput`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise BadInput(field, value, "is not a whole number") from None
    if isinstance(value, bool) or (limit is not None and abs(number) > limit):
        raise BadInput(field, value, "is not a whole number" + (f" from -{limit:,} to {limit:,}" if limit else ""))
    return number


def check_text(field: str, text: str) -> None:
    """Raises `BadInput` for text that no encoder and no file can take."""
    if encodable(text) != text:
        raise BadInput(field, ascii(text), "holds half a character (a lone surrogate)", "write it anew")


def encodable(text: str) -> str:
    """Replace lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def printable(text: str) -> str:
    """One line without control characters, which XML and PSD cannot hold."""
    kept = (" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in encodable(text) if c not in "\ufffe\uffff")
    return " ".join("".join(kept).split())


def _plain(field: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that JSON can hold."""
    try:
        copy = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BadInput(field, value, f"cannot be written as JSON ({error})", "use text, numbers, lists and mappings") from None
    return {str(key): item for key, item in copy.items()}
