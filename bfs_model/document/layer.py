"""One layer of a picture: its pixels, where they lie, how they blend, and how they came to be."""

import dataclasses
import json
import operator
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from bfs_model.errors import BadInput
from bfs_model.picture.blending import BLEND_MODES
from bfs_model.picture.boxes import Box, bounding_box
from bfs_model.picture.compositing import pad_rgb, resize_rgba
from bfs_model.picture.images import to_float, to_u8
from bfs_model.shapes import Given

ROLES = ("background", "foreground")
PARTS = ("object", "effects")
NAME_LENGTH = 250  # Photoshop ends at 255
MAX_OFFSET = 2**30  # of a layer from the canvas' corner: files hold 32 bits


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
    """The box that was asked for; it moves and grows with the layer."""
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
        box = self.box
        if box is not None:
            own = box.shifted(-self.x, -self.y)
            x0, x1 = (round(x * width / self.width) for x in (own.x0, own.x1))
            y0, y1 = (round(y * height / self.height) for y in (own.y0, own.y1))
            box = Box(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)).shifted(self.x, self.y)
        return dataclasses.replace(self, rgba=pad_rgb(pixels), box=box)

    def moved(self, x: Given[int], y: Given[int]) -> "Layer":
        """The same layer with its top left corner at `x`, `y`, and its box as far from there as before."""
        x, y = whole("x", x, MAX_OFFSET), whole("y", y, MAX_OFFSET)
        box = None if self.box is None else self.box.shifted(x - self.x, y - self.y)
        return dataclasses.replace(self, x=x, y=y, box=box)


def cropped(rgba: np.ndarray, x: Given[int], y: Given[int], box: Box | None) -> tuple[np.ndarray, Given[int], Given[int]]:
    """A layer cut to its visible pixels, colours spread under alpha 0, and where its new top left corner lies.

    One clear pixel, at `box` if there is one, stands for a layer that holds nothing: file formats know no empty images.
    """
    visible = bounding_box(rgba[..., 3])
    if visible is None:
        return np.zeros((1, 1, 4), np.uint8), *((box.x0, box.y0) if box else (x, y))
    pixels = pad_rgb(rgba[visible.y0 : visible.y1, visible.x0 : visible.x1])
    return np.ascontiguousarray(pixels), x + visible.x0, y + visible.y0


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
