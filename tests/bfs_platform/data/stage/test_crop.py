"""Windows around an object: what stays inside, and that all pictures show the same one."""

import numpy as np
import pytest

from bfs_platform.data.record import Record
from bfs_platform.data.stage.crop import cropped


def record(object_at: tuple[int, int, int, int], effect_at: tuple[int, int, int, int] | None = None) -> Record:
    """60 × 80, its composite naming each pixel's place."""
    y, x = np.mgrid[:60, :80]
    picture = np.dstack([y, x, np.zeros_like(x)]).astype(np.uint8)

    def mask(box: tuple[int, int, int, int]) -> np.ndarray:
        return np.where((x >= box[0]) & (y >= box[1]) & (x < box[2]) & (y < box[3]), 255, 0).astype(np.uint8)

    effect = None if effect_at is None else mask(effect_at)
    return Record("r", "", picture, picture.copy(), mask(object_at), effect, np.dstack([picture, mask(object_at)]))


@pytest.mark.parametrize("seed", range(20))
def test_object_and_effects_stay_inside(seed: int) -> None:
    """Every picture shows the same window of the same aspect, which holds all of object and shadow and is not smaller than said."""
    out = cropped(record((30, 20, 50, 35), (45, 30, 62, 38)), 0.6, seed)
    rows, columns = out.object_mask.shape
    assert 36 <= rows <= 60 and abs(columns / rows - 80 / 60) < 0.05
    assert (out.object_mask >= 128).sum() == 20 * 15 and out.effect_mask is not None and (out.effect_mask >= 128).sum() == 17 * 8
    assert out.background is not None and out.foreground is not None and out.background.shape == (rows, columns, 3)
    assert (out.composite == out.background).all() and (out.foreground[..., :3] == out.composite).all()
    top, left = out.composite[0, 0, :2].astype(int)
    y, x = np.nonzero(out.object_mask)
    assert (y.min() + top, x.min() + left) == (20, 30)


def test_windows_differ_and_are_repeated() -> None:
    """Another seed, another window; the same seed, the same one; and places near the border are reached."""
    windows = [cropped(record((30, 20, 50, 35)), 0.6, seed).composite for seed in range(200)]
    assert (windows[3] == cropped(record((30, 20, 50, 35)), 0.6, 3).composite).all()
    corners = {(int(w[0, 0, 0]), int(w[0, 0, 1])) for w in windows}
    assert len(corners) > 100 and min(top for top, _ in corners) == 0 and max(left for _, left in corners) > 20


def test_an_object_across_the_picture_stays_whole() -> None:
    """Where object and effects need more than the smallest window, they get it."""
    out = cropped(record((2, 10, 78, 20)), 0.5, 1)
    assert out.object_mask.shape[1] >= 76 and (out.object_mask >= 128).sum() == 76 * 10
