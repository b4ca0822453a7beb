"""How good a picture is, in numbers that need no model: what a whole set is looked through by. More is better in each."""

import numpy as np

from bfs_model.picture.boxes import Box
from bfs_platform.data.spec import MEASURES

_DARK, _BRIGHT = 2, 253


def measures(composite: np.ndarray, box: Box) -> dict[str, float]:
    """Args: `composite` uint8 [H, W, 3]; `box` around its object.

    - `sharpness`: variance of the Laplacian of the object's grey values, in levels²: out of focus, or enlarged, is below 50.
    - `contrast`: standard deviation of the grey values of the whole picture, in levels.
    - `exposure`: share of its pixels that are not clipped to black or to white.
    """
    from scipy.ndimage import laplace

    grey = composite @ np.array([0.299, 0.587, 0.114], np.float32)
    clipped = (composite <= _DARK).all(axis=-1) | (composite >= _BRIGHT).all(axis=-1)
    found = {
        "sharpness": laplace(grey)[box.y0 : box.y1, box.x0 : box.x1].var(),
        "contrast": grey.std(),
        "exposure": 1 - clipped.mean(),
    }
    return {name: round(float(found[name]), 4) for name in MEASURES}
