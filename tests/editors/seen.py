"""What a reader of a document says that it holds."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class SeenLayer:
    """One layer: names of the groups around it, from outside in; `opacity` 0 to 1; pixels uint8 [h, w, 4] at `x`, `y`."""

    groups: tuple[str, ...]
    name: str
    opacity: float
    blend_mode: str
    visible: bool
    x: int
    y: int
    rgba: np.ndarray


@dataclass(frozen=True, eq=False)
class Seen:
    """Layers from bottom to top, and the picture that they make together, uint8 [h, w, 4].

    `stored`: the reader makes no picture but shows the one that lies in the file, which a PSD keeps over white.
    """

    width: int
    height: int
    layers: list[SeenLayer]
    flat: np.ndarray
    stored: bool = False
