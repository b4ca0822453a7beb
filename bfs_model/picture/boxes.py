"""Boxes: x0, y0, x1, y1 in pixels of the background, half-open, origin top left."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bfs_model.errors import BadInput

_REMEDY = "give x0,y0,x1,y1 in pixels with x0 < x1 and y0 < y1"


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open rectangle of whole pixels: columns x0..x1-1, rows y0..y1-1."""

    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        if any(isinstance(v, bool) or not isinstance(v, int) for v in self):
            raise BadInput("box", tuple(self), "is not four whole numbers", _REMEDY)
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise BadInput("box", f"{self}", "is empty or reversed", _REMEDY)

    @classmethod
    def of(cls, value: Any) -> "Box":
        """Read a box from a `Box`, `"x0,y0,x1,y1"`, four numbers, or a mapping with x0…y1 or x, y, width, height."""
        if isinstance(value, Box):
            return value
        try:
            return cls(*_four_ints(value))
        except BadInput:
            raise
        except (TypeError, ValueError, KeyError, OverflowError):
            raise BadInput("box", value, "is not a box", _REMEDY) from None

    def within(self, width: int, height: int) -> "Box":
        """Return self if it lies inside a `width` × `height` image, else raise `BadInput`."""
        if self.x0 < 0 or self.y0 < 0 or self.x1 > width or self.y1 > height:
            raise BadInput("box", f"{self}", f"leaves the image of {width}x{height} pixels", f"keep it inside 0,0,{width},{height}")
        return self

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        return self.width * self.height

    def shifted(self, dx: int, dy: int) -> "Box":
        return Box(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)

    def mask(self, height: int, width: int) -> np.ndarray:
        """Rasterise: float32 [height, width], 1 inside the box, 0 outside."""
        out = np.zeros((height, width), np.float32)
        out[max(self.y0, 0) : max(self.y1, 0), max(self.x0, 0) : max(self.x1, 0)] = 1.0
        return out

    def __iter__(self) -> Iterator[int]:
        return iter((self.x0, self.y0, self.x1, self.y1))

    def __str__(self) -> str:
        return f"{self.x0},{self.y0},{self.x1},{self.y1}"


def bounding_box(mask: np.ndarray) -> Box | None:
    """The smallest box around the non-zero entries of `mask` [height, width], or None when there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _four_ints(value: Any) -> list[int]:
    if isinstance(value, str):
        return [int(part) for part in _exactly_four(value.split(","))]
    if isinstance(value, Mapping):
        if "x0" in value:
            return [_whole(value[k]) for k in ("x0", "y0", "x1", "y1")]
        x, y = _whole(value["x"]), _whole(value["y"])
        return [x, y, x + _whole(value["width"]), y + _whole(value["height"])]
    if isinstance(value, Sequence | np.ndarray):
        return [_whole(v) for v in _exactly_four(list(value))]
    raise TypeError


def _exactly_four(parts: list[Any]) -> list[Any]:
    if len(parts) != 4:
        raise ValueError
    return parts


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise ValueError
    return int(value)
