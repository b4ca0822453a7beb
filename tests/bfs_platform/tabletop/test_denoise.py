"""The denoiser against pictures whose truth is known."""

import numpy as np
import pytest

from bfs_platform.tabletop.denoise import box3, denoise


def _truth() -> np.ndarray:
    """A dark and a bright half with a soft ramp at the bottom, [24, 24, 3]."""
    truth = np.full((24, 24, 3), 0.25)
    truth[:, 12:] = 0.75
    truth[18:] = np.linspace(0.3, 0.5, 24)[None, :, None]
    return truth


def _noisy(sigma: float) -> np.ndarray:
    rng = np.random.default_rng(11)
    return np.clip(_truth() + sigma * rng.normal(size=(4, 24, 24, 3)), 0, 1)


def test_noise_shrinks_and_edges_stay() -> None:
    """The error falls to less than half of the mean's, and the step between the halves is as steep as before."""
    parts = _noisy(0.04)
    clean = denoise(parts)
    assert np.abs(clean - _truth()).mean() < 0.5 * np.abs(parts.mean(axis=0) - _truth()).mean()
    assert np.all(clean[2:16, 12] - clean[2:16, 11] > 0.45)


def test_fireflies_are_cut() -> None:
    """A pixel in twenty glares in one of the renderings: next to nothing of it is left, where the mean keeps a quarter."""
    parts = np.tile(_truth(), (4, 1, 1, 1))
    parts[1][np.random.default_rng(5).random((24, 24)) < 0.05] = 1.0
    left = (denoise(parts) - _truth())[:16, :10]
    assert (parts.mean(axis=0) - _truth()).max() > 0.18 and left.max() < 0.02


def test_what_is_clean_stays() -> None:
    """Without noise the picture changes by less than half a level of 255."""
    assert np.abs(denoise(np.tile(_truth(), (4, 1, 1, 1))) - _truth()).max() < 0.5 / 255


def test_box3_is_the_mean_over_neighbours() -> None:
    """A single bright pixel spreads evenly over nine; at the border the edge is repeated."""
    image = np.zeros((5, 5, 1))
    image[2, 2], image[0, 0] = 9, 9
    out = box3(image)[..., 0]
    assert out[3, 3] == pytest.approx(1) and out[1, 3] == pytest.approx(1) and out[4, 4] == 0
    assert out[0, 0] == pytest.approx(4)
