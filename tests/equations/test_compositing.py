"""Eq. 1 and what surrounds it."""

import numpy as np
import pytest

from bfs_model.picture.compositing import composite, composite_u8, pad_rgb, resize_rgba


def test_eq_1_by_hand() -> None:
    """A quarter of red over blue is computed by Eq. 1, channel by channel."""
    layer = np.array([[[1.0, 0.2, 0.0, 0.25]]], np.float32)
    background = np.array([[[0.0, 0.6, 1.0]]], np.float32)
    np.testing.assert_allclose(composite(layer, background), [[[0.25, 0.5, 0.75]]], atol=1e-6)


def test_background_is_bit_identical_under_alpha_zero() -> None:
    """Where alpha is 0 the background comes through untouched, whatever colour hides there."""
    rng = np.random.default_rng(3)
    layer = rng.integers(0, 256, (7, 11, 4), np.uint8)
    layer[..., 3] *= rng.integers(0, 2, (7, 11), np.uint8)
    background = rng.integers(0, 256, (7, 11, 3), np.uint8)
    out = composite_u8(layer, background)
    hidden = layer[..., 3] == 0
    assert hidden.any() and np.array_equal(out[hidden], background[hidden])
    assert not np.array_equal(out[~hidden], background[~hidden])


def test_padding_spreads_colour_and_touches_nothing_visible() -> None:
    """Colours under alpha 0 become those of the neighbourhood; visible pixels and alpha stay."""
    layer = np.zeros((13, 5, 4), np.uint8)
    layer[6, 2] = (200, 10, 20, 3)
    out = pad_rgb(layer)
    assert np.array_equal(out[..., 3], layer[..., 3]) and np.array_equal(out[6, 2], layer[6, 2])
    assert (out[..., :3] == (200, 10, 20)).all()
    assert np.array_equal(pad_rgb(np.zeros((3, 3, 4), np.uint8)), np.zeros((3, 3, 4), np.uint8))


@pytest.mark.parametrize("size", [(3, 2), (17, 29)])
def test_resampling_is_premultiplied(size: tuple[int, int]) -> None:
    """Hidden green under alpha 0 never leaks into the edge of a red object."""
    layer = np.zeros((11, 7, 4), np.float32)
    layer[..., 1] = 1.0
    layer[:, :3] = (1.0, 0.0, 0.0, 1.0)
    out = resize_rgba(layer, *size)
    assert out.shape == (size[1], size[0], 4)
    assert out[out[..., 3] > 0.01][:, 1].max() < 1e-4
