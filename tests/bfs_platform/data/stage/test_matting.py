"""Closed-form matting: trimap, alpha and colours."""

import numpy as np
import pytest

from bfs_platform.data.spec import MattingSpec
from bfs_platform.data.stage.matting import matting, trimap


def soft_disk(size: int = 61) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Alpha of a disk with a soft edge, its red colour, a green background, and the picture."""
    y, x = np.mgrid[:size, :size] + 0.5
    alpha = np.clip((17 - np.hypot(x - 30, y - 32)) / 3 + 0.5, 0, 1)
    red = np.dstack([0.85 - 0.2 * y / size, 0.1 + 0 * x, 0.15 + 0.1 * x / size])
    green = np.dstack([0.1 + 0 * x, 0.6 + 0.2 * x / size, 0.2 + 0.1 * y / size])
    picture = alpha[..., None] * red + (1 - alpha[..., None]) * green
    return alpha, red, green, np.rint(picture * 255).astype(np.uint8)


def test_the_mask_itself() -> None:
    """Alpha is the mask's, colours are the picture's: nothing is estimated."""
    _, _, _, picture = soft_disk()
    mask = np.arange(61 * 61).reshape(61, 61).astype(np.uint8)
    layer = matting(MattingSpec(kind="mask")).cut_out(picture, mask)
    assert (np.rint(layer * 255) == np.dstack([picture, mask])).all()


def test_alpha_and_colours_of_a_soft_edge() -> None:
    """The soft edge is recovered to 3 % on average inside the band, and no green bleeds into the object's colours."""
    alpha, red, _, picture = soft_disk()
    layer = matting(MattingSpec(band_fraction=0.1)).cut_out(picture, np.where(alpha > 0.5, 255, 0).astype(np.uint8))
    band = (alpha > 0.02) & (alpha < 0.98)
    assert np.abs(layer[..., 3] - alpha)[band].mean() < 0.03
    assert layer[..., 3][alpha == 0].max() < 0.02
    edge = (alpha > 0.3) & (alpha < 0.9)
    bleeding = np.abs(picture / 255 - red)[edge].mean()
    assert np.abs(layer[..., :3] - red)[edge].mean() < 0.25 * bleeding


def test_band_grows_with_the_square_root_of_the_area() -> None:
    """Four times the area, twice the band; capped, and at least one pixel."""
    spec = MattingSpec(band_fraction=0.1, max_band=9)
    for side, band in ((20, 2), (40, 4), (100, 9), (3, 1)):
        mask = np.zeros((160, 160), np.uint8)
        mask[30 : 30 + side, 30 : 30 + side] = 255
        known = trimap(mask, spec)
        outside = (known[30 + side // 2, :30] == 0.5).sum()
        assert outside == band, side


def test_thin_objects_keep_a_known_core() -> None:
    """A line of one pixel still has known object pixels to start from."""
    mask = np.zeros((41, 43), np.uint8)
    mask[20, 5:38] = 255
    known = trimap(mask, MattingSpec(band_fraction=0.5))
    assert (known == 1).sum() >= 30 and (known == 0).any()


@pytest.mark.parametrize("side", ["top", "left"])
def test_the_frame_is_no_edge(side: str) -> None:
    """An object cut by the frame is known to be solid up to it."""
    mask = np.zeros((40, 40), np.uint8)
    mask[:30, :30] = 255
    known = trimap(mask if side == "top" else mask.T, MattingSpec(band_fraction=0.1))
    assert known[0, 0] == 1 and known[0, 15] == 1 and known[39, 39] == 0
